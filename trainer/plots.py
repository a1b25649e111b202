"""Evaluations and calibrations -> PNG files; matplotlib without a display."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np

from trainer.evaluate import Evaluation
from trainer.reliability import Bins
from trainer.retrieval import detection_rate

mpl.use("Agg")
from matplotlib import pyplot as plt  # the backend must be chosen first
from matplotlib.figure import Figure


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
    """Draw how often pairs are the same person against how probable that was said to be."""
    figure, axes = plt.subplots(1, len(curves), figsize=(5 * len(curves), 4.5), squeeze=False)
    for panel, (name, bins) in zip(axes[0], curves, strict=True):
        panel.plot([0, 1], [0, 1], color="grey", linestyle="--", label="ideal")
        panel.plot(bins.predicted, bins.observed, marker="o", label="found")
        panel.set(xlabel="P(same) said", ylabel="share found", title=name, xlim=(0, 1), ylim=(0, 1))
        panel.legend()
        panel.grid(alpha=0.3)
    _write(figure, path)


def _write(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.tight_layout()
    figure.savefig(path, dpi=100)
    plt.close(figure)
