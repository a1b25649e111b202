"""Publish a site's state and its events to an MQTT broker, with discovery for Home Assistant.

State topics are retained and written whole at each connection, so that a broker that lost them has them again. Events
are sent with QoS 1, one after another is kept until the broker has acknowledged it, and they wait while it is away.
"""

import ssl
import threading
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import paho.mqtt.client as paho
import structlog
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.reasoncodes import ReasonCode

from reid_stream.errors import BrokerError, ConfigError
from reid_stream.events import PREFIX
from reid_stream.outlets.home_assistant import Message, Topics, changes, everything
from reid_stream.outlets.presence_board import PresenceBoard
from reid_stream.publish.stream_ids import Position
from reid_stream.publish.subscribe import Received

_PORTS = {"mqtt": 1883, "mqtts": 8883}
_ACK_S = 30.0
"""Longest wait for an acknowledgement before a message is sent again, seconds."""
_LOOK_S = 0.2
_UNACKED = 100
"""Most events that await the broker's acknowledgement."""
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Broker:
    """Address of a broker."""

    host: str
    port: int
    is_tls: bool
    username: str | None
    password: str | None

    @classmethod
    def parse(cls, url: str) -> "Broker":
        """Read mqtt://[user[:password]@]host[:port], or mqtts:// for TLS.

        Raises:
            ConfigError: it is malformed.
        """
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError:
            port = -1
        if parts.scheme not in _PORTS or not parts.hostname or port == -1 or parts.path.strip("/"):
            raise ConfigError("an MQTT broker must be mqtt://HOST[:PORT] or mqtts://HOST[:PORT]")
        user, password = (None if part is None else unquote(part) for part in (parts.username, parts.password))
        return cls(parts.hostname, port or _PORTS[parts.scheme], parts.scheme == "mqtts", user, password)

    @property
    def name(self) -> str:
        """Host and port, without secrets."""
        return f"{self.host}:{self.port}"


class MqttOutlet:
    """One connection to a broker; `deliver` belongs to one thread."""

    def __init__(
        self,
        broker: Broker,
        topics: Topics,
        board: PresenceBoard,
        board_at: str,
        *,
        kinds: Iterable[str],
        stop: threading.Event,
        ca_file: Path | None = None,
    ) -> None:
        """Connect.

        Args:
            broker: its address.
            topics: of the site.
            board: state of the site, at the stream position `board_at`.
            board_at: events up to there are in `board`.
            kinds: types of events that are published; `identity` for all of that family.
            stop: ends waiting.
            ca_file: authorities (PEM) of the broker's certificate; None for those of the system.

        Raises:
            BrokerError: the broker cannot be reached, or refuses the login.
        """
        self._topics, self._board, self._board_at = topics, board, Position.parse(board_at)
        self._kinds, self._stop, self._broker = tuple(kinds), stop, broker
        self._changing = threading.Lock()
        self._connected = threading.Event()
        self._refusal = ""
        self._unacked: deque[tuple[paho.MQTTMessageInfo, Received]] = deque()
        self._client = client = paho.Client(CallbackAPIVersion.VERSION2, client_id=f"reid-stream-{topics.site}-outlet")
        client.will_set(topics.status, "offline", qos=1, retain=True)
        client.reconnect_delay_set(1, 60)
        client.on_connect, client.on_disconnect = self._on_connect, self._on_disconnect
        if broker.username is not None:
            client.username_pw_set(broker.username, broker.password)
        try:
            if broker.is_tls:
                client.tls_set(ca_certs=None if ca_file is None else str(ca_file))
            client.connect(broker.host, broker.port)
        except ssl.SSLError as error:
            raise BrokerError(f"the MQTT broker's certificate must be valid, {broker.name}: {error.reason}") from None
        except OSError as error:
            raise BrokerError(f"an MQTT broker must be reached at {broker.name}: {error.strerror or error}") from None
        client.loop_start()
        if not self._connected.wait(_ACK_S) or self._refusal:
            client.loop_stop()
            raise BrokerError(
                f"the MQTT broker {broker.name} must accept the login: {self._refusal or 'it does not answer'}"
            )

    def deliver(self, event: Received) -> bool:
        """Publish what an event changes, and the event if it is wanted; False if stopped before it is sent."""
        while not self._connected.wait(_LOOK_S):
            if self._stop.is_set():
                return False
        if Position.parse(event.position) > self._board_at:
            with self._changing:
                known = frozenset([*self._board.here, *self._board.names])
                changed = self._board.apply(event.data)
                self._send(changes(self._board, changed, self._topics, known))
        kind = _kind(event)
        if any(kind == wanted or kind.startswith(f"{wanted}.") for wanted in self._kinds):
            self._unacked.append((self._publish_event(kind, event), event))
            if len(self._unacked) >= _UNACKED:
                return self.settle()
        return True

    def settle(self) -> bool:
        """Wait until the broker has acknowledged all events; those of a lost connection are sent again."""
        while self._unacked:
            info, event = self._unacked[0]
            if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
                # It could not be sent at all; paho does not wait for such a message.
                if self._connected.wait(_LOOK_S):
                    self._unacked[0] = (self._publish_event(_kind(event), event), event)
            else:
                # Its connection was lost; paho sends it again.
                info.wait_for_publish(_LOOK_S)
                if info.is_published():
                    self._unacked.popleft()
            if self._unacked and self._stop.is_set() and not self._connected.is_set():
                return False
        return True

    def close(self) -> None:
        """Publish that the outlet is offline, and disconnect."""
        if self._connected.is_set():
            self._client.publish(self._topics.status, "offline", qos=1, retain=True).wait_for_publish(5)
        self._client.disconnect()
        self._client.loop_stop()

    def _publish_event(self, kind: str, event: Received) -> paho.MQTTMessageInfo:
        return self._client.publish(self._topics.event(kind), event.body, qos=1)

    def _send(self, messages: Iterable[Message]) -> None:
        for topic, payload in messages:
            self._client.publish(topic, payload or None, qos=1, retain=True)

    def _on_connect(self, _client: paho.Client, _data: Any, _flags: Any, code: ReasonCode, _properties: Any) -> None:
        if code.is_failure:
            self._refusal = str(code)
            if not self._connected.is_set():
                _log.warning("mqtt_refused", broker=self._broker.name, reason=str(code))
            self._connected.set()
            return
        self._refusal = ""
        with self._changing:
            self._send(everything(self._board, self._topics))
        _log.info("mqtt_connected", broker=self._broker.name)
        self._connected.set()

    def _on_disconnect(self, _client: paho.Client, _data: Any, _flags: Any, code: ReasonCode, _properties: Any) -> None:
        if self._refusal:
            return
        self._connected.clear()
        if not self._stop.is_set():
            _log.warning("mqtt_lost", broker=self._broker.name, reason=str(code))


def _kind(event: Received) -> str:
    """Return an event's type without prefix and version."""
    return event.type.removeprefix(PREFIX).rpartition(".")[0]
