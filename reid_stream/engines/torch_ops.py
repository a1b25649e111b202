"""Letterbox, crop resize and detection decoding in torch, on the device of the network.

The same steps as in `detect` and `embed`, in the same pixels: both round to whole grey values before the network, so
that what was learned and calibrated on one side holds on the other. A batch crosses to the device once, if its images
are not there yet, and what comes back is a few boxes, or vectors.

Every call ends with a copy to main memory, which waits for the device: images may be let go when it returns.

Sources: bilinear and area resampling as OpenCV's INTER_LINEAR and INTER_AREA; He et al., "Mask R-CNN", 2017, section 3
(RoIAlign: as many samples as a target pixel covers, averaged).
"""

from collections.abc import Sequence
from typing import Self

import numpy as np
import torch
import torch.nn.functional as nn
from torchvision.ops import batched_nms, roi_align

from reid_stream.engines.protocol import DetectRequest, Floats
from reid_stream.errors import ModelError
from reid_stream.images import OnDevice, Picture, UInt8

Found = tuple[Floats, Floats]
"""Corner boxes (k, 4) and scores (k,)."""


class DevicePicture:
    """An image, or a part of one, on a device; see `pictures.OnDevice`."""

    def __init__(self, whole: torch.Tensor, part: tuple[int, int, int, int] | None = None) -> None:
        """Hold `whole` (h, w, 3) uint8; `part`: (left, top, right, bottom) in pixels, none for all of it."""
        self.whole = whole
        self.part = part or (0, 0, int(whole.shape[1]), int(whole.shape[0]))

    @property
    def shape(self) -> tuple[int, int, int]:
        """(h, w, 3)."""
        left, top, right, bottom = self.part
        return bottom - top, right - left, 3

    @property
    def pixels(self) -> torch.Tensor:
        """(h, w, 3) uint8 on the device."""
        left, top, right, bottom = self.part
        return self.whole[top:bottom, left:right]

    def cut(self, left: int, top: int, right: int, bottom: int) -> Self:
        """See `pictures.OnDevice`."""
        x, y = self.part[:2]
        return type(self)(self.whole, (x + left, y + top, x + right, y + bottom))

    def host(self) -> UInt8:
        """See `pictures.OnDevice`."""
        pixels: UInt8 = self.pixels.contiguous().cpu().numpy()
        return pixels


def letterbox(pictures: Sequence[Picture], asked: DetectRequest, device: torch.device) -> torch.Tensor:
    """Fit images in the network's input: (b, h, w, 3) uint8 on the device."""
    width, height = asked.places[0].network
    canvas = torch.full((len(pictures), height, width, 3), asked.pad, dtype=torch.uint8, device=device)
    sizes: dict[tuple[int, ...], list[int]] = {}
    for row, picture in enumerate(pictures):
        sizes.setdefault(tuple(picture.shape), []).append(row)
    for rows in sizes.values():
        place = asked.places[rows[0]]
        across, down = place.scaled
        same = torch.stack([_there(pictures[row], device) for row in rows])
        if same.shape[1:3] != (down, across):
            numbers = same.permute(0, 3, 1, 2).float()
            scaled = nn.interpolate(numbers, size=(down, across), mode="bilinear", align_corners=False)
            same = scaled.round_().to(torch.uint8).permute(0, 2, 3, 1)
        for row, pixels in zip(rows, same, strict=True):
            canvas[row, place.top : place.top + down, place.left : place.left + across] = pixels
    return canvas


def stretch(crops: Sequence[OnDevice], size: tuple[int, int], device: torch.device) -> torch.Tensor:
    """Stretch crops to (height, width): (n, height, width, 3) uint8 on the device; one RoIAlign for each image."""
    out = torch.empty((len(crops), *size, 3), dtype=torch.uint8, device=device)
    wholes: dict[int, tuple[torch.Tensor, list[int], list[tuple[int, int, int, int]]]] = {}
    for row, crop in enumerate(crops):
        if not isinstance(crop, DevicePicture):
            raise ModelError(f"crops on a device must be of its kind, got {type(crop).__name__}")
        _, rows, parts = wholes.setdefault(id(crop.whole), (crop.whole, [], []))
        rows.append(row)
        parts.append(crop.part)
    for whole, rows, parts in wholes.values():
        numbers = whole.to(device).permute(2, 0, 1)[None].float()
        boxes = torch.tensor(parts, dtype=torch.float32, device=device)
        cut = roi_align(numbers, [boxes], size, aligned=True)
        out[torch.tensor(rows, device=device)] = cut.round_().clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1)
    return out


def people(answer: torch.Tensor, asked: DetectRequest) -> list[Found]:
    """Read a detector's answer (b, rows, columns): the persons of each image, suppressed, best first.

    Raises:
        ModelError: the answer is not of the promised family.
    """
    wide = {"yolo": 4 + asked.classes, "yolo_end2end": 6, "yolox": 5 + asked.classes}[asked.family]
    if answer.ndim != 3 or answer.shape[1 if asked.family == "yolo" else 2] != wide:
        raise ModelError(
            f"a detector of kind {asked.family} with {asked.classes} classes must have such output, got "
            f"{tuple(answer.shape)}; make the bundle again with the right decoder and classes"
        )
    boxes, scores = _READERS[asked.family](answer.float(), asked)
    count = min(asked.most, scores.shape[1])
    scores, order = scores.topk(count, dim=1)
    boxes = boxes.gather(1, order[:, :, None].expand(-1, -1, 4))
    row, column = torch.nonzero(scores >= asked.score, as_tuple=True)
    boxes, scores = boxes[row, column], scores[row, column]
    if asked.family != "yolo_end2end":
        kept = batched_nms(boxes, scores, row, asked.iou)
        boxes, scores, row = boxes[kept], scores[kept], row[kept]
    packed = torch.cat([row[:, None].to(boxes.dtype), boxes, scores[:, None]], dim=1).cpu().numpy()
    found: list[Found] = []
    for picture in range(len(answer)):
        own = packed[packed[:, 0] == picture]
        found.append((np.ascontiguousarray(own[:, 1:5]), np.ascontiguousarray(own[:, 5])))
    return found


Read = tuple[torch.Tensor, torch.Tensor]
"""Corner boxes (b, n, 4) and scores (b, n), below any threshold where another class is likelier."""
_NEVER = -1.0


def _yolo(answer: torch.Tensor, asked: DetectRequest) -> Read:
    classes = answer[:, 4:]
    scores = classes[:, asked.person]
    scores = scores.masked_fill(scores < classes.amax(1), _NEVER)
    return _corners(answer[:, :4].transpose(1, 2)), scores


def _yolo_end2end(answer: torch.Tensor, asked: DetectRequest) -> Read:
    return answer[..., :4], answer[..., 4].masked_fill(answer[..., 5].round() != asked.person, _NEVER)


def _yolox(answer: torch.Tensor, asked: DetectRequest) -> Read:
    assert asked.cells is not None
    cells = torch.from_numpy(asked.cells).to(answer.device)
    classes = answer[..., 5:]
    own = classes[..., asked.person]
    scores = (answer[..., 4] * own).masked_fill(own < classes.amax(2), _NEVER)
    centres = (answer[..., :2] + cells[:, :2]) * cells[:, 2:]
    sides = answer[..., 2:4].exp() * cells[:, 2:]
    return _corners(torch.cat([centres, sides], dim=2)), scores


def _corners(centres: torch.Tensor) -> torch.Tensor:
    half = centres[..., 2:4] / 2
    return torch.cat([centres[..., :2] - half, centres[..., :2] + half], dim=-1)


_READERS = {"yolo": _yolo, "yolo_end2end": _yolo_end2end, "yolox": _yolox}


def _there(picture: Picture, device: torch.device) -> torch.Tensor:
    if isinstance(picture, DevicePicture):
        return picture.pixels.to(device)
    pixels = picture if isinstance(picture, np.ndarray) else picture.host()
    return torch.from_numpy(pixels if pixels.flags.writeable else pixels.copy()).to(device)
