"""MQTT against a real mosquitto: state, discovery, events; a broker, an outlet and a daemon that go away."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from benchmarks.ports import free_port
from reid_stream.events import (
    CameraDown,
    DaemonStopped,
    IdentityErased,
    IdentityMerged,
    IdentityNamed,
)
from reid_stream.records import GlobalId
from tests.outlets.site import (
    DOOR,
    RUN,
    T0,
    TILL,
    Listener,
    Mosquitto,
    Stream,
    entered,
    forge_events,
    left,
    needs_broker,
    stream,
    wait,
)

pytestmark = needs_broker
BASE = "reid-stream/shop"


def named(person: str, label: str) -> IdentityNamed:
    return IdentityNamed(person=GlobalId(person), revision=2, label=label, by="op", named_at=T0)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Stream]:
    with stream(tmp_path) as made:
        yield made


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    made = Mosquitto(tmp_path, free_port())
    yield made
    made.stop()


class Outlet:
    """The command, as a process of its own."""

    def __init__(self, site: Stream, broker: Mosquitto, folder: Path, *options: str) -> None:
        command = [sys.executable, "-m", "reid_stream", "outlet", "mqtt", "--url", site.url, "--site", "shop"]
        command += ["--state", str(folder / "mqtt.position"), *options]
        self.log = (folder / "outlet.log").open("ab")
        self.process = subprocess.Popen(
            command, env={**os.environ, "REID_STREAM_MQTT": broker.url}, stderr=self.log, stdout=self.log
        )

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(how)
        self.log.close()
        return self.process.wait(20)


@pytest.mark.slow
def test_presence_names_and_events_reach_home_assistant_and_outlive_broker_and_outlet(
    site: Stream, broker: Mosquitto, tmp_path: Path
) -> None:
    forge_events(site)  # they neither end the outlet nor become topics
    site.publish(entered("shop-1"), named("shop-1", "Anna"))
    outlet = Outlet(site, broker, tmp_path)
    home = Listener(broker.port)
    # The state of the moment is there at once, retained, with what makes entities of it.
    wait(lambda: home.topics.get(f"{BASE}/person/shop-1/camera") == "door")
    assert home.topics[f"{BASE}/status"] == home.topics[f"{BASE}/daemon"] == "online"
    assert home.topics[f"{BASE}/camera/door/presence"] == "ON"
    assert home.topics[f"{BASE}/camera/till/presence"] == "OFF"
    assert home.topics[f"{BASE}/people"] == "1"
    assert json.loads(home.topics[f"{BASE}/camera/door/attributes"]) == {"people": ["shop-1"], "names": ["Anna"]}
    config = json.loads(home.topics["homeassistant/binary_sensor/reid_stream_shop/door_presence/config"])
    assert (config["device_class"], config["unique_id"]) == ("occupancy", "reid_stream_shop_door_presence")
    assert config["state_topic"] == f"{BASE}/camera/door/presence"
    topics = [one["topic"] for one in config["availability"]]
    assert topics == [f"{BASE}/status", f"{BASE}/daemon", f"{BASE}/camera/door/status"]
    anna = json.loads(home.topics["homeassistant/sensor/reid_stream_shop/shop-1_camera/config"])
    assert anna["name"] == "Anna camera"

    # Changes follow, and the events word for word.
    forge_events(site)
    site.publish(left("shop-1"), entered("shop-1", TILL, T0 + 20), entered("shop-2", TILL, T0 + 20, 2))
    wait(lambda: home.topics.get(f"{BASE}/camera/till/people") == "2")
    wait(lambda: len(home.events) == 3)
    assert home.topics[f"{BASE}/person/shop-1/camera"] == "till"
    assert home.topics[f"{BASE}/camera/door/presence"] == "OFF"
    assert json.loads(home.events[0])["type"] == "io.reid-stream.identity.left.v1"
    assert json.loads(home.events[0])["data"]["snapshot"].startswith("door/")

    # A broker that forgot everything has it again; what happened meanwhile arrives.
    home.close()
    broker.stop()
    site.publish(left("shop-2", TILL, T0 + 20, T0 + 30))
    broker.start()
    home = Listener(broker.port)
    wait(lambda: home.topics.get(f"{BASE}/camera/till/people") == "1")
    wait(lambda: any("identity.left" in event for event in home.events))
    assert "homeassistant/sensor/reid_stream_shop/shop-1_camera/config" in home.topics

    # A killed outlet is seen as offline; the next one continues, and loses none.
    outlet.end(signal.SIGKILL)
    wait(lambda: home.topics[f"{BASE}/status"] == "offline")
    before = len(home.events)
    site.publish(left("shop-1", TILL, T0 + 20, T0 + 40), entered("shop-3", DOOR, T0 + 50, 3))
    outlet = Outlet(site, broker, tmp_path)
    wait(lambda: home.topics[f"{BASE}/status"] == "online")
    # Some may come twice.
    wait(lambda: {"shop-1", "shop-3"} <= {json.loads(event)["subject"] for event in home.events[before:]})
    assert len({json.loads(event)["id"] for event in home.events}) >= 3
    wait(lambda: home.topics[f"{BASE}/person/shop-1/camera"] == "away")

    # Nothing is kept at the broker of a person who was erased or merged.
    site.publish(
        named("shop-3", "Ben"),
        IdentityMerged(
            person=GlobalId("shop-1"), revision=3, previous=GlobalId("shop-3"), similarity=0.9, probability=0.9,
            merged_at=T0,
        ),
    )  # fmt: skip
    wait(lambda: home.topics.get("homeassistant/sensor/reid_stream_shop/shop-3_camera/config") == "")
    site.publish(IdentityErased(person=GlobalId("shop-1"), revision=4, erased_at=T0))
    wait(lambda: home.topics.get("homeassistant/sensor/reid_stream_shop/shop-1_camera/config") == "")
    fresh = Listener(broker.port)
    wait(lambda: f"{BASE}/status" in fresh.topics)
    assert fresh.topics[f"{BASE}/person/shop-9/camera"] == "away"  # a person with a name, on no camera that exists
    assert not [topic for topic in fresh.topics if "/shop-" in topic and "shop-9" not in topic]
    assert "Anna" not in json.dumps(fresh.topics)
    fresh.close()

    # Cameras and daemon that are away are not available.
    site.publish(CameraDown(camera=DOOR, changed_at=T0 + 60, reason="no answer"))
    wait(lambda: home.topics[f"{BASE}/camera/door/status"] == "offline")
    site.publish(DaemonStopped(run=RUN, told_at=T0 + 70, reason="stopped"))
    wait(lambda: home.topics[f"{BASE}/daemon"] == "offline")
    assert outlet.end() == 0
    wait(lambda: home.topics[f"{BASE}/status"] == "offline")
    home.close()


@pytest.mark.slow
def test_a_wrong_password_and_a_broker_that_is_away_are_errors(site: Stream, broker: Mosquitto, tmp_path: Path) -> None:
    broker_url = f"mqtt://home:wrong-one@127.0.0.1:{broker.port}"
    command = [sys.executable, "-m", "reid_stream", "outlet", "mqtt", "--url", site.url, "--site", "shop"]
    command += ["--state", str(tmp_path / "p")]
    for url, expected in ((broker_url, "Not authorized"), (f"mqtt://127.0.0.1:{free_port()}", "must be reached")):
        done = subprocess.run(
            command,
            env={**os.environ, "REID_STREAM_MQTT": url},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 4
        assert expected in done.stderr
        assert "wrong-one" not in done.stderr
        assert "Traceback" not in done.stderr


def test_the_last_seen_names_of_a_board_follow_events() -> None:
    from reid_stream.outlets.home_assistant import Topics, changes
    from reid_stream.outlets.presence_board import PresenceBoard

    board = PresenceBoard.of([DOOR], [(GlobalId("shop-1"), "Anna", [DOOR], DOOR)])
    assert not board.apply(entered("shop-1")).cameras  # known already
    changed = board.apply(entered("shop-1", TILL))
    messages = dict(changes(board, changed, Topics("shop", "b", ""), frozenset({"door"})))
    assert messages["b/shop/camera/till/people"] == "1"
    assert json.loads(messages["b/shop/person/shop-1/attributes"])["cameras"] == ["door", "till"]
    assert not [topic for topic in messages if topic.endswith("/config")]
    names = [msgspec.json.decode(payload)["unique_id"] for topic, payload in changes(
        PresenceBoard.of(["a.b", "a_b"], []),  # type: ignore[list-item]
        PresenceBoard.of(["a.b", "a_b"], []).apply(left("x", "a.b")),  # type: ignore[list-item, arg-type]
        Topics("shop", "b", "ha"), frozenset({"none"})) if topic.endswith("/config")]  # fmt: skip
    assert len(names) == len(set(names)) > 0
