"""Draw swim lanes and trade-offs as PNG files; matplotlib (extra `eval`) without a display."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from reid_stream.console.plotting import figure_type
from reid_stream.errors import ConfigError
from reid_stream.evaluation.lanes import Bar, Lanes, Panel, Stretch
from reid_stream.evaluation.sweep import Point

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

_INK, _FAINT, _TOO_MANY, _SWITCH = "#22262b", "#8a929b", "#b9bfc6", "#d4002a"
_LANE_IN, _PANEL_IN, _WIDTH_IN = 0.29, 0.40, 16.0
"""Inches: a lane, what a panel needs besides, the page."""
_TRUE, _OURS, _ONCE = (0.52, 0.42), (0.15, 0.34), (0.05, 0.075)
"""(bottom, height) within a lane of height 1: truth, identities after corrections, identities as first published."""
_MOST_COLOURS = 120
"""Distinguishable colours; further people reuse them."""
Colour = tuple[float, float, float]


@functools.cache
def _colours() -> tuple[Colour, ...]:
    """Return maximally distinct colours: each one is the farthest from all before it.

    Greedy (Glasbey et al., "Colour displays for categorical images", 2007), with distances in OKLab (Ottosson, 2020),
    which is perceptually uniform. Greys, which have another meaning here, and colours too light or dark for a bar are
    left out.
    """
    levels = np.linspace(0, 1, 17)
    shown = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(-1, 3)
    linear = np.where(shown <= 0.04045, shown / 12.92, ((shown + 0.055) / 1.055) ** 2.4)
    cones = np.cbrt(linear @ np.asarray(_CONES).T)
    lab = cones @ np.asarray(_LAB).T
    vivid = (np.hypot(lab[:, 1], lab[:, 2]) > 0.08) & (lab[:, 0] > 0.42) & (lab[:, 0] < 0.82)
    shown, lab = shown[vivid], lab[vivid]
    chosen = [int(np.argmin(np.linalg.norm(lab - np.asarray([0.55, -0.03, -0.15]), axis=1)))]  # a calm blue
    nearest = np.full(len(lab), np.inf)
    while len(chosen) < _MOST_COLOURS:
        nearest = np.minimum(nearest, np.linalg.norm(lab - lab[chosen[-1]], axis=1))
        chosen.append(int(nearest.argmax()))
    return tuple((float(red), float(green), float(blue)) for red, green, blue in shown[chosen])


_CONES = (
    (0.4122214708, 0.5363325363, 0.0514459929),
    (0.2119034982, 0.6806995451, 0.1073969566),
    (0.0883024619, 0.2817188376, 0.6299787005),
)
_LAB = (
    (0.2104542553, 0.7936177850, -0.0040720468),
    (1.9779984951, -2.4285922050, 0.4505937099),
    (0.0259040371, 0.7827717662, -0.8086757660),
)


def colour(person: int) -> Colour:
    """Return the colour of a person."""
    return _colours()[person % _MOST_COLOURS]


def draw_lanes(lanes: Lanes, path: Path, title: str = "") -> None:
    """Draw swim lanes.

    Raises:
        ConfigError: matplotlib is not installed, or the file cannot be written.
    """
    figure_of = figure_type()
    heights = [max(1, panel.lanes) * _LANE_IN + _PANEL_IN for panel in lanes.panels]
    figure = figure_of(figsize=(_WIDTH_IN, sum(heights) + 1.5))
    grid = figure.add_gridspec(
        len(heights), 1, height_ratios=heights, hspace=0.0,
        left=0.07, right=0.985, top=1 - 1.0 / (sum(heights) + 1.5), bottom=0.5 / (sum(heights) + 1.5),
    )  # fmt: skip
    axes = [figure.add_subplot(grid[row]) for row in range(len(heights))]
    for panel, place in zip(lanes.panels, axes, strict=True):
        _draw_panel(place, panel, lanes, is_last=place is axes[-1])
    _head(figure, title, sum(heights) + 1.5)
    _write(figure, path)


def _draw_panel(axes: "Axes", panel: Panel, lanes: Lanes, *, is_last: bool) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    rows = max(1, panel.lanes)
    foot = 0.55
    axes.set(xlim=(0, lanes.length_s), ylim=(-foot - 0.35, rows + 0.3))
    axes.set_facecolor("white")
    for row in range(rows):
        axes.axhspan(rows - 1 - row, rows - row, color="#f5f6f8" if row % 2 == 0 else "white", lw=0, zorder=0)
    for bar in panel.bars:
        _draw_bar(axes, bar, rows - 1 - bar.lane, lanes)
    _draw_false_boxes(axes, panel, foot)
    axes.set_yticks([])
    axes.set_ylabel(panel.camera, rotation=0, ha="right", va="center", fontsize=11, color=_INK, fontweight="bold")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=12, steps=[1, 2, 3, 5, 6, 10], integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda at, _: f"{int(at // 60)}:{int(at % 60):02d}"))
    axes.grid(axis="x", color="#e3e6ea", lw=0.7, zorder=0.5)
    axes.tick_params(axis="x", length=0, labelsize=9, colors=_INK, labelbottom=is_last)
    for edge in ("left", "right", "top"):
        axes.spines[edge].set_visible(False)
    axes.spines["bottom"].set(color="#c4c9d0", lw=0.8)


def _draw_bar(axes: "Axes", bar: Bar, low: float, lanes: Lanes) -> None:
    own = colour(bar.person)
    _block(axes, bar.start_s, bar.end_s, low + _TRUE[0], _TRUE[1], own)
    room = 0.006 * lanes.length_s
    if bar.end_s - bar.start_s > room * max(1, len(lanes.people[bar.person])):
        _label(axes, bar.start_s, low + _TRUE[0] + _TRUE[1] / 2, lanes.people[bar.person], _on(own), lanes)
    axes.plot([bar.start_s, bar.end_s], [low + _OURS[0]] * 2, color="#d5d9de", lw=0.7, zorder=1, solid_capstyle="butt")
    shown = ""
    for stretch in bar.in_the_end:
        paint = _paint(stretch)
        _block(axes, stretch.start_s, stretch.end_s, low + _OURS[0], _OURS[1], paint)
        short = stretch.name.rpartition("-")[2]
        is_wide = stretch.end_s - stretch.start_s > room * max(2, len(short))
        if stretch.person != bar.person and is_wide and short != shown:
            text = f"+{short}" if stretch.person is None else lanes.people[stretch.person]
            _label(axes, stretch.start_s, low + _OURS[0] + _OURS[1] / 2, text, _on(paint), lanes)
            shown = short
    for stretch in bar.at_once:
        _block(axes, stretch.start_s, stretch.end_s, low + _ONCE[0], _ONCE[1], _paint(stretch))
    if bar.switches_s:
        heights = np.full(len(bar.switches_s), low + _OURS[0] + _OURS[1])
        axes.scatter(bar.switches_s, heights, marker="v", s=16, color=_SWITCH, lw=0, zorder=5)


def _draw_false_boxes(axes: "Axes", panel: Panel, foot: float) -> None:
    """Shade the seconds with false boxes."""
    shade = np.clip(panel.false_boxes / 2.0, 0, 1)
    for second in np.flatnonzero(shade > 0.02).tolist():
        axes.add_artist(_rectangle(second, -foot, 1.0, foot - 0.3, color=_INK, alpha=0.12 + 0.5 * shade[second]))


def _block(axes: "Axes", start: float, end: float, low: float, height: float, paint: str | Colour) -> None:
    axes.add_artist(_rectangle(start, low, end - start, height, color=paint))


def _rectangle(x: float, y: float, width: float, height: float, color: str | Colour, alpha: float = 1.0) -> "Rectangle":
    from matplotlib.patches import Rectangle

    return Rectangle((x, y), width, height, facecolor=color, edgecolor="none", alpha=alpha, zorder=2)


def _label(axes: "Axes", x: float, y: float, text: str, paint: str, lanes: Lanes) -> None:
    axes.text(
        x + 0.0018 * lanes.length_s, y, text, fontsize=6.5, color=paint, va="center_baseline", ha="left", zorder=4,
        clip_on=True,
    )  # fmt: skip


def _paint(stretch: Stretch) -> str | Colour:
    return _TOO_MANY if stretch.person is None else colour(stretch.person)


def _on(paint: str | Colour) -> str:
    """Return a text colour legible on a colour."""
    if isinstance(paint, str):
        return _INK
    red, green, blue = paint
    return "white" if 0.299 * red + 0.587 * green + 0.114 * blue < 0.6 else _INK


def draw_sweep(setting: str, points: Sequence[Point], path: Path, title: str = "") -> None:
    """Draw the trade-off of a setting: AssPr against AssRe, and the scores over its values.

    Raises:
        ConfigError: matplotlib is not installed, or the file cannot be written.
    """
    figure = figure_type()(figsize=(13, 5.2))
    left, right = figure.subplots(1, 2)
    ends = [point.figures.in_the_end for point in points]
    precision, recall = ([getattr(end.across, name) for end in ends] for name in ("ass_pr", "ass_re"))
    best = int(np.argmax([end.across.idf1 for end in ends]))
    left.plot(recall, precision, color="#9aa2ab", lw=1.5, zorder=1)
    shade = left.scatter(recall, precision, c=[end.across.idf1 for end in ends], cmap="viridis", s=70, zorder=2)
    left.scatter(recall[best], precision[best], s=190, facecolor="none", edgecolor=_SWITCH, lw=1.8, zorder=3)
    for n, point in enumerate(points):
        place = (8, 8 if n % 2 == 0 else -13)
        left.annotate(point.value, (recall[n], precision[n]), place, textcoords="offset points", fontsize=9, color=_INK)
    left.margins(0.14)
    left.set(xlabel="AssRe: people keep their ID →", ylabel="AssPr: people do not share IDs →")
    figure.colorbar(shade, ax=left, label="IDF1", fraction=0.04, pad=0.02)
    places, names = _axis_of([point.value for point in points])
    for name, values, style in (
        ("IDF1", [end.across.idf1 for end in ends], {"color": "#1f6fd6", "lw": 2.4}),
        (
            "IDF1 as first published",
            [point.figures.at_once.across.idf1 for point in points],
            {"color": "#1f6fd6", "ls": "--"},
        ),
        ("HOTA", [end.across.hota for end in ends], {"color": "#0d8a5f", "lw": 2.4}),
        ("AssPr", precision, {"color": "#c2410c", "lw": 1.2}),
        ("AssRe", recall, {"color": "#7c3aed", "lw": 1.2}),
    ):
        right.plot(places, values, marker="o", ms=4.5, label=name, **style)
    as_set = [place for place, point in zip(places, points, strict=True) if point.is_default]
    if as_set:
        right.axvline(as_set[0], color=_FAINT, lw=1, ls=":", label="as set")
    right.axvline(places[best], color=_SWITCH, lw=1, alpha=0.6, label="best IDF1")
    if names is None:
        right.set_xscale("log")
    else:
        right.set_xticks(places, names)
    right.set(xlabel=setting)
    right.legend(fontsize=9, frameon=False, ncols=4, loc="lower left", bbox_to_anchor=(0, 1.0), borderaxespad=0.2)
    for axes in (left, right):
        axes.grid(color="#e3e6ea", lw=0.7)
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(
        f"{title}: {setting}" if title else setting, fontsize=13, fontweight="bold", color=_INK, x=0.02, ha="left"
    )
    figure.tight_layout()
    _write(figure, path)


def _axis_of(values: Sequence[str]) -> tuple[list[float], list[str] | None]:
    """Return places on an axis, and tick labels: None for numbers spread over a factor of 10 (logarithmic), else
    even.
    """
    try:
        numbers = [float(value) for value in values]
    except ValueError:
        numbers = []
    if numbers and min(numbers) > 0 and max(numbers) / min(numbers) >= 10:
        return numbers, None
    return [float(n) for n in range(len(values))], list(values)


def _head(figure: "Figure", title: str, height: float) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    figure.text(0.07, 1 - 0.32 / height, title, fontsize=14, color=_INK, fontweight="bold", va="center")
    one = colour(0)
    handles = [
        Patch(
            facecolor=one, label="above: truth, one colour per person; below: identity, coloured by its assigned person"
        ),
        Patch(facecolor=_TOO_MANY, label="surplus ID"),
        Line2D([], [], marker="v", ls="", color=_SWITCH, markersize=5, label="ID switch"),
        Line2D([], [], color=one, lw=2, label="as first published, before corrections"),
        Patch(facecolor=_INK, alpha=0.35, label="false boxes"),
    ]
    figure.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(0.065, 1 - 0.5 / height), ncols=len(handles), fontsize=8.5,
        frameon=False, handlelength=1.4, columnspacing=1.6, handletextpad=0.6, labelcolor=_INK, borderpad=0,
    )  # fmt: skip


def check(path: Path) -> None:
    """Check before a long run that a plot can be written.

    Raises:
        ConfigError: matplotlib is not installed, or it cannot write files with this suffix.
    """
    endings = figure_type()().canvas.get_supported_filetypes()
    if path.suffix.removeprefix(".") not in endings:
        raise ConfigError(f"a plot must be a .png, .svg or .pdf, got {path}")


def _write(figure: "Figure", path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=110, facecolor="white")
    except (OSError, ValueError) as error:
        raise ConfigError(f"a plot must be a file that can be written, got {path}: {error}") from error
