"""Make an int8 bundle of another one; refused unless as accurate and faster on this CPU.

    bundle + pictures -> quantise -> candidate -> quality on labelled sets, time in one run -> gate -> bundle

Both are measured as the daemon would run them: by its own engine, at the precision that `auto` chooses.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import msgspec
import numpy as np

from reid_stream.bundles.bundle import (
    MODEL_FILE,
    Bundle,
    DetectorBundle,
    EmbedderBundle,
    Floats,
    load,
    probe_input,
    save,
)
from reid_stream.bundles.network_file import is_openvino_only
from reid_stream.bundles.wrap import now, with_probe
from reid_stream.config.settings import Detect, Models
from reid_stream.detect.yolo import Detector as Yolo
from reid_stream.detect.yolo import spec_of
from reid_stream.embed.preprocess import normalise
from reid_stream.engines.load import load_engine
from reid_stream.engines.protocol import PixelEngine
from trainer.data import sets
from trainer.data.crops import assemble
from trainer.data.test_sets import check_test_sets, read_test_set
from trainer.detector import dataset, evaluation
from trainer.errors import TrainerError
from trainer.evaluate.network import input_spec, open_network
from trainer.evaluate.protocol import evaluate
from trainer.export.quantise import quantise

MAX_LOSS = 0.005
"""Largest loss of mAP or AP50 on any set."""
MIN_SPEED = 1.05
"""Least speed-up: below that the difference is chance, and a second network is not worth keeping."""
EMBEDDER_SOURCES, EMBEDDER_SETS = ("market1501",), ("market1501:validation", "market1501")
DETECTOR_SOURCES = ("yolo:boxes/pennfudan.tar.gz", "yolo:boxes/coco_person_train.tar.gz")
KEPT = (r".*model\.23.*",)
"""The head of YOLO11: its boxes are differences of large numbers."""
KEPT_TYPES = {"embedder": ("Pow", "ReduceMean", "GlobalAveragePool", "MatMul", "Gemm"), "detector": ()}
"""Pooling and projection: quantised, they cost the shipped embedder 4.7 points of mAP, kept, 0.1."""
_ROUNDS = 40
_BATCH = {"embedder": 8, "detector": 1}


@dataclass(frozen=True, slots=True)
class Quality:
    """One figure of both bundles."""

    name: str
    before: float
    after: float


@dataclass(frozen=True, slots=True)
class Measured:
    """Figures that decide on the int8 bundle."""

    qualities: Sequence[Quality]
    before: str
    """Engine that runs the original."""
    before_s: float
    """CPU time per picture, median."""
    after_s: float

    @property
    def speed(self) -> float:
        """Speed-up of int8."""
        return self.before_s / self.after_s

    @property
    def faults(self) -> tuple[str, ...]:
        """Reasons against the int8 bundle; none offers it."""
        found = [
            f"{one.name} must lie within {MAX_LOSS} of {one.before:.4f}, got {one.after:.4f}"
            for one in self.qualities
            if not one.after >= one.before - MAX_LOSS  # also when it is not a number
        ]
        if not self.speed >= MIN_SPEED:
            found.append(f"must be at least {MIN_SPEED} times as fast as {self.before}, got {self.speed:.2f} times")
        return tuple(found)


def make(
    folder: Path,
    out: Path,
    data: Path | None,
    *,
    sources: Sequence[str] = (),
    sets: Sequence[str] = (),
    pictures: int = 300,
    keep: Sequence[str] = KEPT,
    threads: int = 1,
    force: bool = False,
    log: Callable[[str], None] = lambda _text: None,
) -> tuple[Bundle, Measured]:
    """Write the int8 bundle of a bundle to `out`, unless it is worse or no faster.

    Raises:
        TrainerError: it is refused (nothing is written then), or something cannot be read.
    """
    bundle = load(folder)
    if is_openvino_only(folder):
        raise TrainerError(f"only ONNX networks are quantised, {folder} holds an OpenVINO one")
    if bundle.kind == "embedder":
        check_test_sets(sets, data)
    content = (folder / MODEL_FILE).read_bytes()
    started = time.monotonic()
    inputs = _inputs(bundle, folder, sources, data, pictures)
    log(f"{len(inputs)} pictures to take the ranges from")
    small = quantise(content, inputs, keep, KEPT_TYPES[bundle.kind])
    log(
        f"quantised in {time.monotonic() - started:.0f} s, {len(small) / 2**20:.1f} MiB from {len(content) / 2**20:.1f}"
    )
    candidate = _bundle(bundle, small, out.with_name(f".{out.name}.candidate"))
    work = out.with_name(f".{out.name}.candidate")
    try:
        measured = _measure(folder, work, candidate, sets, data, threads, log)
        if measured.faults and not force:
            raise TrainerError(f"int8 is not offered for {folder}: {'; '.join(measured.faults)}; nothing was written")
        figures = {f"int8.{one.name}": round(one.after, 5) for one in measured.qualities}
        figures["int8.speed"] = round(measured.speed, 3)
        kept = msgspec.structs.replace(candidate, metrics={**bundle.metrics, **figures})
        return _save(kept, small, out), measured
    finally:
        for file in work.glob("*"):
            file.unlink()
        work.rmdir()


def _bundle(bundle: Bundle, small: bytes, folder: Path) -> Bundle:
    """Write the candidate, its probe what its own network answers."""
    source = f"reid-train quantise {bundle.name} {bundle.hash[:12]}"
    named = msgspec.structs.replace(bundle, name=f"{bundle.name}-int8", created=now(), source=source)
    if isinstance(named, EmbedderBundle):
        fitted = msgspec.structs.replace(named.calibration, at_precision="int8")
        named = msgspec.structs.replace(named, calibration=fitted)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / MODEL_FILE).write_bytes(small)
    except OSError as error:
        raise TrainerError(f"a bundle must be writable, {folder}: {error.strerror or error}") from error
    answer = load_engine(folder / MODEL_FILE, Models(engine="openvino"))(probe_input(named))
    return _save(with_probe(named, answer), small, folder)  # type: ignore[type-var]


def _save(bundle: Bundle, small: bytes, folder: Path) -> Bundle:
    # mypy does not try a union's kinds one by one.
    saved: Bundle = save(bundle, small, folder)  # type: ignore[type-var]
    return saved


def _inputs(bundle: Bundle, folder: Path, sources: Sequence[str], data: Path | None, count: int) -> list[Floats]:
    """Return network inputs (1, 3, h, w), as the daemon would make them."""
    if isinstance(bundle, EmbedderBundle):
        spec = input_spec(bundle.input)
        found = []
        for source in sources or EMBEDDER_SOURCES:
            every = list(sets.read(source, data))
            if source == "market1501" and data is not None:
                learnt = set(sets.split_market1501(data).train)
                every = [crop for crop in every if crop.person in learnt]
            chosen = np.random.default_rng(0).permutation(len(every))[:count]
            found += [every[place] for place in sorted(chosen)]
        pixels = assemble(found[:count], spec.height, spec.width).pixels
        return [normalise(pixels[place : place + 1], spec) for place in range(len(pixels))]
    recorder = _Recorder(load_engine(folder / MODEL_FILE, Models(engine="openvino")))
    detector = Yolo(recorder, spec_of(bundle), Detect(max_batch=1))
    parsed = [dataset.parse_source(text, data) for text in sources or DETECTOR_SOURCES]
    for named in parsed:
        for image, _ in islice(dataset.read(named, lambda _image: _NOTHING), -(-count // len(parsed))):
            evaluation.find(detector, image)
    return recorder.seen


_NOTHING = (np.zeros((0, 4), np.float32), np.zeros(0, np.float32))


class _Recorder:
    """Engine that records its inputs."""

    def __init__(self, engine: PixelEngine) -> None:
        self._engine, self.seen = engine, list[Floats]()
        self.name, self.input_shape, self.output_shape = engine.name, engine.input_shape, engine.output_shape

    def __call__(self, batch: Floats) -> Floats:
        self.seen.append(batch.copy())
        return self._engine(batch)


def _measure(
    folder: Path,
    candidate: Path,
    bundle: Bundle,
    sets: Sequence[str],
    data: Path | None,
    threads: int,
    log: Callable[[str], None],
) -> Measured:
    qualities = []
    for quality in (
        _embedder_qualities(folder, candidate, sets, data, threads)
        if isinstance(bundle, EmbedderBundle)
        else _detector_qualities(folder, candidate, sets, data, threads)
    ):
        qualities.append(quality)
        log(f"{quality.name}: {quality.before:.4f}, int8 {quality.after:.4f}")
    name, before, after = _times(folder, candidate, bundle, threads)
    measured = Measured(qualities, name, before, after)
    log(
        f"{name} {1e3 * before:.2f} ms, int8 {1e3 * after:.2f} ms of CPU time an image, "
        f"{threads} thread{'s' if threads > 1 else ''}: {measured.speed:.2f} times as fast"
    )
    return measured


def _embedder_qualities(
    folder: Path, candidate: Path, sets: Sequence[str], data: Path | None, threads: int
) -> list[Quality]:
    before, after = (open_network(path, "auto", threads) for path in (folder, candidate))
    found = []
    for name in sets or EMBEDDER_SETS:
        tested = read_test_set(name, data, before.spec)
        reports = [evaluate(network, tested, ["verification"])[0].report for network in (before, after)]
        found.append(Quality(f"{name}.mAP", reports[0].mean_ap, reports[1].mean_ap))
    return found


def _detector_qualities(
    folder: Path, candidate: Path, sets: Sequence[str], data: Path | None, threads: int
) -> list[Quality]:
    from trainer.commands.detector import DEFAULT_SETS

    before, after = (evaluation.open_detector(path, threads) for path in (folder, candidate))
    found = []
    for text in sets or DEFAULT_SETS:
        labelled = evaluation.parse_set(text, data)
        score = evaluation.compare(labelled.name, evaluation.labelled_pictures(labelled), after, before)
        found.append(Quality(f"{labelled.name}.AP50", score.teacher, score.ours))
    return found


def _times(folder: Path, candidate: Path, bundle: Bundle, threads: int) -> tuple[str, float, float]:
    """Return the original's engine and the CPU time per image of both, measured alternately, under the same load."""
    height, width = bundle.input.height, bundle.input.width
    if isinstance(bundle, DetectorBundle):
        height = min(height, -(-width * 9 // 16 // 32) * 32)  # most cameras are wide
    engines = [load_engine(path / MODEL_FILE, Models(threads=threads)) for path in (folder, candidate)]
    fixed = engines[0].input_shape[2:]
    height, width = fixed[0] or height, fixed[1] or width
    count = _BATCH[bundle.kind]
    batch = np.random.default_rng(0).random((count, 3, height, width), dtype=np.float32)
    taken: tuple[list[float], list[float]] = ([], [])
    for round_ in range(_ROUNDS + 3):
        for times, engine in zip(taken, engines, strict=True):
            started = time.process_time()
            engine(batch)
            if round_ >= 3:  # the first ones compile
                times.append((time.process_time() - started) / count)
    return engines[0].name, float(np.median(taken[0])), float(np.median(taken[1]))
