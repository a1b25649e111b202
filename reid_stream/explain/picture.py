"""Draw an explanation as one page: both crops, a row of similarities, a row of differences (matplotlib).

Every cell shows one dimension in both crops; a region is the greyer, the less it affects that dimension.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from reid_stream.console.plotting import figure_type
from reid_stream.embed.preprocess import Floats, UInt8
from reid_stream.errors import ConfigError
from reid_stream.explain.pair import Dimension, Explanation

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_INK, _FAINT, _BAR = "#1d2329", "#6f7984", "#e9edf0"
WARM, COOL = ((255, 190, 40), (226, 48, 6)), ((90, 200, 255), (28, 40, 190))
"""RGB of low and high heat, for similarities and for differences."""
_WIDTH_IN, _HEIGHT_IN, _DPI = 15.0, 6.25, 130
_LEFT_IN, _RIGHT_IN = 0.35, 4.35
"""Left edges of the crops and of the rows."""
_CROP_IN, _CELL_TALL_IN, _ROW_IN = (1.78, 3.75), 1.92, 2.83
"""Width and height of a crop; height of a crop in a cell; distance of rows."""
_TALL = 384
"""Height in pixels to which crops are scaled."""
Colours = tuple[tuple[int, int, int], tuple[int, int, int]]


def draw(explanation: Explanation, names: tuple[str, str] = ("A", "B"), truth: str = "") -> "Figure":
    """Return the page of a pair.

    Args:
        explanation: of the pair.
        names: titles of the crops.
        truth: line below the verdict, such as their true identities; empty for none.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    figure = figure_type()(figsize=(_WIDTH_IN, _HEIGHT_IN), facecolor="white")
    _headline(figure, explanation, truth)
    for side, (crop, name) in enumerate(zip(explanation.crops, names, strict=True)):
        place = (_LEFT_IN + side * (_CROP_IN[0] + 0.12), 1.62, *_CROP_IN)
        axes = _picture(figure, place, _scaled(crop))
        axes.set_title(_short(name), fontsize=8, color=_FAINT, pad=5)
    alike, unlike = (sum(one.term for one in row) for row in (explanation.alike, explanation.unlike))
    for_it = (
        f"these {len(explanation.alike)} of {explanation.dim} dimensions add {alike:.2f} to the cosine, which is "
        f"{explanation.cosine:.2f} in all"
    )
    against_it = (
        f"these {len(explanation.unlike)} take {-unlike:.2f} off the margin, which is {explanation.margin:+.2f} in all"
    )
    rows = (("ALIKE", for_it, explanation.alike, WARM), ("UNLIKE", against_it, explanation.unlike, COOL))
    for row, (word, words, dimensions, colours) in enumerate(rows):
        _row(figure, explanation.crops, dimensions, (word, words), colours, 0.30 + row * _ROW_IN)
    _text(
        figure,
        _LEFT_IN,
        _HEIGHT_IN - 0.13,
        "Colour and outline: what in the crop makes this dimension large, by its own sign (Grad-CAM of the last maps). "
        f"Below: the dimension's value in the crop's unit vector. Network: {explanation.bundle}",
        fontsize=7.5,
        color=_FAINT,
    )
    return figure


def write(figure: "Figure", path: Path) -> None:
    """Write a page as PNG; a missing folder is created.

    Raises:
        ConfigError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=_DPI, format="png")
    except OSError as error:
        raise ConfigError(f"an image must be writable, {path}: {error.strerror or error}") from error


def overlay(crop: UInt8, heat: Floats, colours: Colours) -> UInt8:
    """Return an RGB crop (h, w, 3) in pale grey, coloured where heat (h, w) in [0, 1] is high, outlined at half of
    it.
    """
    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY).astype(np.float32)[..., None]
    pale = 255 - (255 - grey) * np.float32(0.5)
    share = heat[..., None]
    low, high = (np.asarray(colour, np.float32) for colour in colours)
    lit = 0.72 * crop + 0.28 * (low + (high - low) * share)
    strength = np.clip(share * 1.6 - 0.2, 0, 1)
    mixed = np.asarray((pale * (1 - strength) + lit * strength).round(), np.uint8)
    outlines, _ = cv2.findContours((heat >= 0.5).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    drawn = cv2.drawContours(np.ascontiguousarray(mixed), outlines, -1, colours[1], 2, cv2.LINE_AA)
    return np.asarray(drawn, np.uint8)


def lit(crop: UInt8, heat: Floats, colours: Colours) -> UInt8:
    """Return the overlay of an RGB crop (h, w, 3) and its heat (h, w), both scaled to a fixed height first."""
    return overlay(_scaled(crop), _scaled_heat(heat, crop), colours)


def _headline(figure: "Figure", explanation: Explanation, truth: str) -> None:
    same = explanation.same
    digits = 3 if 0.001 <= same <= 0.999 else 5
    _text(figure, _LEFT_IN, 0.50, f"P(same person) {same:.{digits}f}", fontsize=18, color=_INK, weight="bold")
    _text(
        figure,
        _LEFT_IN,
        0.80,
        f"cosine {explanation.cosine:.3f},  margin {explanation.margin:+.2f}",
        fontsize=10.5,
        color=_INK,
    )
    _text(figure, _LEFT_IN, 1.06, truth, fontsize=10.5, color=_INK)


def _row(
    figure: "Figure",
    crops: tuple[UInt8, UInt8],
    dimensions: tuple[Dimension, ...],
    words: tuple[str, str],
    colours: Colours,
    top: float,
) -> None:
    ink = "#{:02x}{:02x}{:02x}".format(*colours[1])
    _text(figure, _RIGHT_IN, top, words[0], fontsize=11, color=ink, weight="bold")
    _text(figure, _RIGHT_IN + 0.85, top, words[1], fontsize=11, color=_INK)
    most = max((abs(one.term) for one in dimensions), default=0.0) or 1.0
    cell = (_WIDTH_IN - 0.25 - _RIGHT_IN) / max(len(dimensions), 1)
    for column, one in enumerate(dimensions):
        x, usable = _RIGHT_IN + column * cell, cell - 0.22
        _text(figure, x, top + 0.30, f"dimension {one.index}", fontsize=8.5, color=_FAINT)
        _text(figure, x + usable, top + 0.30, f"{one.term:+.3f}", fontsize=9, color=_INK, ha="right", weight="bold")
        bar = figure.add_axes(_place(x, top + 0.36, usable, 0.05))
        bar.barh([0, 0], [1.0, abs(one.term) / most], color=[_BAR, ink], height=1.0)
        bar.set(xlim=(0, 1), ylim=(-0.5, 0.5))
        bar.axis("off")
        for side in (0, 1):
            picture = lit(crops[side], one.heats[side], colours)
            width = usable / 2 - 0.02
            axes = _picture(figure, (x + side * (width + 0.04), top + 0.46, width, _CELL_TALL_IN), picture)
            axes.text(0.5, -0.02, f"{one.values[side]:+.3f}", ha="center", va="top", fontsize=8, color=_FAINT,
                      transform=axes.transAxes)  # fmt: skip


def _text(figure: "Figure", x: float, y: float, words: str, **style: Any) -> None:
    """Write text at a position in inches from the left and top of the page."""
    figure.text(x / _WIDTH_IN, 1 - y / _HEIGHT_IN, words, **style)


def _place(x: float, y: float, wide: float, tall: float) -> tuple[float, float, float, float]:
    """Convert inches from the left and top of the page into matplotlib's figure coordinates."""
    return x / _WIDTH_IN, 1 - (y + tall) / _HEIGHT_IN, wide / _WIDTH_IN, tall / _HEIGHT_IN


def _picture(figure: "Figure", place: tuple[float, float, float, float], picture: UInt8) -> "Axes":
    axes = figure.add_axes(_place(*place))
    axes.imshow(picture, interpolation="bilinear", aspect="equal")
    axes.set_anchor("N")
    axes.axis("off")
    return axes


def _short(name: str) -> str:
    return name if len(name) <= 26 else f"…{name[-25:]}"


def _scaled(crop: UInt8) -> UInt8:
    return np.asarray(cv2.resize(crop, _size(crop), interpolation=cv2.INTER_CUBIC), np.uint8)


def _scaled_heat(heat: Floats, crop: UInt8) -> Floats:
    return np.clip(np.asarray(cv2.resize(heat, _size(crop), interpolation=cv2.INTER_LINEAR), np.float32), 0, 1)


def _size(crop: UInt8) -> tuple[int, int]:
    return max(1, round(crop.shape[1] * _TALL / crop.shape[0])), _TALL
