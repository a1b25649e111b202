"""Set up and save plots with matplotlib (extra `eval`), without a display and without pyplot's global state."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from reid_stream.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GRID = "#e6eaee"


def figure_type() -> "type[Figure]":
    """Return matplotlib's Figure.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ConfigError("plots need matplotlib, it is not installed; install `reid-stream[eval]`") from error
    return Figure


def stack() -> "tuple[Figure, tuple[Axes, Axes, Axes]]":
    """Return a figure with three stacked axes that share the time axis.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    figure = figure_type()(figsize=(10, 6.5), layout="constrained")
    top, middle, bottom = figure.subplots(3, 1, sharex=True)
    return figure, (top, middle, bottom)


def plain(axes: "Iterable[Axes]") -> None:
    """Draw a faint grid and remove the top and right spines."""
    for axis in axes:
        axis.grid(visible=True, color=GRID, lw=0.8)
        axis.spines[["top", "right"]].set_visible(False)


def finish(figure: "Figure", title: str, file: Path, colour: str = "black") -> None:
    """Set a title at the left and write the file; a missing folder is created."""
    figure.suptitle(title, x=0.01, ha="left", fontsize=10, color=colour)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=110)
