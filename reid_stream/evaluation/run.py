"""Replay cameras through the whole daemon, an embedded Redis and a subscriber, and score what came out."""

import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from pydantic import SecretStr

from reid_stream.assembly import REPLAY_ORIGIN, assemble
from reid_stream.config import Camera, Redis, Settings
from reid_stream.errors import ConfigError
from reid_stream.evaluation.score import Boxes, Score, read_mot, score
from reid_stream.evaluation.stream import Timeline, boxes_of
from reid_stream.events import Event
from reid_stream.ingest.source import open_source
from reid_stream.publish.subscribe import subscribe

_EVERY_FRAME_S = 1e-3
"""`identity.seen` for every frame: truth has boxes in every frame."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What a replay scored."""

    at_once: Score
    in_the_end: Score
    people: int
    """Of the truth."""
    people_at_once: int
    people_in_the_end: int
    events: int
    frames: int
    seconds: float


def run(settings: Settings, truth: Mapping[str, Path]) -> Figures:
    """Replay, subscribe, score.

    Raises:
        ConfigError: a truth file is not MOT text.
        StreamError: a camera is no readable file.
    """
    try:
        true = {camera: read_mot(path) for camera, path in truth.items()}
    except ValueError as error:
        raise ConfigError(str(error)) from error
    timelines = {camera.id: _timeline(camera, settings) for camera in settings.cameras}
    with tempfile.TemporaryDirectory(prefix="reid-stream-eval-") as folder:
        replayed = settings.model_copy(
            update={
                "redis": Redis(url=SecretStr("embedded"), directory=Path(folder)),
                "publish": settings.publish.model_copy(update={"seen_interval_s": _EVERY_FRAME_S}),
            }
        )
        began = time.perf_counter()
        with assemble(replayed, run="eval", fast=True) as site:
            site.daemon.run(threading.Event())
            seconds = time.perf_counter() - began
            told = subscribe(site.redis_url, site=settings.site, start="0", block_s=0)
            events = [cast(Event, item.data) for item in told]
            frames = sum(site.daemon.progress.frames.values())
    boxes = boxes_of(events, timelines)
    return Figures(
        at_once=score(true, boxes.at_once),
        in_the_end=score(true, boxes.in_the_end),
        people=_people(true),
        people_at_once=_people(boxes.at_once),
        people_in_the_end=_people(boxes.in_the_end),
        events=len(events),
        frames=frames,
        seconds=seconds,
    )


def _timeline(camera: Camera, settings: Settings) -> Timeline:
    with open_source(camera, settings.ingest) as source:
        return Timeline(REPLAY_ORIGIN + camera.start_after_s, source.rate or 25.0)


def _people(cameras: Mapping[str, Boxes]) -> int:
    return len({person for boxes in cameras.values() for person in boxes.people})
