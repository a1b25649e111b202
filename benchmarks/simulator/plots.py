"""Draw experiments as PNG files; matplotlib (extra `eval`) without a display."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.simulator.experiments import Experiment
from reid_stream.console.plotting import figure_type, finish, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_INK, _BLUE, _ORANGE, _GREEN, _GREY = "#22303c", "#2a6fdb", "#e0762f", "#3a9a5b", "#8a97a3"


def dial(experiment: Experiment, file: Path) -> None:
    """Draw requested against obtained false-match rates, and what each costs in links."""
    figure, (left, right) = _subplots(1, 2, (12, 5.2))
    requested = np.asarray([variant.requested for variant in experiment.variants], dtype=np.float64)
    for name, (hits, tries), colour in (
        ("per arrival of a newcomer", ("false_matches", "newcomers"), _ORANGE),
        ("per comparison: the rate that `match.false_match_rate` sets", ("false_matches", "comparisons"), _BLUE),
    ):
        pooled = np.asarray([variant.pooled(hits, tries) for variant in experiment.variants])
        # A logarithmic axis has no zero: where nothing happened, only the upper end of the interval is drawn.
        shown = np.where(pooled[:, 0] > 0, pooled[:, 0], np.nan)
        left.plot(requested, shown, "o-", color=colour, label=name)
        left.fill_between(requested, np.maximum(pooled[:, 1], 1e-6), pooled[:, 2], color=colour, alpha=0.15, lw=0)
    low, high = requested.min() / 2, 1.0
    left.plot([low, high], [low, high], "--", color=_GREY, label="as requested")
    left.set(xscale="log", yscale="log", xlim=(low, requested.max() * 2), ylim=(low / 2, 1.5))
    left.set(xlabel="requested: match.false_match_rate", ylabel="obtained false-match rate")
    left.set_title("Newcomers matched to a known person", loc="left")
    left.legend(frameon=False, loc="lower right")
    for name, figure_name, colour in (
        ("IDF1", "idf1", _BLUE),
        ("links made (later tracks of a person)", "links", _GREEN),
        ("AssPr", "ass_pr", _ORANGE),
        ("AssRe", "ass_re", _INK),
    ):
        mean = np.asarray([variant.mean(figure_name) for variant in experiment.variants])
        spread = np.asarray([variant.spread(figure_name) for variant in experiment.variants])
        right.plot(requested, mean, "o-", color=colour, label=name)
        right.fill_between(requested, mean - spread, mean + spread, color=colour, alpha=0.15, lw=0)
    right.set(xscale="log", ylim=(0, 1), xlabel="requested: match.false_match_rate")
    right.set_title("Cost and benefit", loc="left")
    right.legend(frameon=False)
    _finish(figure, experiment, file, "bands: 95 % interval (left), one standard deviation over seeds (right)")


def ablation(experiment: Experiment, file: Path) -> None:
    """Draw each variant's IDF1, wrong merges and missed links as bars with their spread over seeds."""
    names = [variant.name for variant in experiment.variants]
    figure, axes = _subplots(1, 3, (12, 1.6 + 0.5 * len(names)), sharey=True)
    places = np.arange(len(names))
    for axis, (title, name, colour) in zip(
        axes,
        (("IDF1", "idf1", _BLUE), ("Wrong merges", "wrong_merges", _ORANGE), ("Missed links", "missed_links", _GREEN)),
        strict=True,
    ):
        mean = [variant.mean(name) for variant in experiment.variants]
        spread = [variant.spread(name) for variant in experiment.variants]
        bars = axis.barh(places, mean, xerr=spread, color=colour, height=0.62, ecolor=_INK, capsize=3)
        bars[0].set_alpha(1.0)
        for bar in bars[1:]:
            bar.set_alpha(0.55)
        most = max(value + extra for value, extra in zip(mean, spread, strict=True)) or 1.0
        for place, value, extra in zip(places, mean, spread, strict=True):
            text = f"{value:.3f}" if name == "idf1" else f"{value:.1f}"
            axis.text(value + extra + 0.02 * most, place, text, va="center", color=_INK)
        axis.set_xlim(0, 1.22 * most)
        axis.set_title(title, loc="left")
        axis.grid(axis="y", visible=False)
    axes[0].set_yticks(places, names)
    axes[0].invert_yaxis()
    _finish(figure, experiment, file, "bars: mean over seeds, lines: one standard deviation")


def _subplots(rows: int, columns: int, size: tuple[float, float], **more: Any) -> "tuple[Figure, Any]":
    figure = figure_type()(figsize=size, layout="constrained")
    axes = figure.subplots(rows, columns, **more)
    each: Axes
    for each in np.atleast_1d(axes).ravel():
        each.set_axisbelow(True)
    plain(np.atleast_1d(axes).ravel())
    return figure, axes


def _finish(figure: "Figure", experiment: Experiment, file: Path, note: str) -> None:
    people = experiment.variants[0].mean("people")
    finish(
        figure,
        f"{experiment.name}: {experiment.scenario['cameras']} cameras, {people:.0f} people seen, "
        f"{len(experiment.seeds)} worlds; {experiment.crops} {experiment.part}, bundle {experiment.model[:12]}\n{note}",
        file,
        _INK,
    )
