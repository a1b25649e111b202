"""Cut regions of frames and pack them into shared canvases, and map boxes back (pure).

    whole frame in the network's input -> regions on the network's grid -> patches on canvases -> boxes of the input

A patch holds the very pixels that the network's input of the whole frame would have there, moved by whole cells of the
network's coarsest grid: the answer for a person in it differs only by what lies around the patch, and a box comes back
by that whole number of pixels. Patches of a frame do not overlap, so no one is found whole in two of them; a box that
ends at a cut edge may be half a person, and its frame has to be looked at as a whole.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import rectpack

from reid_stream import boxes as box_maths
from reid_stream.detect.letterbox import Letterbox
from reid_stream.images import UInt8
from reid_stream.records import Floats, Frame

Bools = npt.NDArray[np.bool_]
Size = tuple[int, int]
"""(width, height)."""

CELL = 32
"""Pixels of the network's coarsest grid."""
_SEAM_PX = 2.0
"""A box within this distance of a cut edge, in pixels of the network, was cut by it."""
_SEAM_SCORE = 0.3
"""Least score of a cut box that counts as part of a person; weaker ones (a foot, a bag) are dropped."""
_PAYS = 0.9
"""Share of the cost of whole frames that a packing may cost: it takes some time itself, and some frames twice."""


@dataclass(frozen=True, slots=True)
class Patch:
    """A region of a frame's input on a canvas; all in pixels of the network."""

    frame: int
    """Row of the batch."""
    box: tuple[int, int, int, int]
    """x1, y1, x2, y2 in the input of the whole frame; multiples of `CELL`."""
    inner: tuple[bool, bool, bool, bool]
    """Whether the image continues beyond the left, upper, right, lower edge."""
    canvas: int = -1
    left: int = 0
    top: int = 0

    @property
    def size(self) -> Size:
        """(width, height)."""
        return self.box[2] - self.box[0], self.box[3] - self.box[1]

    @property
    def area(self) -> int:
        """Square pixels."""
        return self.size[0] * self.size[1]

    def draw(self, frame: Frame, layout: Letterbox, canvas: UInt8, pad: int) -> None:
        """Write the region into a canvas (h, w, 3), bars included.

        Args:
            frame: of `layout.source`.
            layout: of the whole frame.
            canvas: to write into.
            pad: grey of the bars.
        """
        target = canvas[self.top : self.top + self.size[1], self.left : self.left + self.size[0]]
        scale = layout.source[0] / layout.scaled[0], layout.source[1] / layout.scaled[1]
        first = self.box[0] - layout.left, self.box[1] - layout.top
        # Centres of pixels, as `cv2.resize` maps them; what lies beyond the image is bar.
        shift = [(at + 0.5) * factor - 0.5 for at, factor in zip(first, scale, strict=True)]
        matrix = np.array([[scale[0], 0, shift[0]], [0, scale[1], shift[1]]])
        target[:] = cv2.warpAffine(
            frame.pixels,
            matrix,
            self.size,
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=(pad, pad, pad),
        )

    def to_input(self, boxes: Floats) -> Floats:
        """Map boxes (n, 4) from the canvas to the input of the whole frame."""
        shift = np.array([self.box[0] - self.left, self.box[1] - self.top] * 2, np.float32)
        return np.asarray(boxes + shift, dtype=np.float32)

    def holds(self, boxes: Floats) -> Bools:
        """Return which boxes (n, 4) of its canvas have their centre in this patch (n,)."""
        centres = (boxes[:, :2] + boxes[:, 2:]) / 2 - (self.left, self.top)
        return np.asarray(((centres >= 0) & (centres < self.size)).all(axis=1), dtype=bool)

    def cuts(self, boxes: Floats) -> Bools:
        """Return which boxes (n, 4) of its canvas end at an edge beyond which the image continues (n,)."""
        right, bottom = self.left + self.size[0], self.top + self.size[1]
        room = np.concatenate([boxes[:, :2] - (self.left, self.top), (right, bottom) - boxes[:, 2:]], axis=1)
        return np.asarray(((room <= _SEAM_PX) & self.inner).any(axis=1), dtype=bool)


@dataclass(frozen=True, slots=True)
class Packing:
    """Patches of several frames, all placed on canvases of one size."""

    size: Size
    canvases: int
    patches: tuple[Patch, ...]


def patches_of(row: int, regions: Floats, layout: Letterbox) -> list[Patch]:
    """Return the patches that hold regions of a frame, not placed yet; none overlap.

    Args:
        row: of the batch.
        regions: (n, 4) in pixels of the frame.
        layout: of the whole frame.
    """
    wide, high = layout.network
    edges = layout.left, layout.top, layout.left + layout.scaled[0], layout.top + layout.scaled[1]
    cells = layout.to_input(box_maths.clip(regions, layout.source)) / CELL
    whole = np.concatenate([np.floor(cells[:, :2]), np.ceil(cells[:, 2:])], axis=1) * CELL
    whole = box_maths.clip(np.asarray(whole, np.float32), (wide, high))
    return [
        Patch(row, (x1, y1, x2, y2), (x1 > edges[0], y1 > edges[1], x2 < edges[2], y2 < edges[3]))
        for x1, y1, x2, y2 in joined(whole).astype(int).tolist()
    ]


def joined(boxes: Floats) -> Floats:
    """Return boxes (m, 4) that do not overlap: of those that do, one that holds all of them."""
    left = boxes[box_maths.area(boxes) > 0]
    done: list[Floats] = []
    while len(left):
        box, left = left[0], left[1:]
        while (meets := box_maths.intersection(box[None], left)[0] > 0).any():
            held = np.concatenate([left[meets], box[None]])
            box = np.concatenate([held[:, :2].min(axis=0), held[:, 2:].max(axis=0)])
            left = left[~meets]
        met = [other for other in done if box_maths.intersection(box[None], other[None])[0, 0] > 0]
        if not met:
            done.append(box)
            continue
        # It has grown over some that were processed already.
        done = [other for other in done if not any(other is one for one in met)]
        held = np.stack([box, *met])
        left = np.concatenate([left, [np.concatenate([held[:, :2].min(axis=0), held[:, 2:].max(axis=0)])]])
    return np.asarray(done, dtype=np.float32).reshape(-1, 4)


def pack(patches: Sequence[Patch], size: Size) -> Packing | None:
    """Place patches on as few canvases of `size` as the packer finds; None where one is too large.

    Algorithm: maximal rectangles, best short side fit (Jylänki, "A Thousand Ways to Pack the Bin", 2010).
    """
    if any(patch.size[0] > size[0] or patch.size[1] > size[1] for patch in patches):
        return None
    packer = rectpack.newPacker(pack_algo=rectpack.MaxRectsBssf, sort_algo=rectpack.SORT_LSIDE, rotation=False)
    for number, patch in enumerate(patches):
        packer.add_rect(*patch.size, number)
    packer.add_bin(*size, count=len(patches))
    packer.pack()
    placed = sorted(packer.rect_list(), key=lambda each: each[5])
    if len(placed) != len(patches):
        return None
    found = [
        Patch(patch.frame, patch.box, patch.inner, canvas, left, top)
        for patch, (canvas, left, top, _, _, _) in zip(patches, placed, strict=True)
    ]
    return Packing(size, 1 + max(patch.canvas for patch in found), tuple(found))


def cheapest(
    patches: Sequence[Patch], sizes: Sequence[Size], cost: Callable[[Size], float], whole_cost: float
) -> Packing | None:
    """Return the packing that costs least, None where none costs less than whole frames.

    Args:
        patches: to place.
        sizes: that canvases may have.
        cost: of one image of a size.
        whole_cost: of the whole frames.
    """
    best, least = None, whole_cost * _PAYS
    area = sum(patch.area for patch in patches)
    for size in sizes:
        if area / (size[0] * size[1]) * cost(size) >= least:
            continue
        packing = pack(patches, size)
        if packing is not None and packing.canvases * cost(size) < least:
            best, least = packing, packing.canvases * cost(size)
    return best


def split(
    packing: Packing, answers: Sequence[tuple[Floats, Floats]]
) -> tuple[dict[int, tuple[Floats, Floats]], set[int]]:
    """Assign the detections on the canvases to the frames.

    Args:
        packing: that made the canvases.
        answers: of each canvas, corner boxes (k, 4) and scores (k,).

    Returns:
        By row of the batch, boxes in pixels of the input of the whole frame with their scores, best first; and the rows
        of frames of which a person may have been cut.
    """
    boxes: dict[int, list[Floats]] = {patch.frame: [] for patch in packing.patches}
    scores: dict[int, list[Floats]] = {patch.frame: [] for patch in packing.patches}
    cut: set[int] = set()
    for patch in packing.patches:
        found, weights = answers[patch.canvas]
        mine = patch.holds(found)
        is_cut = patch.cuts(found) & mine
        if (weights[is_cut] >= _SEAM_SCORE).any():
            cut.add(patch.frame)
        mine &= ~is_cut
        boxes[patch.frame].append(patch.to_input(found[mine]))
        scores[patch.frame].append(weights[mine])
    joint = {}
    for row in boxes:
        weights = np.concatenate(scores[row])
        best_first = np.argsort(-weights, kind="stable")
        joint[row] = np.concatenate(boxes[row])[best_first], weights[best_first]
    return joint, cut
