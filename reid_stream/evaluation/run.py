"""Replay cameras through the whole daemon, an embedded Redis and a subscriber, and score what came out."""

import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import numpy as np
from pydantic import SecretStr

from reid_stream.assembly import assemble, check_files
from reid_stream.config import Camera, Redis, Settings
from reid_stream.errors import ConfigError
from reid_stream.evaluation.account import Account, account_stream
from reid_stream.evaluation.align import Boxes
from reid_stream.evaluation.delay import Delay
from reid_stream.evaluation.recording import EVERY_FRAME, timelines
from reid_stream.evaluation.stream import Timeline
from reid_stream.evaluation.truth import check_cameras, read_truth
from reid_stream.events import Event
from reid_stream.ingest.address import address
from reid_stream.pipeline import Detect
from reid_stream.publish.subscribe import subscribe
from reid_stream.records import Detections, Frame


@dataclass(frozen=True, slots=True)
class Figures:
    """What a replay scored."""

    at_once: Account
    """What a subscriber knew who never looks back."""
    in_the_end: Account
    """What one knew who follows corrections; the final state."""
    delay: Delay
    events: int
    frames: int
    """Of all cameras together."""
    seconds: float


@dataclass(slots=True)
class Used:
    """Which frames the detector was given; below a camera's own rate, the others are not to be scored."""

    cameras: Mapping[str, Timeline]
    frames: dict[str, list[int]] = field(default_factory=dict)

    def noting(self, detect: Detect) -> Detect:
        """Return the same detector, whose frames are noted."""

        def detects(frames: Sequence[Frame]) -> list[Detections]:
            for frame in frames:
                number = self.cameras[frame.camera].frame(frame.captured_at)
                self.frames.setdefault(frame.camera, []).append(number)
            return detect(frames)

        return detects

    def only(self, truth: Mapping[str, Boxes]) -> dict[str, Boxes]:
        """Return the truth of the frames that were used.

        Raises:
            ConfigError: it goes on after the video.
        """
        for camera, boxes in truth.items():
            numbers = np.asarray(sorted(self.frames.get(camera, [])), dtype=np.int64)
            step = int(np.diff(numbers).max(initial=1))
            if len(boxes) and len(numbers) and boxes.frames.max() >= numbers[-1] + step:
                raise ConfigError(
                    f"truth must end with the video, the last frame of camera {camera} is {numbers[-1]}, got frame"
                    f" {boxes.frames.max()}; is it of another video or frame rate?"
                )
        return {
            camera: boxes.only(np.asarray(self.frames.get(camera, []), dtype=np.int64))
            for camera, boxes in truth.items()
        }


def run(settings: Settings, truth: Mapping[str, Path]) -> Figures:
    """Replay, subscribe, score.

    Raises:
        ConfigError: a camera loops, has no truth, or a truth file cannot be one.
        StreamError: a camera is no readable file.
    """
    cameras = [camera for camera in settings.cameras if camera.enabled]
    check_files(cameras)
    true = truth_for(settings, truth)
    used = Used(timelines(cameras, settings))
    with tempfile.TemporaryDirectory(prefix="reid-stream-eval-") as folder:
        replayed = settings.model_copy(
            update={
                "redis": Redis(url=SecretStr("embedded"), directory=Path(folder)),
                "publish": settings.publish.model_copy(update={"seen_interval_s": EVERY_FRAME.seen_interval_s}),
            }
        )
        began = time.perf_counter()
        with assemble(replayed, run="eval", fast=True) as site:
            site.daemon.perceive.detect = used.noting(site.daemon.perceive.detect)
            site.daemon.run(threading.Event())
            seconds = time.perf_counter() - began
            told = subscribe(site.redis_url, site=settings.site, start="0", block_s=0)
            events = [cast(Event, item.data) for item in told]
            frames = sum(site.daemon.progress.frames.values())
    return figures(used.only(true), events, used.cameras, frames, seconds)


def figures(
    truth: Mapping[str, Boxes], events: Sequence[Event], cameras: Mapping[str, Timeline], frames: int, seconds: float
) -> Figures:
    """Score an event stream that told of every frame."""
    stream = account_stream(truth, events, cameras)
    return Figures(
        at_once=stream.at_once,
        in_the_end=stream.in_the_end,
        delay=stream.delay,
        events=len(events),
        frames=frames,
        seconds=seconds,
    )


def truth_for(settings: Settings, truth: Mapping[str, Path]) -> dict[str, Boxes]:
    """Read the truth of file cameras.

    Raises:
        ConfigError: a camera loops, has no truth, or a truth file cannot be one.
        StreamError: a camera is no readable file.
    """
    cameras = [camera for camera in settings.cameras if camera.enabled]
    if looping := [camera.id for camera in cameras if camera.loop]:
        raise ConfigError(f"footage with truth must end, got loop: true for {', '.join(looping)}")
    check_cameras(list(truth), [camera.id for camera in cameras])
    lengths = {camera.id: number for camera in cameras if (number := _announced(camera)) is not None}
    return read_truth(truth, lengths)


def _announced(camera: Camera) -> int | None:
    """How many frames a file says it has; none where its format does not say, or it cannot be opened."""
    import av

    where = address(camera)
    try:
        with av.open(where.secret) as container:
            return container.streams.video[0].frames or None
    except (av.FFmpegError, OSError, IndexError):
        return None  # the replay will say why
