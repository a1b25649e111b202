"""Common setup and saving of plots; matplotlib (extra `eval`) without a display and without pyplot's state."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from reid_stream.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GRID = "#e6eaee"


def figure_type() -> "type[Figure]":
    """Return matplotlib's figure.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ConfigError("plots need matplotlib, it is not installed; install `reid-stream[eval]`") from error
    return Figure


def stack() -> "tuple[Figure, tuple[Axes, Axes, Axes]]":
    """Return a page with three axes above one another over the same time.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    figure = figure_type()(figsize=(10, 6.5), layout="constrained")
    top, middle, bottom = figure.subplots(3, 1, sharex=True)
    return figure, (top, middle, bottom)


def plain(axes: "Iterable[Axes]") -> None:
    """Draw a faint grid and leave the frame open."""
    for axis in axes:
        axis.grid(visible=True, color=GRID, lw=0.8)
        axis.spines[["top", "right"]].set_visible(False)


def finish(figure: "Figure", title: str, file: Path, colour: str = "black") -> None:
    """Put a title at the left and write the file, in a folder made if it is missing."""
    figure.suptitle(title, x=0.01, ha="left", fontsize=10, color=colour)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=110)
