"""Compare runs in one table and one plot: accuracy, speed, size, training time.

    run ─▶ bundle in the run's folder, exported if need be ─▶ engine of the daemon ─▶ test sets ─▶ comparison.json

Figures are of the bundle as the daemon serves it. Runs whose names differ only in `-s<number>` are one row, the mean
over its seeds with the largest distance from it. What has been measured is kept with each run and not measured again.
"""

import json
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from reid_stream.bundles.bundle import load_embedder
from trainer.config import parse
from trainer.data.test_sets import TestSet, read_test_set
from trainer.errors import DataError, TrainerError
from trainer.evaluate.network import TrainedNetwork, open_network
from trainer.evaluate.protocol import evaluate
from trainer.export.bundle import export
from trainer.train.recipe import run_length

FILE = "comparison.json"
FIGURES = ("Rank-1", "mAP", "mINP", "DIR@1%FAR")
_SEED = re.compile(r"-s\d+$")
_TIMED = 16
"""Crops of one pass whose time is taken."""


@dataclass(frozen=True)
class RunMeasurement:
    """One run."""

    name: str
    row: str
    """Name without the seed: runs of one row are averaged."""
    budget: str
    """Planned length of the training, in words."""
    images: int
    """Images seen in training, repeats counted."""
    minutes: float
    """Training time by the clock of the machine that it was trained on."""
    milliseconds: float
    """Time of one CPU core per crop, when served."""
    megabytes: float
    """Size of the bundle's network, weights in 16 bits."""
    bundle: str
    """Hash of the bundle."""
    figures: dict[str, dict[str, float]]
    """Test set -> FIGURES, by cosine."""


def compare(
    runs: Sequence[Path],
    test_sets: Sequence[str],
    data: Path | None,
    precision: str,
    log: Callable[[str], None] = print,
) -> list[RunMeasurement]:
    """Measure runs that have ended on every test set, one core, and return them in the given order.

    Raises:
        TrainerError: a folder holds no ended run, or a test set cannot be read.
    """
    read: dict[tuple[object, ...], TestSet] = {}
    found = []
    for run in runs:
        bundle = _bundle(run)
        known = _known(run)
        missing = [name for name in test_sets if known is None or name not in known.figures]
        if known is None or known.bundle != load_embedder(bundle).hash or missing:
            log(f"{run.name}: {', '.join(test_sets)}")
            network = open_network(bundle, precision, 1)
            known = _measure(run, bundle, network, test_sets, data, read)
            (run / FILE).write_text(json.dumps(asdict(known), indent=1), encoding="utf-8")
        found.append(known)
    return found


def rows(measured: Sequence[RunMeasurement]) -> dict[str, list[RunMeasurement]]:
    """Return the runs of each row, in order of their first appearance."""
    grouped: dict[str, list[RunMeasurement]] = {}
    for run in measured:
        grouped.setdefault(run.row, []).append(run)
    return grouped


def table(
    measured: Sequence[RunMeasurement],
    test_sets: Sequence[str],
    published: dict[str, tuple[float, float]] | None = None,
) -> str:
    """Return a table in Markdown; `published` adds Rank-1 and mAP of a paper by row."""
    head = ["run", "seeds"]
    head += [f"{name} {figure}" for name in test_sets for figure in FIGURES]
    head += ["ms per crop", "MB", "images seen", "minutes"] + (["paper, in full: Rank-1 / mAP"] if published else [])
    lines = ["| " + " | ".join(head) + " |", "| --- " * len(head) + "|"]
    for row, runs in rows(measured).items():
        cells = [row, str(len(runs))]
        cells += [_spread([run.figures[name][figure] for run in runs]) for name in test_sets for figure in FIGURES]
        cells += [
            f"{np.mean([run.milliseconds for run in runs]):.1f}",
            f"{np.mean([run.megabytes for run in runs]):.1f}",
            f"{np.mean([run.images for run in runs]):.0f}",
            f"{np.mean([run.minutes for run in runs]):.1f}",
        ]
        if published:
            cells.append(" / ".join(f"{value:.4f}" for value in published[row]) if row in published else "")
        lines.append("| " + " | ".join(cells) + " |")
    budgets = dict.fromkeys(run.budget for run in measured)
    return "\n".join([*lines, "", "Trained: " + "; ".join(budgets) + "."]) + "\n"


def _spread(values: list[float]) -> str:
    mean = float(np.mean(values))
    far = max(abs(value - mean) for value in values)
    return f"{mean:.3f} ± {far:.3f}" if len(values) > 1 else f"{mean:.3f}"


def _bundle(run: Path) -> Path:
    """Return the run's bundle, exported if need be."""
    if not (run / "report.json").is_file() or not (run / "best.pt").is_file():
        raise TrainerError(f"compare needs runs of reid-train fit that have ended, {run} lacks report.json or best.pt")
    bundle = run / "bundle"
    if not (bundle / "bundle.json").is_file():
        export(run, bundle, "f16", name=run.name)
    return bundle


def _known(run: Path) -> RunMeasurement | None:
    """Return what was measured before, if it can be read."""
    try:
        return RunMeasurement(**json.loads((run / FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _measure(
    run: Path,
    folder: Path,
    network: TrainedNetwork,
    test_sets: Sequence[str],
    data: Path | None,
    read: dict[tuple[object, ...], TestSet],
) -> RunMeasurement:
    report = json.loads((run / "report.json").read_text(encoding="utf-8"))
    settings, bundle = parse(report["settings"], str(run)), load_embedder(folder)
    figures = {}
    for name in test_sets:
        if name in bundle.data and name != "market1501":  # of which 150 persons are held back from every run
            raise DataError(f"{run} learned from {name}: it is no test set for it")
        key = (name, network.spec.height, network.spec.width)
        if key not in read:
            read[key] = read_test_set(name, data, network.spec)
        scores = evaluate(network, read[key], ["cosine"])[0].report
        values = (scores.rank1, scores.mean_ap, scores.mean_inp, next(iter(scores.detection_rates.values())))
        figures[name] = dict(zip(FIGURES, values, strict=True))
    return RunMeasurement(
        name=run.name,
        row=_SEED.sub("", run.name),
        budget=run_length(settings),
        images=int(report["steps"]) * settings.batch_size,
        minutes=float(report["training_seconds"]) / 60,
        milliseconds=_milliseconds(network),
        megabytes=bundle.model_bytes / 1e6,
        bundle=bundle.hash,
        figures=figures,
    )


def _milliseconds(network: TrainedNetwork) -> float:
    """Return the CPU time per crop in ms; wall time on a shared machine includes other processes."""
    crops = np.zeros((_TIMED, network.spec.height, network.spec.width, 3), dtype=np.uint8)
    taken = []
    for _ in range(6):
        started = time.process_time()
        network.embed(crops, False)
        taken.append((time.process_time() - started) / _TIMED)
    return 1000 * float(np.median(taken[1:]))  # the first one warms up
