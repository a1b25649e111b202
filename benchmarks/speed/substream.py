"""A camera followed in its substream (`detect_url`) beside the same camera followed in its main stream.

Two mounts of one clip on a real RTSP server show the same moment. One site follows both cameras at once, so both have
the same load and the same matcher: a person should have one global ID and one place in both.
"""

import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import numpy as np
from pydantic import SecretStr

from benchmarks.rtsp.clips import serve_clips, write_film
from reid_stream import boxes as box_maths
from reid_stream.assembly.site import assemble
from reid_stream.bench.procfs import cpu_s, family
from reid_stream.config.settings import Camera, Match, Models, Observe, Settings, TopologySettings
from reid_stream.errors import ReidStreamError
from reid_stream.evaluation.recording import EVERY_FRAME
from reid_stream.events import Event, IdentityEntered, IdentitySeen
from reid_stream.observe.logs import quiet

_START_S = 60.0
_MATCH_IOU = 0.5
Seen = IdentityEntered | IdentitySeen


class SubstreamFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Both cameras beside each other."""

    main_size: tuple[int, int]
    sub_size: tuple[int, int]
    seconds: float
    main_cpu_ms: float
    """CPU time of the camera's process per second of video, without a substream."""
    sub_cpu_ms: float
    """The same with one, key frames of the main stream included."""
    details: int
    """Key frames that people could be cut out of."""
    boxes: int
    """Boxes of the camera without a substream in frames that both have."""
    found: float
    """Share of them that the other camera has as well, with an overlap of at least 0.5."""
    overlap: float
    """Their mean overlap, as fractions of the image."""
    same: float
    """Share of those under the same global ID."""


class _Events:
    def __init__(self) -> None:
        self.all: list[Event] = []

    def publish(self, events: Sequence[Event]) -> None:
        self.all.extend(events)

    def close(self, timeout_s: float) -> bool:  # noqa: ARG002 (the protocol's)
        return True


def measure(
    clip: Path,
    main: tuple[int, int],
    sub: tuple[int, int],
    frames: int,
    seconds: float,
    max_fps: float,
    models: Models,
) -> SubstreamFigures:
    """Serve a clip's first `frames` images at both sizes (width, height), in a loop, and follow them for `seconds`.

    Raises:
        ReidStreamError: the cameras did not come up.
    """
    with TemporaryDirectory() as folder:
        films = {
            name: write_film(clip, Path(folder) / f"{name}.yuv", size, frames)
            for name, size in (("main", main), ("sub", sub))
        }
        with serve_clips({}, films=films) as server:
            one = Camera(id="one", url=SecretStr(server.url("main")), max_fps=max_fps)
            both = one.model_copy(update={"id": "both", "detect_url": SecretStr(server.url("sub"))})
            settings = Settings(
                site="bench",
                models=models,
                cameras=(one, both),
                match=Match(),
                topology=TopologySettings(overlaps=(("one", "both"),)),
                observe=Observe(port=None),
                publish=EVERY_FRAME,
            )
            return _follow(settings, main, sub, seconds)


def _follow(settings: Settings, main: tuple[int, int], sub: tuple[int, int], seconds: float) -> SubstreamFigures:
    sink, stop = _Events(), threading.Event()
    with quiet(), assemble(settings, run="bench", sink=sink) as site:
        daemon = threading.Thread(target=site.daemon.run, args=(stop,), name="bench daemon")
        daemon.start()

        def spent() -> dict[str, float]:
            return {title.rpartition(" ")[2]: cpu_s(pid) for pid, title in _titles() if ": camera " in title}

        try:
            end = time.monotonic() + _START_S
            while any(stats.state != "up" for stats in site.source.stats.values()):
                if time.monotonic() > end or not daemon.is_alive():
                    raise ReidStreamError(f"both cameras must come up within {_START_S:.0f} s, they did not")
                time.sleep(0.05)
            first = spent()
            time.sleep(seconds)
            last = spent()
            details = sum(stats.details for stats in site.source.stats.values())
        finally:
            stop.set()
            daemon.join()
    cpu_ms = {camera: (last[camera] - first[camera]) / seconds * 1e3 for camera in first}
    count, overlaps, same = _compared([event for event in sink.all if isinstance(event, Seen)], 0.5 / 10)
    return SubstreamFigures(
        main_size=main,
        sub_size=sub,
        seconds=seconds,
        main_cpu_ms=round(cpu_ms["one"], 1),
        sub_cpu_ms=round(cpu_ms["both"], 1),
        details=details,
        boxes=count,
        found=round(len(overlaps) / max(1, count), 4),
        overlap=round(float(np.mean(overlaps or [0.0])), 4),
        same=round(float(np.mean(same or [False])), 4),
    )


def _titles() -> Iterator[tuple[int, str]]:
    """Yield the processes of this program, with the titles that they set."""
    for pid in family(os.getpid()):
        with suppress(OSError):
            yield pid, Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8").strip("\0 ")


def _compared(seen: Sequence[Seen], most_s: float) -> tuple[int, list[float], list[bool]]:
    """Return the boxes in frames that both cameras have, their overlaps, and whether the IDs are the same."""
    frames: dict[str, dict[float, list[Seen]]] = {"one": {}, "both": {}}
    for event in seen:
        frames[str(event.camera)].setdefault(event.seen_at, []).append(event)
    count = 0
    overlaps: list[float] = []
    same: list[bool] = []
    for at, mine in frames["one"].items():
        nearest = min(frames["both"], key=lambda other: abs(other - at), default=float("inf"))
        if abs(nearest - at) > most_s:
            continue
        others = frames["both"][nearest]
        ious = box_maths.iou(_fractions(mine), _fractions(others))
        count += len(mine)
        for row, event in enumerate(mine):
            best = int(ious[row].argmax())
            if ious[row, best] >= _MATCH_IOU:
                overlaps.append(float(ious[row, best]))
                same.append(event.person == others[best].person)
    return count, overlaps, same


def _fractions(seen: Sequence[Seen]) -> box_maths.Floats:
    return np.array(
        [[edge / side for edge, side in zip(event.box, [*event.frame_size] * 2, strict=True)] for event in seen],
        np.float32,
    )


def show(found: SubstreamFigures) -> None:
    """Print the figures."""
    from reid_stream.console.output import Output, Rows

    heads = ("main", "substream", "CPU ms/s", "with it", "key frames", "boxes", "found", "overlap", "same ID")
    table = Rows(*heads, right=heads[2:])
    table.add_row(
        "x".join(map(str, found.main_size)),
        "x".join(map(str, found.sub_size)),
        f"{found.main_cpu_ms:.0f}",
        f"{found.sub_cpu_ms:.0f}",
        str(found.details),
        str(found.boxes),
        f"{100 * found.found:.1f} %",
        f"{found.overlap:.3f}",
        f"{100 * found.same:.1f} %",
    )
    Output().print(table)
