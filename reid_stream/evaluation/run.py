"""Replay cameras with ground truth through the daemon, subscribe to its events and score them.

`watch` replays them through the whole daemon, an embedded Redis and a subscriber; `rewatch` matches a recording again.
"""

import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from pydantic import SecretStr

from reid_stream.assembly.resources import check_files
from reid_stream.assembly.site import assemble
from reid_stream.config.settings import Match, Redis, Settings, TopologySettings
from reid_stream.errors import ConfigError
from reid_stream.evaluation.align import Boxes
from reid_stream.evaluation.delay import Delay
from reid_stream.evaluation.footage import UsedFrames, truth_for
from reid_stream.evaluation.recording import EVERY_FRAME, Recording, replay, timelines
from reid_stream.evaluation.stream import Timeline
from reid_stream.evaluation.summary import Summary, summarize_stream
from reid_stream.events import Event
from reid_stream.ingest.scratch_folder import scratch_folder
from reid_stream.pipeline import PerceiveCounts
from reid_stream.publish.subscribe import subscribe
from reid_stream.records import Detections, Frame, Perceived
from reid_stream.runtime.interfaces import PerceptionStages


@dataclass(frozen=True, slots=True)
class EvalResult:
    """Scores of a replay."""

    at_once: Summary
    """The view of a subscriber that ignores corrections."""
    in_the_end: Summary
    """The view of a subscriber that applies corrections: the final state."""
    delay: Delay
    events: int
    frames: int
    """Number of frames of all cameras."""
    seconds: float
    """Duration of the replay, without loading the networks."""


@dataclass(frozen=True, slots=True)
class ReplayedRun:
    """Ground truth and published events of a replay."""

    truth: Mapping[str, Boxes]
    """True boxes by camera, of the frames that were used."""
    events: Sequence[Event]
    """Events in the order of the stream; one `seen` for every frame."""
    cameras: Mapping[str, Timeline]
    frames: int
    """Frames of all cameras together."""
    seconds: float


def run(settings: Settings, truth: Mapping[str, Path]) -> EvalResult:
    """Replay, subscribe, score.

    Raises:
        ConfigError, ModelError, BrokerError, StreamError: see `watch`.
    """
    return evaluate_run(watch(settings, truth))


def watch(settings: Settings, truth: Mapping[str, Path]) -> ReplayedRun:
    """Replay file cameras through the whole daemon and collect its events.

    Raises:
        ConfigError: a camera's file is missing, loops or has no truth, or a truth file cannot be its truth.
        ModelError, BrokerError: see `assemble`.
        StreamError: a camera is no readable file.
    """
    cameras = [camera for camera in settings.cameras if camera.enabled]
    check_files(cameras)
    true = truth_for(settings, truth)
    used = UsedFrames(timelines(cameras, settings))
    with tempfile.TemporaryDirectory(prefix="eval-", dir=scratch_folder()) as folder:
        replayed = settings.model_copy(
            update={
                "redis": Redis(url=SecretStr("embedded"), directory=Path(folder)),
                "publish": settings.publish.model_copy(update={"seen_interval_s": EVERY_FRAME.seen_interval_s}),
            }
        )
        with assemble(replayed, run="eval", fast=True, wrap=lambda perception: _Noting(perception, used)) as site:
            began = time.perf_counter()
            site.daemon.run(threading.Event())
            seconds = time.perf_counter() - began
            received = subscribe(site.redis_url, site=settings.site, start="0", block_s=0)
            events = [cast(Event, item.data) for item in received]
            frames = sum(site.daemon.progress.frames.values())
    return ReplayedRun(used.only(true), events, used.cameras, frames, seconds)


def rewatch(recording: Recording, match: Match | None = None, topology: TopologySettings | None = None) -> ReplayedRun:
    """Match a recording again; gives the same identity events as the daemon, in seconds."""
    began = time.perf_counter()
    events = replay(recording, match, topology=topology)
    return ReplayedRun(recording.true_boxes(), events, recording.cameras, recording.frames, time.perf_counter() - began)


def evaluate_run(watched: ReplayedRun) -> EvalResult:
    """Score the published events.

    Raises:
        ConfigError: the truth has no people.
    """
    if not any(len(boxes) for boxes in watched.truth.values()):
        raise ConfigError("the truth must have people in the frames that were used, found none")
    stream = summarize_stream(watched.truth, watched.events, watched.cameras)
    return EvalResult(
        at_once=stream.at_once,
        in_the_end=stream.in_the_end,
        delay=stream.delay,
        events=len(watched.events),
        frames=watched.frames,
        seconds=watched.seconds,
    )


@dataclass(frozen=True, slots=True)
class _Noting:
    """Perception that records which frames it was given."""

    perception: PerceptionStages
    used: UsedFrames

    @property
    def model(self) -> str:
        return self.perception.model

    @property
    def counts(self) -> PerceiveCounts:
        return self.perception.counts

    def choose(self, frames: Sequence[Frame], /) -> list[Frame | None]:
        return self.perception.choose(frames)

    def detect(self, frames: Sequence[Frame], /) -> list[Detections]:
        return self.perception.detect(frames)

    def finish(self, frames: Sequence[Frame], found: Sequence[Detections | None]) -> list[Perceived]:
        self.used.note(frames)
        return self.perception.finish(frames, found)
