"""MQTT topics and messages of a site, with discovery messages for Home Assistant's entities (pure).

    <base>/<site>/status                        online | offline    the outlet (last will)
    <base>/<site>/daemon                        online | offline
    <base>/<site>/people                        number of people in view
    <base>/<site>/camera/<camera>/status        online | offline
    <base>/<site>/camera/<camera>/presence      ON | OFF            with /people, /attributes
    <base>/<site>/person/<global ID>/presence   ON | OFF            of people with a name; with /camera

All are retained. Source: Home Assistant, "MQTT", sections discovery and availability.
"""

import json
import re
import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple

from reid_stream import __version__
from reid_stream.outlets.presence_board import Changed, PresenceBoard
from reid_stream.records import CameraId, GlobalId

_NOT_OBJECT = re.compile(r"[^A-Za-z0-9_-]")
AWAY = "away"
"""State of a named person who is on no camera."""


class Message(NamedTuple):
    """A retained message; an empty payload removes it from the broker."""

    topic: str
    payload: str


class Topics:
    """Names of a site's topics and entities."""

    def __init__(self, site: str, base: str, discovery: str) -> None:
        """`base`: prefix of all topics; `discovery`: prefix of Home Assistant's, empty for none."""
        self.site, self._discovery = site, discovery
        self.root = f"{base}/{site}"
        self.status, self.daemon, self.people = (f"{self.root}/{name}" for name in ("status", "daemon", "people"))

    def camera(self, camera: CameraId, name: str) -> str:
        """Return a topic of a camera."""
        return f"{self.root}/camera/{camera}/{name}"

    def person(self, person: GlobalId, name: str) -> str:
        """Return a topic of a named person."""
        return f"{self.root}/person/{person}/{name}"

    def event(self, kind: str) -> str:
        """Return the topic of events of a type, without prefix and version."""
        return f"{self.root}/events/{kind}"

    def config(self, component: str, subject: str, name: str) -> str:
        """Return the discovery topic of an entity."""
        return f"{self._discovery}/{component}/reid_stream_{self.site}/{_object(subject)}_{name}/config"

    @property
    def has_discovery(self) -> bool:
        """Whether discovery messages are sent."""
        return bool(self._discovery)


def everything(board: PresenceBoard, topics: Topics) -> Iterator[Message]:
    """Yield all messages of a site."""
    yield Message(topics.status, "online")
    if topics.has_discovery:
        yield _entity(
            topics, "sensor", "site", "people", "People",
            {"state_topic": topics.people, "state_class": "measurement", "icon": "mdi:account-group"},
        )  # fmt: skip
    for camera in board.here:
        yield from _camera_entities(camera, topics)
    for person, name in board.names.items():
        yield from _person_entities(person, name, topics)
    yield from changes(board, Changed(frozenset(board.here), frozenset(board.names), is_daemon=True), topics)


def changes(
    board: PresenceBoard, changed: Changed, topics: Topics, known: frozenset[str] = frozenset()
) -> Iterator[Message]:
    """Yield the messages for an event's changes; `known`: cameras and people with discovery messages already."""
    if changed.is_daemon:
        yield Message(topics.daemon, "online" if board.is_running else "offline")
    for camera in sorted(changed.cameras):
        if known and camera not in known:
            yield from _camera_entities(camera, topics)
        here = sorted(board.here[camera])
        is_up = board.up[camera]
        if is_up is not None:
            yield Message(topics.camera(camera, "status"), "online" if is_up else "offline")
        elif changed.is_daemon:
            yield Message(topics.camera(camera, "status"), "online" if board.is_running else "offline")
        yield Message(topics.camera(camera, "presence"), "ON" if here else "OFF")
        yield Message(topics.camera(camera, "people"), str(len(here)))
        names = [board.names[person] for person in here if person in board.names]
        yield Message(topics.camera(camera, "attributes"), json.dumps({"people": here, "names": names}))
    if changed.cameras:
        yield Message(topics.people, str(len(set().union(*board.here.values()))))
    for person in sorted(changed.people):
        name = board.names.get(person)
        if name is None:
            yield from _gone(person, topics)
            continue
        where = board.where(person)
        yield from _person_entities(person, name, topics)
        yield Message(topics.person(person, "presence"), "ON" if where else "OFF")
        yield Message(topics.person(person, "camera"), where[0] if where else AWAY)
        last = {"person": person, "name": name, "cameras": where, "last_camera": board.last.get(person)}
        yield Message(topics.person(person, "attributes"), json.dumps(last))


def _camera_entities(camera: CameraId, topics: Topics) -> Iterator[Message]:
    if not topics.has_discovery:
        return
    attributes = {"json_attributes_topic": topics.camera(camera, "attributes")}
    yield _entity(
        topics, "binary_sensor", camera, "presence", "Presence",
        {"state_topic": topics.camera(camera, "presence"), "device_class": "occupancy", **attributes}, camera,
    )  # fmt: skip
    yield _entity(
        topics, "sensor", camera, "people", "People",
        {"state_topic": topics.camera(camera, "people"), "state_class": "measurement", "icon": "mdi:account-group"},
        camera,
    )  # fmt: skip


def _person_entities(person: GlobalId, name: str, topics: Topics) -> Iterator[Message]:
    if not topics.has_discovery:
        return
    attributes = {"json_attributes_topic": topics.person(person, "attributes")}
    yield _entity(
        topics, "binary_sensor", person, "presence", f"{name} presence",
        {"state_topic": topics.person(person, "presence"), "device_class": "occupancy", **attributes},
    )  # fmt: skip
    yield _entity(
        topics, "sensor", person, "camera", f"{name} camera",
        {"state_topic": topics.person(person, "camera"), "icon": "mdi:cctv", **attributes},
    )  # fmt: skip


def _gone(person: GlobalId, topics: Topics) -> Iterator[Message]:
    """Remove the retained messages of a person who no longer has a name."""
    for name in ("presence", "camera", "attributes"):
        yield Message(topics.person(person, name), "")
    if topics.has_discovery:
        yield Message(topics.config("binary_sensor", person, "presence"), "")
        yield Message(topics.config("sensor", person, "camera"), "")


def _entity(
    topics: Topics,
    component: str,
    subject: str,
    name: str,
    title: str,
    more: dict[str, str],
    camera: CameraId | None = None,
) -> Message:
    site = f"reid_stream_{topics.site}"
    available = [topics.status, topics.daemon, *([topics.camera(camera, "status")] if camera is not None else [])]
    device: dict[str, Any] = {
        "identifiers": [site if camera is None else f"{site}_{_object(camera)}"],
        "name": f"reid-stream {topics.site}" if camera is None else camera,
        "manufacturer": "reid-stream",
        "model": "Site" if camera is None else "Camera",
        "sw_version": __version__,
    }
    if camera is not None:
        device["via_device"] = site
    config = {
        "name": title,
        "unique_id": f"{site}_{_object(subject)}_{name}",
        "availability": [{"topic": topic} for topic in available],
        "availability_mode": "all",
        "device": device,
        "origin": {"name": "reid-stream", "sw_version": __version__},
        **more,
    }
    return Message(topics.config(component, subject, name), json.dumps(config))


def _object(name: str) -> str:
    """Return a unique name of letters, digits, `_` and `-`, as discovery topics need."""
    made = _NOT_OBJECT.sub("_", name)
    return made if made == name else f"{made}_{zlib.crc32(name.encode()):08x}"
