"""Compare with peer trackers on the same clips and detector weights, one after another in one run.

    clips with truth -> ours (the whole daemon, Redis and a subscriber) | each peer in its own environment
                     -> frames per second, and HOTA, IDF1 within each camera

Loading networks is not counted for any. Ours does more (people across cameras, events on Redis) in the measured time.
Its events are scored twice: by person, who may come back, and by track number, which is what peers return. All are
scored by the truth as published, and by one with returning people joined (`benchmarks.accuracy.sets.RETURNERS`).
"""

import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from benchmarks.accuracy.sets import RETURNERS, FootageSet
from reid_stream.bundles.wrap import wrap
from reid_stream.config.settings import Models
from reid_stream.engines.cpus import cpu_count
from reid_stream.errors import ConfigError
from reid_stream.evaluation.align import Boxes, align
from reid_stream.evaluation.run import watch
from reid_stream.evaluation.score import mean, score_cameras
from reid_stream.evaluation.stream import boxes_of
from reid_stream.evaluation.truth import read_mot

OURS, TRACKS = "reid-stream, people", "reid-stream, tracks"
PEERS = {"Ultralytics track, BoT-SORT + ReID": "ultralytics", "BoxMOT, BoT-SORT + OSNet": "boxmot"}
"""Name for tables -> suffix of the module that runs it."""


class Peer(msgspec.Struct, frozen=True, kw_only=True):
    """One program on one set."""

    name: str
    footage: str
    frames: int
    seconds: float
    hota: float
    """Mean over the set's cameras, each by itself, by the truth as published."""
    idf1: float
    people_hota: float
    """The same, with returning people joined."""
    people_idf1: float

    @property
    def frames_per_s(self) -> float:
        """Over all cameras of the set."""
        return self.frames / self.seconds


def run(
    sets: Sequence[FootageSet],
    *,
    python: Path,
    weights: Path | None,
    reid: Path | None,
    progress: Callable[[str], None],
) -> list[Peer]:
    """Run all on every set, with as many threads as there are cores.

    Args:
        sets: clips with truth.
        python: of the peers' environment.
        weights: of the detector, a `.pt` for the peers with the same as `.onnx` beside it for us; none for that of
            $REID_STREAM_DATA.
        reid: ONNX embedder for BoxMOT; none for that of $REID_STREAM_DATA.
        progress: called with what runs.

    Raises:
        ConfigError: the peers' environment or a network is not there.
        ReidStreamError: see `evaluation.run.watch`.
    """
    if not python.is_file():
        raise ConfigError(f"the peers need an environment of their own, {python} is not there; `make peers` makes it")
    data = Path(os.environ.get("REID_STREAM_DATA", "."))
    weights = weights or data / "detector" / "yolo11n_dequant.pt"
    reid = reid or data / "reid" / "osnet_x0_25_msmt17.onnx"
    for file in (weights, weights.with_suffix(".onnx"), reid):
        if not file.is_file():
            raise ConfigError(
                f"the peers need --weights X.pt with X.onnx beside it and --reid Y.onnx; {file} is not there"
            )
    with tempfile.TemporaryDirectory(prefix="reid-stream-peers-") as folder:
        wrap(weights.with_suffix(".onnx"), Path(folder) / "detector", kind="detector", name="the peers' detector")
        models = Models(detector=str(Path(folder) / "detector"))
        return _all(sets, python, weights, reid, models, progress)


def _all(
    sets: Sequence[FootageSet], python: Path, weights: Path, reid: Path, models: Models, progress: Callable[[str], None]
) -> list[Peer]:
    found: list[Peer] = []
    for footage in sets:
        progress(f"{footage.name}: {OURS}")
        watched = watch(footage.settings(models), footage.truths)
        ours = boxes_of(watched.events, watched.cameras)
        for name, boxes in ((OURS, ours.in_the_end), (TRACKS, ours.by_track)):
            found.append(_judged(name, footage, watched.frames, watched.seconds, watched.truth, boxes))
        for name, file in PEERS.items():
            progress(f"{footage.name}: {name}")
            found.append(_peer(name, file, footage, python, weights, reid))
    return found


def _peer(name: str, file: str, footage: FootageSet, python: Path, weights: Path, reid: Path) -> Peer:
    threads = cpu_count()
    truth = footage.published()
    with tempfile.TemporaryDirectory(prefix="reid-stream-peers-") as folder:
        job = {
            "clips": {camera: str(video.resolve()) for camera, video in footage.videos.items()},
            "weights": str(weights.resolve()),
            "reid": str(reid.resolve()),
            "threads": threads,
            "out": folder,
        }
        (Path(folder) / "job.json").write_text(json.dumps(job), encoding="utf-8")
        script = Path(__file__).parent / f"peer_{file}.py"
        environment = os.environ | {"OMP_NUM_THREADS": str(threads), "YOLO_AUTOINSTALL": "false"}
        ran = subprocess.run(
            [python.absolute(), script, Path(folder) / "job.json"],  # a link of its environment, so not resolved
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if ran.returncode != 0:
            raise ConfigError(f"{name} must run in {python}, it ended with {ran.returncode}:\n{ran.stderr[-2000:]}")
        lines = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith('{"name"')]
        predicted = {camera: _once(read_mot(Path(folder) / f"{camera}.txt")) for camera in footage.videos}
    frames, seconds = (sum(line[what] for line in lines) for what in ("frames", "seconds"))
    return _judged(name, footage, frames, seconds, truth, predicted)


def _judged(
    name: str,
    footage: FootageSet,
    frames: int,
    seconds: float,
    published: Mapping[str, Boxes],
    predicted: Mapping[str, Boxes],
) -> Peer:
    joined = {camera: footage.joined(boxes) for camera, boxes in published.items()}
    single, people = (mean(list(score_cameras(align(truth, predicted)).values())) for truth in (published, joined))
    return Peer(
        name=name,
        footage=footage.name,
        frames=frames,
        seconds=seconds,
        hota=single.hota,
        idf1=single.idf1,
        people_hota=people.hota,
        people_idf1=people.idf1,
    )


def _once(boxes: Boxes) -> Boxes:
    """Keep each track once per frame, as in the truth."""
    seen: set[tuple[int, object]] = set()
    rows = []
    for row, key in enumerate(zip(boxes.frames.tolist(), boxes.people, strict=True)):
        if key not in seen:
            seen.add(key)
            rows.append(row)
    return Boxes(boxes.frames[rows], tuple(boxes.people[row] for row in rows), boxes.boxes[rows])


def show(peers: Sequence[Peer]) -> None:
    """Print a table, each peer's speed as a share of ours."""
    from rich.table import Table

    from reid_stream.console.output import Output

    table = Table("set", "program", box=None, header_style="bold")
    for column in ("frames/s", "times faster: ours", "HOTA", "IDF1", "HOTA, IDF1 with returning people joined"):
        table.add_column(column, justify="right")
    ours = {peer.footage: peer for peer in peers if peer.name == OURS}
    last = ""
    for peer in peers:
        factor = ours[peer.footage].frames_per_s / peer.frames_per_s
        table.add_row(
            peer.footage if peer.footage != last else "",
            f"[bold]{peer.name}[/]" if peer.name in (OURS, TRACKS) else peer.name,
            f"{peer.frames_per_s:.1f}",
            "" if peer.name in (OURS, TRACKS) else f"{factor:.1f}",
            f"{peer.hota:.3f}",
            f"{peer.idf1:.3f}",
            f"{peer.people_hota:.3f}, {peer.people_idf1:.3f}" if peer.footage in RETURNERS else "",
        )
        last = peer.footage
    Output().print(table)
