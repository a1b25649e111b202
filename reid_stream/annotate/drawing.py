"""Draw people on a frame with supervision's annotators: box, global ID or name, trail of the feet."""

from collections.abc import Sequence
from functools import cache

import numpy as np
import supervision as sv
from PIL import ImageFont

from reid_stream.annotate.moment import BoxLabel, detections
from reid_stream.images import UInt8

_FONTS = ("DejaVuSans.ttf", "NotoSans-Regular.ttf", "LiberationSans-Regular.ttf", "Arial.ttf")
"""Fonts commonly installed, for names in any script; Pillow's built-in font has Latin letters only."""
_COLORS = (
    "#e6194b", "#3a7bd5", "#2e8b57", "#9b51e0", "#d2691e", "#008b8b", "#c71585", "#6b8e23", "#1e6fff", "#a0741a",
    "#8b4513", "#d6336c",
)  # fmt: skip
"""White letters are readable on them."""
_REFERENCE = 720
"""Height of a frame, pixels, at which lines are 2 pixels wide and letters 14 high."""


class Annotator:
    """Draws the people of one camera, frame by frame; colours follow the global ID, so they agree across cameras."""

    def __init__(self, size: tuple[int, int], fps: float, trail_s: float = 3.0) -> None:
        """Prepare for frames of `size` (width, height) pixels, at `fps`; `trail_s`: length of trails, 0 for none."""
        scale = max(size[1] / _REFERENCE, 0.5)
        line = max(1, round(2 * scale))
        by_person, colors = sv.ColorLookup.TRACK, sv.ColorPalette.from_hex(list(_COLORS))
        self._box = sv.RoundBoxAnnotator(color=colors, thickness=line, color_lookup=by_person, roundness=0.25)
        self._label = sv.RichLabelAnnotator(
            color=colors,
            color_lookup=by_person,
            font_path=font_path(),
            font_size=max(10, round(14 * scale)),
            text_padding=max(2, round(4 * scale)),
            border_radius=line,
        )
        self._trail = None
        if trail_s > 0:
            self._trail = sv.TraceAnnotator(
                color=colors,
                position=sv.Position.BOTTOM_CENTER,
                trace_length=max(2, round(trail_s * fps)),
                thickness=line,
                color_lookup=by_person,
            )
        self._caption_scale, self._line = 0.5 * scale, line

    def draw(self, frame: UInt8, people: Sequence[BoxLabel], caption: str = "") -> UInt8:
        """Return a frame (h, w, 3) BGR with its people and a caption in the lower left corner; draws in place."""
        found = detections([box for box, _, _ in people], [who for _, who, _ in people], [1.0] * len(people))
        if self._trail is not None:
            frame = self._trail.annotate(frame, found)
        frame = self._box.annotate(frame, found)
        if people:
            frame = self._label.annotate(frame, found, [name or person for _, person, name in people])
        if caption:
            height = frame.shape[0]
            size = len(caption) * 11 * self._caption_scale
            sv.draw_text(
                scene=frame,
                text=caption,
                text_anchor=sv.Point(size, height - 22 * self._caption_scale),
                text_color=sv.Color.WHITE,
                text_scale=self._caption_scale,
                text_thickness=self._line // 2 or 1,
                background_color=sv.Color(29, 35, 41),
            )
        return np.asarray(frame, dtype=np.uint8)


@cache
def font_path() -> str | None:
    """Return the path of an installed font that has more than Latin letters; None if there is none."""
    for name in _FONTS:
        try:
            return str(ImageFont.truetype(name, 10).path)
        except OSError:
            continue
    return None
