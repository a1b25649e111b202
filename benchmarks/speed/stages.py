"""Measure one stage at a time against the raw library on the same input.

decode     frames of a file as the daemon gets them          floor: FFmpeg decodes the same file and nothing else
detector   frames -> boxes (letterbox, network, suppression)  floor: the network alone, images of its own size
embedder   crops -> unit vectors (resize, network)            floor: the network alone, crops of its own size
"""

import resource
import time
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path

import msgspec
import numpy as np

from benchmarks.speed.memory import resident_bytes
from reid_stream.config.settings import Camera, Models, Observe, Settings
from reid_stream.images import UInt8
from reid_stream.records import Frame
from reid_stream.runtime.networks import load_networks

_WARM = 3


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """A stage and its floor; rates per second, times of one call."""

    stage: str
    unit: str
    """Unit of the rate: frames or crops."""
    engine: str
    batch: int
    floor: float
    achieved: float
    share: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    cores: float
    """CPU time over wall time."""
    rss_mb: float


def settings_of(
    clips: Sequence[Path], cameras: int, *, detector: str = "default", embedder: str = "default"
) -> Settings:
    """Return looping file cameras of which every frame is used."""
    return Settings(
        site="bench",
        models=Models(detector=detector, embedder=embedder),
        cameras=tuple(
            Camera.model_validate(
                {"id": f"cam{n + 1}", "url": str(clips[n % len(clips)]), "max_fps": None, "loop": True}
            )
            for n in range(cameras)
        ),
        observe=Observe(port=None),
    )


def decode(clip: Path, frames: int) -> Stage:
    """Decode a file.

    Raises:
        StreamError: it cannot be read.
    """
    from reid_stream.ingest.replay import FastReplay

    settings = settings_of([clip], 1)
    replay = FastReplay(settings.cameras, settings.ingest, origin=0.0)
    replay.start()
    try:
        replay.take_frames()
        rate, times, cores = _timed(replay.take_frames, frames)
    finally:
        replay.stop()
    floor = _raw_decode(clip, frames)
    return _stage("decode", "frames", "ffmpeg", 1, floor, rate, times, cores)


def _raw_decode(clip: Path, frames: int) -> float:
    """Return the frames per second of FFmpeg's decoder with its default threads, without colour conversion."""
    import av

    done, began = 0, 0.0
    while done < frames:
        with av.open(str(clip)) as container:
            container.streams.video[0].thread_type = "AUTO"
            for _ in container.decode(video=0):
                began = began or time.perf_counter()  # opening is not decoding
                done += 1
                if done > frames:
                    break
    return (done - 1) / (time.perf_counter() - began)


def detector(clip: Path, batch: int, calls: int, bundle: str) -> Stage:
    """Measure detection in frames of a clip."""
    settings = settings_of([clip], 1, detector=bundle)
    networks = load_networks(settings)
    frames = _frames(settings, batch)
    spec = networks.detector.input

    from reid_stream.detect.letterbox import fit

    stride = 32 if networks.detector_engine.input_shape[2:] == (None, None) else None
    width, height = fit(frames[0].size, (spec.width, spec.height), stride=stride).network
    pictures = np.random.default_rng(1).integers(0, 255, (batch, height, width, 3), np.uint8)
    return _against(
        "detector",
        "frames",
        networks.detector_engine.name,
        batch,
        lambda: networks.detector_engine.images(pictures),
        lambda: networks.detect(frames),
        calls,
    )


def embedder(clip: Path, batch: int, calls: int, bundle: str) -> Stage:
    """Measure embedding of the people of a clip."""
    settings = settings_of([clip], 1, embedder=bundle)
    networks = load_networks(settings)
    crops: list[UInt8] = []
    for frame in _frames(settings, 200):
        for x1, y1, x2, y2 in networks.detect([frame])[0].boxes.astype(int).tolist():
            crops.append(np.ascontiguousarray(frame.pixels[y1 : y2 + 1, x1 : x2 + 1]))
        if len(crops) >= batch:
            break
    crops = [crops[index % len(crops)] for index in range(batch)] if crops else []
    if not crops:
        from reid_stream.errors import ConfigError

        raise ConfigError(f"the clip must show people within its first 200 frames, none was found in {clip}")
    spec = networks.embedder.input
    pictures = np.random.default_rng(1).integers(0, 255, (batch, spec.height, spec.width, 3), np.uint8)
    return _against(
        "embedder",
        "crops",
        networks.embedder_engine.name,
        batch,
        lambda: networks.embedder_engine.images(pictures),
        lambda: networks.embed(crops),
        calls,
    )


def _against(
    stage: str, unit: str, engine: str, batch: int, floor: Callable[[], object], ours: Callable[[], object], calls: int
) -> Stage:
    for _ in range(_WARM):
        floor()
        ours()
    # Alternate, so that a change of the machine's load hits both.
    half = max(1, calls // 2)
    rates = [(_timed(floor, half), _timed(ours, half)) for _ in range(2)]
    raw = float(np.mean([first[0] for first, _ in rates])) * batch
    rate = float(np.mean([second[0] for _, second in rates])) * batch
    times = [seconds for _, second in rates for seconds in second[1]]
    cores = float(np.mean([second[2] for _, second in rates]))
    return _stage(stage, unit, engine, batch, raw, rate, times, cores)


def _stage(
    stage: str, unit: str, engine: str, batch: int, floor: float, rate: float, times: Sequence[float], cores: float
) -> Stage:
    p50, p95, p99 = (round(float(value) * 1e3, 3) for value in np.percentile(times, [50, 95, 99]))
    return Stage(
        stage=stage,
        unit=unit,
        engine=engine,
        batch=batch,
        floor=round(floor, 1),
        achieved=round(rate, 1),
        share=round(rate / floor, 3),
        p50_ms=p50,
        p95_ms=p95,
        p99_ms=p99,
        cores=round(cores, 2),
        rss_mb=round(resident_bytes() / 2**20, 1),
    )


def _timed(call: Callable[[], object], count: int) -> tuple[float, list[float], float]:
    """Return calls per second, the seconds of each, and how many cores were busy."""
    times = []
    used, began = _cpu_s(), time.perf_counter()
    for _ in range(count):
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)
    passed = time.perf_counter() - began
    return count / passed, times, (_cpu_s() - used) / passed


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _frames(settings: Settings, count: int) -> list[Frame]:
    from reid_stream.ingest.replay import FastReplay

    replay = FastReplay(settings.cameras, settings.ingest, origin=0.0)
    replay.start()
    try:
        batches = islice(iter(replay.take_frames, None), count)
        return [frame for batch in batches for frame in batch]
    finally:
        replay.stop()


def show(stages: Sequence[Stage]) -> None:
    """Print a table."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    console.print(", ".join(dict.fromkeys(f"{one.stage} by {one.engine}" for one in stages)))
    table = Table(box=None, header_style="bold")
    unit = f"{stages[0].unit}/s" if stages else ""
    for column in ("batch", f"floor {unit}", "achieved", "share", "p50", "p95", "p99 ms", "cores", "RSS MB"):
        table.add_column(column, justify="right")
    for one in stages:
        table.add_row(
            str(one.batch),
            f"{one.floor:.1f}",
            f"{one.achieved:.1f}",
            f"[bold]{one.share:.2f}[/]",
            f"{one.p50_ms:.1f}",
            f"{one.p95_ms:.1f}",
            f"{one.p99_ms:.1f}",
            f"{one.cores:.2f}",
            f"{one.rss_mb:.0f}",
        )
    console.print(table)
