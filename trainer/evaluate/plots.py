"""Evaluations, calibrations, comparisons, schedules, learning curves -> image files; matplotlib without a display."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np

from trainer.config import TrainSettings
from trainer.data.augment import erase_area_at
from trainer.data.pair_sampler import share_of_negatives
from trainer.evaluate.comparison import RunMeasurement, rows
from trainer.evaluate.learning_curves import LearningCurve, smoothed
from trainer.evaluate.protocol import Evaluation
from trainer.evaluate.reliability import Bins
from trainer.evaluate.retrieval import detection_rate
from trainer.train.losses import negatives_at
from trainer.train.optimiser import rate_at

mpl.use("Agg")
from matplotlib import pyplot as plt  # the backend must be chosen first
from matplotlib.figure import Figure

_POINTS = 400
"""Points of a line, so that an SVG stays small."""


def evaluation(found: Sequence[Evaluation], path: Path) -> None:
    """Draw CMC, score histograms and DIR over FAR of several rankings side by side."""
    figure, (cmc, histogram, detection) = plt.subplots(1, 3, figsize=(15, 4.5))
    rates = np.geomspace(1e-3, 1, 60)
    for item in found:
        label = f"{item.report.test_set} {item.report.ranking}"
        cmc.plot(np.arange(1, len(item.scores.cmc) + 1), item.scores.cmc, label=label)
        detection.plot(rates, [detection_rate(item.scores, float(rate))[0] for rate in rates], label=label)
    first = found[0]
    edges = np.linspace(0, max(float(first.other.max()), float(first.same.max())), 80)
    for values, name in ((first.same, "same person"), (first.other, "others")):
        histogram.hist(values, bins=edges, density=True, alpha=0.6, label=name)
    cmc.set(xlabel="rank", ylabel="share of queries", title="CMC", ylim=(0, 1))
    histogram.set(xlabel="squared distance", title=f"pairs across cameras, {first.report.ranking}")
    detection.set(xlabel="false alarm rate", ylabel="detection and identification rate", xscale="log", ylim=(0, 1))
    for axes in (cmc, histogram, detection):
        axes.legend(fontsize=8)
        axes.grid(alpha=0.3)
    _write(figure, path)


def reliability(curves: Sequence[tuple[str, Bins]], path: Path) -> None:
    """Draw a reliability diagram: observed frequency of the same person against predicted probability."""
    figure, axes = plt.subplots(1, len(curves), figsize=(5 * len(curves), 4.5), squeeze=False)
    for panel, (name, bins) in zip(axes[0], curves, strict=True):
        panel.plot([0, 1], [0, 1], color="grey", linestyle="--", label="ideal")
        panel.plot(bins.predicted, bins.observed, marker="o", label="found")
        panel.set(xlabel="P(same) predicted", ylabel="share observed", title=name, xlim=(0, 1), ylim=(0, 1))
        panel.legend()
        panel.grid(alpha=0.3)
    _write(figure, path)


def comparison(measured: Sequence[RunMeasurement], test_sets: Sequence[str], path: Path) -> None:
    """Draw mAP of each row on each test set: a bar for the mean, a dot for every seed."""
    grouped = rows(measured)
    figure, panels = plt.subplots(
        1, len(test_sets), figsize=(1.5 + 4 * len(test_sets), 1.2 + 0.36 * len(grouped)), sharey=True, squeeze=False
    )
    places = np.arange(len(grouped))[::-1]
    recipes = list(dict.fromkeys(row.split(",")[0] for row in grouped))
    for panel, name in zip(panels[0], test_sets, strict=True):
        for place, (row, runs) in zip(places, grouped.items(), strict=True):
            values = [run.figures[name]["mAP"] for run in runs]
            shade = 0.35 if "," in row else 0.8
            panel.barh(place, np.mean(values), color=f"C{recipes.index(row.split(',')[0]) % 10}", alpha=shade)
            panel.plot(values, [place] * len(values), "k.", markersize=5)
        panel.set(xlabel="mAP", title=name)
        panel.set_yticks(places, list(grouped))
        panel.grid(alpha=0.3, axis="x")
    _write(figure, path)


def schedule(settings: TrainSettings, path: Path) -> None:
    """Draw schedules over a run: learning rate, share of an image that is erased, negatives per positive pair."""
    shares = np.linspace(0, 1, 1025)[:-1]
    length = settings.optimiser.nominal_epochs or 1.0
    figure, (rate, area, ratio) = plt.subplots(1, 3, figsize=(13, 3.6))
    rate.plot(shares * length, [rate_at(settings, float(share)) for share in shares], drawstyle="steps-post")
    bounds = np.array([erase_area_at(settings.augment, float(share)) for share in shares])
    area.fill_between(shares * length, bounds[:, 0], bounds[:, 1], alpha=0.5)
    draw = share_of_negatives if settings.sampler.kind == "pairs" else negatives_at
    negatives = [draw(settings.loss.negatives, float(share)) if settings.loss.verification else 0 for share in shares]
    ratio.plot(shares * length, negatives)
    unit = "epoch" if settings.optimiser.nominal_epochs else "share of the run"
    rate.set(xlabel=unit, yscale="log", title="learning rate (of the heads)")
    area.set(xlabel=unit, ylim=(0, 1), title=f"erased share of an image, in {settings.augment.erase:.0%} of them")
    ratio.set(xlabel=unit, ylim=(0, 5), title="negatives per positive pair")
    for axes in (rate, area, ratio):
        axes.grid(alpha=0.3)
    _write(figure, path)


def learning_curves(curves: Sequence[LearningCurve], path: Path, window: int = 50) -> None:
    """Draw losses and validation mAP over the steps of runs that continue one another, a dotted line between two.

    Args:
        curves: in their order.
        path: file, whose suffix chooses the format.
        window: steps of the moving average of the losses.
    """
    figure, (losses, accuracy) = plt.subplots(1, 2, figsize=(13, 4.5))
    starts = np.concatenate([[0], np.cumsum([curve.steps for curve in curves])])
    every = max(1, int(starts[-1]) // _POINTS)
    terms = list(dict.fromkeys(term for curve in curves for term in curve.losses))
    figures = list(dict.fromkeys(key for curve in curves for point in curve.validation for key in point))
    for number, term in enumerate(terms):
        for curve, start in zip(curves, starts, strict=False):
            if term in curve.losses:
                places = np.arange(0, curve.steps, every)
                shown = smoothed(curve.losses[term], window)[places]
                losses.plot(
                    start + places + 1, shown, color=f"C{number}", label=term, linewidth=1.6 if term == "loss" else 1
                )
    for number, name in enumerate(key for key in figures if key.endswith("mAP")):
        label = name.removesuffix(".mAP") if name != "mAP" else "validation persons"
        for curve, start in zip(curves, starts, strict=False):
            points = [(start + point["step"], point[name]) for point in curve.validation if name in point]
            if points:
                accuracy.plot(*zip(*points, strict=True), marker="o", color=f"C{number}", label=label)
    losses.set(xlabel="step", title=f"losses, mean of {window} steps", yscale="log")
    accuracy.set(xlabel="step", title="mAP")
    for axes in (losses, accuracy):
        for start in starts[1:-1]:
            axes.axvline(start, color="grey", linestyle=":")
        unique = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
        axes.legend(unique.values(), unique.keys(), fontsize=8)
        axes.grid(alpha=0.3)
    _write(figure, path)


def _write(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.tight_layout()
    figure.savefig(path, dpi=100)
    plt.close(figure)
