"""Frames of many cameras -> people in each: one batch through the network, then back to each image's pixels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from reid_stream import boxes as box_maths
from reid_stream.bundles.bundle import DetectorBundle
from reid_stream.config.settings import Detect
from reid_stream.detect.decoders import MAX_CANDIDATES, Decoder, Found, decode, fits, suppress, yolox_cells
from reid_stream.detect.letterbox import Letterbox, fit
from reid_stream.detect.zones import Zones
from reid_stream.engines.protocol import DetectRequest, Engine, Pixels, device_engine, run_images
from reid_stream.errors import ModelError
from reid_stream.images import UInt8
from reid_stream.records import CameraId, Detections, Floats, Frame

# The coarsest grid of all these networks; an input's sides must be multiples of it.
_STRIDE = 32


@dataclass(frozen=True, slots=True)
class DetectorSpec:
    """Input and output of a detector network."""

    height: int
    """Pixels; the most, where the network takes any size."""
    width: int
    """Pixels; the most, where the network takes any size."""
    decoder: Decoder
    person: int = 0
    """Index of the class."""
    classes: int = 80
    """How many there are."""
    colour: Literal["rgb", "bgr"] = "rgb"
    scale: Literal[1, 255] = 1
    """Pixel values run from 0 to this."""
    pad: int = 114
    """Grey of the bars, out of 255."""

    @property
    def pixels(self) -> Pixels:
        """What an engine should do to images; for `load_engine`."""
        scale = 255.0 / self.scale
        return Pixels(scale=(scale, scale, scale), colour=self.colour)


def spec_of(bundle: DetectorBundle) -> DetectorSpec:
    """Return a bundle's part that this stage needs."""
    return DetectorSpec(
        height=bundle.input.height,
        width=bundle.input.width,
        decoder=bundle.decoder,
        person=bundle.person,
        classes=len(bundle.classes),
        colour=bundle.input.colour,
        scale=bundle.input.scale,
        pad=bundle.input.pad,
    )


class Detector:
    """Find people; as many threads may call as the engine bears."""

    def __init__(
        self, engine: Engine, spec: DetectorSpec, settings: Detect, zones: Mapping[CameraId, Zones] | None = None
    ) -> None:
        """Check that network and spec belong together.

        Raises:
            ModelError: they do not.
        """
        self._engine, self._spec, self._settings, self._zones = engine, spec, settings, zones or {}
        height, width = engine.input_shape[2:]
        if height not in (None, spec.height) or width not in (None, spec.width):
            raise ModelError(
                f"the detector must take {spec.width}x{spec.height} as its bundle says, its network takes "
                f"{width}x{height}; make the bundle again"
            )
        if not fits(spec.decoder, engine.output_shape, spec.classes):
            raise ModelError(
                f"a detector of kind {spec.decoder} with {spec.classes} classes must answer so, its network answers "
                f"{engine.output_shape}; make the bundle again with the right decoder and classes"
            )
        self._stride = _STRIDE if height is None and width is None else None
        self._canvases: dict[tuple[int, int], list[UInt8]] = {}
        """Those that no call uses now, by image size."""

    def change_zones(self, zones: Mapping[CameraId, Zones]) -> None:
        """Use other zones from the next frame on."""
        self._zones = zones

    def __call__(self, frames: Sequence[Frame]) -> list[Detections]:
        """Return the people of each frame, best first, in pixels of the full frame.

        Raises:
            ModelError: the network's answer is not of the promised kind.
        """
        found: list[Detections | None] = [None] * len(frames)
        layouts = [self._layout(frame.size) for frame in frames]
        for size in dict.fromkeys(layout.network for layout in layouts):
            same = [index for index, layout in enumerate(layouts) if layout.network == size]
            for start in range(0, len(same), self._settings.max_batch):
                chunk = same[start : start + self._settings.max_batch]
                several = self._boxes([(frames[index], layouts[index]) for index in chunk], size)
                for index, boxes in zip(chunk, several, strict=True):
                    found[index] = self._people(frames[index], layouts[index], boxes)
        return [people for people in found if people is not None]

    def _layout(self, size: tuple[int, int]) -> Letterbox:
        limit = self._spec.width, self._spec.height
        return fit(size, limit, stride=self._stride, is_centred=self._spec.decoder != "yolox")

    def _boxes(self, pairs: Sequence[tuple[Frame, Letterbox]], size: tuple[int, int]) -> list[Found]:
        """Find boxes in the network's pixels: all of it where the network runs, or all but the network here."""
        spec, settings, engine = self._spec, self._settings, device_engine(self._engine, self._spec.pixels)
        if engine is not None:
            asked = DetectRequest(
                places=[layout for _, layout in pairs],
                pad=spec.pad,
                family=spec.decoder,
                person=spec.person,
                classes=spec.classes,
                score=settings.score,
                iou=settings.iou,
                most=MAX_CANDIDATES,
                cells=yolox_cells(size) if spec.decoder == "yolox" else None,
            )
            return engine.people([frame.image for frame, _ in pairs], asked)
        several = []
        for output in self._run(pairs, size):
            boxes = decode(spec.decoder, output, spec.person, settings.score, size)
            several.append(boxes if spec.decoder == "yolo_end2end" else suppress(boxes, settings.iou))
        return several

    def _run(self, pairs: Sequence[tuple[Frame, Letterbox]], size: tuple[int, int]) -> Floats:
        canvas = self._canvas(size, len(pairs))
        for picture, (frame, layout) in zip(canvas, pairs, strict=False):  # it may have more
            layout.draw(frame.pixels, picture, self._spec.pad)
        outputs = run_images(self._engine, canvas[: len(pairs)], self._spec.pixels)
        self._canvases[size].append(canvas)
        if len(outputs) != len(pairs) or not fits(self._spec.decoder, outputs.shape, self._spec.classes):
            raise ModelError(
                f"a detector of kind {self._spec.decoder} with {self._spec.classes} classes must answer so, got "
                f"{outputs.shape}; make the bundle again with the right decoder and classes"
            )
        return outputs

    def _canvas(self, size: tuple[int, int], rows: int) -> UInt8:
        idle = self._canvases.setdefault(size, [])
        canvas = idle.pop() if idle else None
        return canvas if canvas is not None and len(canvas) >= rows else np.empty((rows, *size[::-1], 3), np.uint8)

    def _people(self, frame: Frame, layout: Letterbox, found: Found) -> Detections:
        settings = self._settings
        boxes, scores = found
        boxes = box_maths.clip(layout.to_picture(boxes), frame.size)
        sides = boxes[:, 2:] - boxes[:, :2]
        kept = (sides[:, 1] >= max(1.0, settings.min_height_px)) & (sides[:, 0] >= 1)
        zones = self._zones.get(frame.camera)
        if zones is not None:
            kept &= zones.keep(boxes, frame.size)
        return Detections(boxes=boxes[kept], scores=np.clip(scores[kept], 0, 1).astype(np.float32))
