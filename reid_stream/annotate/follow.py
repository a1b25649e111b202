"""The whole pipeline as a generator: `for moment in follow(["door.mp4", "till.mp4"]): moment.frame, moment.people`.

Cameras, networks and matcher are those of the daemon; nothing is published, and identities end with the loop. Files
give the same identities in every run, those that `reid-stream --replay fast` gives.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from reid_stream.annotate.moment import Moment
from reid_stream.config.presence_settings import PresenceSettings
from reid_stream.config.settings import Camera, Settings
from reid_stream.events import Event
from reid_stream.ingest.site_clock import SiteClock
from reid_stream.pipeline import DecisionListener
from reid_stream.records import CameraId, Decision, Frame, Observation, Perceived, Sighting

if TYPE_CHECKING:
    from reid_stream.runtime.interfaces import CameraSource
    from reid_stream.runtime.networks import Networks

_WAIT_S = 0.2
"""Longest wait for a live frame before visits are checked for their end."""


def follow(
    sources: str | Path | Sequence[str | Path],
    *,
    max_fps: float | None = None,
    listeners: Sequence[DecisionListener] = (),
) -> Iterator[Moment]:
    """Follow people across cameras; yields every processed frame in order of time, with the people in it.

    Args:
        sources: video files and URLs of cameras, or one cams.yaml.
        max_fps: frames used per second of each camera; None for `max_fps` of cams.yaml, which is 10 by default.
        listeners: called with the matcher's decisions of each step.

    Raises:
        ConfigError: a file is missing, or cams.yaml is wrong.
        ModelError: a bundle is missing or broken.
        StreamError: a file is no video.
    """
    from reid_stream.config.sources import load_settings

    named = [sources] if isinstance(sources, str | Path) else sources
    settings = load_settings([str(source) for source in named], "sources")
    if max_fps is not None:
        cameras = tuple(camera.model_copy(update={"max_fps": max_fps}) for camera in settings.cameras)
        settings = settings.model_copy(update={"cameras": cameras})
    return follow_site(settings, listeners=listeners)


def follow_site(
    settings: Settings, *, listeners: Sequence[DecisionListener] = (), networks: "Networks | None" = None
) -> Iterator[Moment]:
    """Follow the cameras of settings; see `follow`.

    Args:
        settings: of cams.yaml.
        listeners: called with the matcher's decisions of each step.
        networks: loaded already; None loads those of the settings.
    """
    from reid_stream.assembly.resources import check_files
    from reid_stream.bundles.embedder_info import EmbedderInfo
    from reid_stream.ingest.url import address
    from reid_stream.match.factory import matcher_for
    from reid_stream.match.presence import Presence
    from reid_stream.pipeline import Identification
    from reid_stream.runtime.networks import load_networks, make_perception

    cameras = [camera for camera in settings.cameras if camera.enabled]
    is_replay = all(address(camera).is_local for camera in cameras)
    check_files(cameras, must_exist=is_replay)
    networks = networks or load_networks(settings)
    ids = [CameraId(camera.id) for camera in cameras]
    matcher = matcher_for(
        settings.match, EmbedderInfo.of(networks.embedder), settings.site, topology=settings.topology, cameras=ids
    )
    sightings: list[Sighting] = []

    def listen(decisions: Sequence[Decision], _now: float) -> None:
        sightings.extend(decision for decision in decisions if isinstance(decision, Sighting))

    identify = Identification(
        matcher, Presence(PresenceSettings.of(settings.publish, cameras)), listeners=[listen, *listeners]
    )
    perceive = make_perception(settings, networks, "follow")
    clock = SiteClock()
    source = _open(settings, cameras, clock, is_replay=is_replay)
    source.start()
    try:
        events: list[Event] = []
        while (batch := source.take_frames(_WAIT_S)) is not None:
            records = perceive.step(batch)
            if records or not is_replay:
                now = max((record.seen_at for record in records), default=clock.now())
                events += identify.step(records, now)
            for frame in batch:
                yield _moment(frame, records, sightings, events)
                events = []
            sightings.clear()
        identify.finish()
    finally:
        source.stop()


def _moment(
    frame: Frame, records: Sequence[Perceived], sightings: Sequence[Sighting], events: Sequence[Event]
) -> Moment:
    seen = [
        record
        for record in records
        if isinstance(record, Observation) and record.camera == frame.camera and record.seen_at == frame.captured_at
    ]
    of_frame = {record.sequence for record in seen}
    known = [
        one for one in sightings if one.observation.camera == frame.camera and one.observation.sequence in of_frame
    ]
    named = {one.observation.sequence for one in known}
    return Moment(frame, known, [record for record in seen if record.sequence not in named], events)


def _open(settings: Settings, cameras: Sequence[Camera], clock: SiteClock, *, is_replay: bool) -> "CameraSource":
    from reid_stream.assembly.perception import REPLAY_ORIGIN
    from reid_stream.ingest.camera_set import CameraSet
    from reid_stream.ingest.replay import FastReplay

    if is_replay:
        return FastReplay(cameras, settings.ingest, origin=REPLAY_ORIGIN)
    # On threads: camera processes import the caller's main module again, which may be a script without a guard.
    ingest = settings.ingest.model_copy(update={"isolate": False})
    return CameraSet(cameras, ingest, lambda _change: None, clock)
