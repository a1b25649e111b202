"""Measure the whole pipeline against the ceiling of its parts.

    ceiling = 1 / (t_decode + t_detect + crops per frame x t_embed)

Each t is measured alone, with all cores, in the same run: decoding by replaying the same files, the detector by its raw
engine on letterboxed frames in batches of the pipeline's size, the embedder by its raw engine on as many crops per call
as the pipeline had. With `people` given, the detector runs as usual, and its boxes are replaced by those of that many
simulated people. The ceiling assumes that the parts do not overlap, which holds where all cores are busy.
"""

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
from prometheus_client import Metric

from reid_stream.assembly.site import assemble
from reid_stream.config.settings import Camera, Observe, Settings
from reid_stream.errors import ReidStreamError
from reid_stream.events import Event, IdentityEntered
from reid_stream.ingest.stats import CameraStats
from reid_stream.pipeline import Detect
from reid_stream.records import Detections, Frame
from reid_stream.runtime.networks import Networks, take_over


class PipelineFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Results; times in seconds, rates per second over all cameras."""

    cameras: int
    frames: int
    footage_s: float
    size: tuple[int, int]
    detector: str
    embedder: str
    frames_per_s: float
    ceiling: float
    share_of_ceiling: float
    share_of_detector: float
    decode_ms: float
    detect_ms: float
    embed_ms: float
    crops_per_frame: float
    people: int
    first_event_s: float
    rss_mb: float
    stages_ms: dict[str, float]
    """Milliseconds per frame inside the pipeline, by stage."""


class _Counting:
    """A sink that only counts, so that Redis is not measured."""

    def __init__(self) -> None:
        self.people: set[str] = set()
        self.first_at: float | None = None

    def publish(self, events: Sequence[Event]) -> None:
        for event in events:
            if isinstance(event, IdentityEntered):
                self.people.add(event.person)
                self.first_at = self.first_at or time.perf_counter()

    def close(self, timeout_s: float) -> bool:  # noqa: ARG002 (the protocol's)
        return True


class _Crowd:
    """A detector whose boxes are replaced by those of simulated people, who walk on straight lines."""

    def __init__(self, detect: Detect, people: int) -> None:
        self._detect = detect
        lanes = np.random.default_rng(1).uniform(0, 1, (people, 4)).astype(np.float32)
        self._at, self._speed, self._row, self._height = lanes.T

    def __call__(self, frames: Sequence[Frame]) -> list[Detections]:
        self._detect(frames)
        return [self._walk(frame) for frame in frames]

    def _walk(self, frame: Frame) -> Detections:
        width, height = frame.size
        tall = height * (0.15 + 0.15 * self._height)
        wide = tall / 2.5
        # Back and forth, a fifth to a half of the width of the image in ten seconds.
        phase = (self._at + frame.captured_at % 3600 * (0.01 + 0.015 * self._speed)) % 1
        left = (width - wide) * np.abs(2 * phase - 1)
        top = (height - tall) * self._row
        boxes = np.stack([left, top, left + wide, top + tall], axis=1)
        return Detections(boxes=boxes.astype(np.float32), scores=np.full(len(boxes), 0.9, np.float32))


def check_hardware(cameras: Iterable[CameraStats]) -> None:
    """Check that a GPU decoded.

    Raises:
        ReidStreamError: the CPU did.
    """
    for stats in cameras:
        if not stats.hardware:
            raise ReidStreamError(
                f"--gpu-frames must have an NVIDIA GPU that decodes the clip, {stats.name} ({stats.codec}) was decoded "
                "by the CPU; give an H.264 or H.265 file with --clip"
            )


def on_gpu() -> dict[str, bool]:
    """Return the `ingest` settings that keep frames on the NVIDIA GPU that decodes them."""
    return {"gpu_frames": True, "hardware_decode": True, "isolate": False}


def measure(
    *,
    clips: Sequence[Path],
    cameras: int,
    seconds: float,
    max_fps: float,
    detector: str,
    embedder: str,
    people: int | None = None,
    gpu_frames: bool = False,
) -> PipelineFigures:
    """Run the pipeline and its parts; see the module."""
    settings = Settings.model_validate(
        {
            "site": "bench",
            "models": {"detector": detector, "embedder": embedder},
            "cameras": [
                Camera.model_validate(
                    {"id": f"cam{n + 1}", "url": str(clips[n % len(clips)]), "max_fps": max_fps, "loop": True}
                )
                for n in range(cameras)
            ],
            "observe": Observe(port=None),
            "ingest": on_gpu() if gpu_frames else {},
        }
    )
    per_camera = round(seconds * max_fps)
    began = time.perf_counter()
    sink = _Counting()
    wrap = None if people is None else lambda perception: replace(perception, detect=_Crowd(perception.detect, people))
    with assemble(settings, run="bench", fast=True, sink=sink, frames=per_camera * cameras, wrap=wrap) as site:
        loaded = time.perf_counter()
        site.daemon.run(threading.Event())
        passed = time.perf_counter() - loaded
        if gpu_frames:
            check_hardware(site.source.stats.values())
        counts = site.daemon.perception.counts
        size = next(iter(site.source.stats.values())).size
        networks = site.networks
        stages = _stages(site.metrics.registry.collect(), counts.frames)
    decode_s = _decode_alone(settings, counts.frames)
    detect_s = _detect_alone(networks, settings, cameras)
    crops = counts.crops / max(1, counts.frames)
    embed_s = _embed_alone(networks, max(1, round(crops * cameras)))
    ceiling = 1 / (decode_s + detect_s + crops * embed_s)
    rate = counts.frames / passed
    return PipelineFigures(
        cameras=cameras,
        frames=counts.frames,
        footage_s=per_camera / max_fps,
        size=size,
        detector=networks.detector_engine.name,
        embedder=networks.embedder_engine.name,
        frames_per_s=round(rate, 2),
        ceiling=round(ceiling, 2),
        share_of_ceiling=round(rate / ceiling, 3),
        share_of_detector=round(rate * detect_s, 3),
        decode_ms=round(decode_s * 1e3, 3),
        detect_ms=round(detect_s * 1e3, 3),
        embed_ms=round(embed_s * 1e3, 3),
        crops_per_frame=round(crops, 3),
        people=len(sink.people),
        first_event_s=round((sink.first_at or time.perf_counter()) - began, 2),
        rss_mb=round(_rss_mb(), 1),
        stages_ms=stages,
    )


def show(figures: PipelineFigures) -> None:
    """Print the figures as a table."""
    from rich.text import Text

    from reid_stream.console.output import Output, Rows, count

    cameras = count(figures.cameras, "camera")
    stages = ", ".join(f"{name} {value:.2f}" for name, value in figures.stages_ms.items())
    table = Rows("figure", "value")
    for name, value in (
        ("cameras", f"{cameras} of {figures.size[0]}x{figures.size[1]}, {count(figures.frames, 'frame')}"),
        ("engines", f"{figures.detector}; {figures.embedder}"),
        ("pipeline", Text(f"{figures.frames_per_s:.1f} frames/s", "bold")),
        ("ceiling", f"{figures.ceiling:.1f} frames/s = 1 / (decode + detect + crops per frame x embed)"),
        ("share of the ceiling", Text(f"{figures.share_of_ceiling:.2f}", "bold")),
        ("share of the raw detector", f"{figures.share_of_detector:.2f}"),
        ("decode alone", f"{figures.decode_ms:.2f} ms per frame"),
        ("detector alone", f"{figures.detect_ms:.2f} ms per frame"),
        ("embedder alone", f"{figures.embed_ms:.2f} ms per crop, {figures.crops_per_frame:.2f} crops per frame"),
        ("inside the pipeline, in parallel", f"{stages} ms"),
        ("people", str(figures.people)),
        ("start to first event", f"{figures.first_event_s:.2f} s"),
        ("memory (RSS)", f"{figures.rss_mb:.0f} MB"),
    ):
        table.add_row(name, value)
    Output().print(table)


def _decode_alone(settings: Settings, frames: int) -> float:
    from reid_stream.ingest.replay import FastReplay

    replay = FastReplay(settings.cameras, settings.ingest, origin=0.0, take_over=take_over(settings))
    replay.start()
    begin, count = time.perf_counter(), 0
    while count < frames and (batch := replay.take_frames()) is not None:
        count += len(batch)
    passed = time.perf_counter() - begin
    replay.stop()
    return passed / max(1, count)


def _detect_alone(networks: Networks, settings: Settings, batch: int) -> float:
    """Seconds per frame of the raw engine, on images of the letterboxed size, in batches as in the pipeline."""
    from reid_stream.detect.letterbox import fit
    from reid_stream.ingest.replay import FastReplay

    replay = FastReplay(settings.cameras, settings.ingest, origin=0.0)
    replay.start()
    frames = replay.take_frames() or []
    replay.stop()
    spec = networks.detector.input
    shape = networks.detector_engine.input_shape[2:]
    stride = 32 if shape == (None, None) else None
    layout = fit(frames[0].size, (spec.width, spec.height), stride=stride)
    width, height = layout.network
    rows = min(batch, settings.detect.max_batch)
    pictures = np.full((rows, height, width, 3), spec.pad, np.uint8)
    for row in range(rows):
        layout.draw(frames[row % len(frames)].pixels, pictures[row], spec.pad)
    return _fastest(lambda: networks.detector_engine.images(pictures)) / rows


def _embed_alone(networks: Networks, batch: int) -> float:
    rows = min(batch, 16)
    spec = networks.embedder.input
    crops = np.random.default_rng(1).integers(0, 255, (rows, spec.height, spec.width, 3), np.uint8)
    return _fastest(lambda: networks.embedder_engine.images(crops)) / rows


def _fastest(call: Callable[[], object], rounds: int = 30) -> float:
    """Median seconds of a call after a warm-up."""
    for _ in range(3):
        call()
    times = []
    for _ in range(rounds):
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)
    return float(np.median(times))


def _stages(families: Iterable[Metric], frames: int) -> dict[str, float]:
    sums: dict[str, float] = {}
    for family in families:
        if family.name == "reid_stream_stage_seconds":
            for sample in family.samples:
                if sample.name.endswith("_sum"):
                    sums[sample.labels["stage"]] = round(sample.value * 1e3 / max(1, frames), 3)
    return sums


def _rss_mb() -> float:
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0
