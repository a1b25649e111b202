"""POST events to a URL, signed by the Standard Webhooks specification (1.0), until the receiver accepts them.

Events go one after another: one that is refused holds those behind it, so that they arrive in order, at least once. The
receiver recognises a repeated one by `webhook-id`.
"""

import base64
import binascii
import hashlib
import hmac
import http.client
import random
import threading
import time
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import quote

import structlog

from reid_stream import __version__
from reid_stream.config.backoff import RetryPolicy
from reid_stream.errors import ConfigError, ReidStreamError
from reid_stream.publish.subscribe import Received

_FIRST_S, _MOST_S = 1.0, 60.0
"""First and longest wait before an event is sent again, seconds."""
_PREFIX = "whsec_"
_LEAST_KEY = 16
_log = structlog.get_logger(__name__)


class WebhookGoneError(ReidStreamError):
    """The receiver answered 410 Gone: it accepts no more events."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Redirects are not followed: the signature and the event are for the URL that was given."""

    def redirect_request(self, *_: Any) -> None:
        return None


class Webhook:
    """An outlet to one URL."""

    def __init__(
        self,
        url: str,
        secret: str | None,
        stop: threading.Event,
        *,
        timeout_s: float = 10.0,
        give_up_s: float = 86_400.0,
    ) -> None:
        """Prepare without sending.

        Args:
            url: http:// or https://.
            secret: `whsec_` and the base64 of the key, or any other text as the key itself; None to sign nothing.
            stop: ends waiting.
            timeout_s: longest wait for an answer.
            give_up_s: an event that was refused for so long is skipped.

        Raises:
            ConfigError: the URL or the secret is malformed.
        """
        if not url.startswith(("http://", "https://")):
            raise ConfigError(f"a webhook must be an http:// or https:// URL, got {url.partition('?')[0]!r}")
        self._url, self._stop, self._timeout_s, self._give_up_s = url, stop, timeout_s, give_up_s
        self._key = None if secret is None else key_of(secret)
        self._opener = urllib.request.build_opener(_NoRedirect)
        self.delivered = 0
        """Events accepted by the receiver."""
        self.skipped = 0
        """Events skipped after `give_up_s`."""

    def deliver(self, event: Received) -> bool:
        """Send an event until it is accepted; False if stopped before.

        Raises:
            WebhookGoneError: the receiver wants no more events.
        """
        began = time.monotonic()
        retry = RetryPolicy(_FIRST_S, _MOST_S, random.Random().random)
        while not self._stop.is_set():
            fault = self._send(event)
            if fault is None:
                self.delivered += 1
                if time.monotonic() - began > _FIRST_S:
                    _log.info("webhook_back", position=event.position)
                return True
            waited_s = time.monotonic() - began
            if waited_s >= self._give_up_s:
                self.skipped += 1
                _log.error("webhook_event_skipped", position=event.position, reason=fault, after_s=round(waited_s))
                return True
            wait_s = retry.next_wait_s(0.0)
            _log.warning("webhook_refused", position=event.position, reason=fault, again_in_s=round(wait_s, 1))
            self._stop.wait(wait_s)
        return False

    def settle(self) -> bool:
        """Return True: delivered events have arrived."""
        return True

    def _send(self, event: Received) -> str | None:
        """Send an event once; return why it was not accepted, None if it was."""
        body = event.body.encode()
        headers = {
            "Content-Type": "application/cloudevents+json; charset=utf-8",
            "User-Agent": f"reid-stream/{__version__}",
            "webhook-id": message_id(event),
        }
        at = str(int(time.time()))
        headers["webhook-timestamp"] = at
        if self._key is not None:
            headers["webhook-signature"] = signature(self._key, headers["webhook-id"], at, body)
        request = urllib.request.Request(self._url, body, headers, method="POST")  # noqa: S310 (checked in __init__)
        try:
            with self._opener.open(request, timeout=self._timeout_s):
                return None
        except urllib.error.HTTPError as error:
            with error:
                if error.code == http.client.GONE:
                    raise WebhookGoneError("the webhook answered 410 Gone: it wants no more events") from None
                return f"HTTP {error.code}"
        except urllib.error.URLError as error:
            return str(getattr(error.reason, "strerror", None) or error.reason)
        except (OSError, http.client.HTTPException) as error:
            return str(error) or type(error).__name__


def message_id(event: Received) -> str:
    """Return a stable ID of the event for a header, without a dot, the separator of the signed parts."""
    return quote(f"{event.source}/{event.id}", safe="-_").replace(".", "%2E")


def key_of(secret: str) -> bytes:
    """Return the key of a secret.

    Raises:
        ConfigError: it is malformed, or too short to be one.
    """
    if secret.startswith(_PREFIX):
        try:
            key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
        except binascii.Error:
            raise ConfigError(f"a webhook's secret must be base64 after {_PREFIX}") from None
    else:
        key = secret.encode()
    if len(key) < _LEAST_KEY:
        raise ConfigError(
            f"a webhook's secret must have at least {_LEAST_KEY} bytes, got {len(key)}; make one of {_PREFIX} and the "
            "output of: openssl rand -base64 32"
        )
    return key


def signature(key: bytes, name: str, at: str, body: bytes) -> str:
    """Return `v1,` and the base64 of HMAC-SHA256 over `<id>.<timestamp>.<body>`."""
    mac = hmac.new(key, f"{name}.{at}.".encode() + body, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(mac).decode()}"
