"""Detect people in frames of many cameras: one batch through the network, boxes mapped back to each image's pixels."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from reid_stream import boxes as box_maths
from reid_stream.bundles.bundle import DetectorBundle
from reid_stream.config.settings import Detect
from reid_stream.detect import canvas as canvases
from reid_stream.detect.costs import Costs
from reid_stream.detect.decoders import MAX_CANDIDATES, Decoder, Found, decode, fits, suppress, yolox_cells
from reid_stream.detect.letterbox import Letterbox, fit
from reid_stream.detect.zones import Zones
from reid_stream.engines.protocol import DetectRequest, Engine, Pixels, device_engine, run_images
from reid_stream.errors import ModelError
from reid_stream.images import UInt8
from reid_stream.records import CameraId, Detections, Floats, Frame

_STRIDE = canvases.CELL
"""An input's sides must be multiples of it."""
_CANVAS_SIDES = (256, 320, 384)
"""Sides of canvases for regions, beside the network's own input: each size is a network to compile and keep."""
_MOST_AREA = 0.6
"""Share of the network's input from which a frame's regions are not worth packing."""


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
    """Number of classes."""
    colour: Literal["rgb", "bgr"] = "rgb"
    scale: Literal[1, 255] = 1
    """Pixel values run from 0 to this."""
    pad: int = 114
    """Grey of the bars, out of 255."""

    @property
    def pixels(self) -> Pixels:
        """Preprocessing of images by the engine; for `load_engine`."""
        scale = 255.0 / self.scale
        return Pixels(scale=(scale, scale, scale), colour=self.colour)


def spec_of(bundle: DetectorBundle) -> DetectorSpec:
    """Return the part of a bundle that this stage needs."""
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
    """Find people; may be called by as many threads as the engine supports."""

    def __init__(
        self,
        engine: Engine,
        spec: DetectorSpec,
        settings: Detect,
        zones: Mapping[CameraId, Zones] | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        """Check that network and spec belong together.

        Args:
            engine: runs the network.
            spec: its input and output.
            settings: thresholds.
            zones: by camera, where people count.
            clock: to measure what images cost; None to go by their areas, so that a replay repeats.

        Raises:
            ModelError: they do not.
        """
        self._engine, self._spec, self._settings, self._zones = engine, spec, settings, zones or {}
        height, width = engine.input_shape[2:]
        if height not in (None, spec.height) or width not in (None, spec.width):
            raise ModelError(
                f"the detector must take {spec.width}x{spec.height} as its bundle states, its network takes "
                f"{width}x{height}; make the bundle again"
            )
        if not fits(spec.decoder, engine.output_shape, spec.classes):
            raise ModelError(
                f"a detector of kind {spec.decoder} with {spec.classes} classes must have such output, its network has "
                f"{engine.output_shape}; make the bundle again with the right decoder and classes"
            )
        self._stride = _STRIDE if height is None and width is None else None
        self._canvases: dict[tuple[int, int], list[UInt8]] = {}
        """Idle canvases by image size."""
        self._costs = Costs(clock)
        sides = [side for side in _CANVAS_SIDES if side < min(spec.width, spec.height)]
        self._canvas_sizes = [(side, side) for side in sides] if self._stride is not None else []
        self._ready = [] if clock is not None else list(self._canvas_sizes)
        """Sizes of canvases that may be used."""

    def change_zones(self, zones: Mapping[CameraId, Zones]) -> None:
        """Use other zones from the next frame on."""
        self._zones = zones

    def __call__(self, frames: Sequence[Frame]) -> list[Detections]:
        """Return the people of each frame, best first, in pixels of the full frame.

        Of a frame that is limited to regions, only those are looked at where this costs less, and all of it where a
        person may have been cut.

        Raises:
            ModelError: the network's output does not have the shape of its family.
        """
        layouts = [self._layout(frame.size) for frame in frames]
        found: dict[int, Detections] = {}
        packing = self._pack(frames, layouts)
        if packing is not None:
            found = self._packed(packing, frames, layouts)
        whole = [row for row in range(len(frames)) if row not in found]
        for size in dict.fromkeys(layouts[row].network for row in whole):
            same = [row for row in whole if layouts[row].network == size]
            for start in range(0, len(same), self._settings.max_batch):
                chunk = same[start : start + self._settings.max_batch]
                several = self._boxes([(frames[row], layouts[row]) for row in chunk], size)
                for row, (boxes, scores) in zip(chunk, several, strict=True):
                    found[row] = self._people(frames[row], layouts[row].to_picture(boxes), scores)
        return [found[row] for row in range(len(frames))]

    def _pack(self, frames: Sequence[Frame], layouts: Sequence[Letterbox]) -> canvases.Packing | None:
        """Return how to pack the frames' regions, None where whole frames cost no more."""
        if device_engine(self._engine, self._spec.pixels) is not None:
            return None
        patches: list[canvases.Patch] = []
        whole_cost = 0.0
        for row, (frame, layout) in enumerate(zip(frames, layouts, strict=True)):
            if frame.regions is None or not len(frame.regions):
                continue
            mine = canvases.patches_of(row, frame.regions, layout)
            if sum(patch.area for patch in mine) <= _MOST_AREA * layout.network[0] * layout.network[1]:
                patches += mine
                whole_cost += self._costs.of(layout.network)
        if not patches:
            return None
        sizes = dict.fromkeys([*self._ready, *(layouts[patch.frame].network for patch in patches)])
        return canvases.cheapest(patches, list(sizes), self._costs.of, whole_cost)

    def _packed(
        self, packing: canvases.Packing, frames: Sequence[Frame], layouts: Sequence[Letterbox]
    ) -> dict[int, Detections]:
        """Return the people of the packed frames, by row; without frames of which a person may have been cut."""
        answers: list[Found] = []
        for start in range(0, packing.canvases, self._settings.max_batch):
            numbers = range(start, min(start + self._settings.max_batch, packing.canvases))
            images = self._canvas(packing.size, len(numbers))
            images[: len(numbers)] = self._spec.pad
            for patch in packing.patches:
                if patch.canvas in numbers:
                    row, image = patch.frame, images[patch.canvas - start]
                    patch.draw(frames[row], layouts[row], image, self._spec.pad)
            answers += self._decoded(self._run(images, len(numbers), packing.size), packing.size)
        joint, cut = canvases.split(packing, answers)
        return {
            row: self._people(frames[row], layouts[row].to_picture(boxes), scores)
            for row, (boxes, scores) in joint.items()
            if row not in cut
        }

    def warm_up(self) -> None:
        """Compile the network for the canvases, which may be used from then on; for a thread of its own.

        A detector with a clock uses none before, so that no frame waits for the compiler.
        """
        for size in self._canvas_sizes:
            for count in (1, 2):
                run_images(self._engine, np.zeros((count, *size[::-1], 3), np.uint8), self._spec.pixels)
            self._ready = [*self._ready, size]

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
        images = self._canvas(size, len(pairs))
        for image, (frame, layout) in zip(images, pairs, strict=False):  # the buffer may be larger than the batch
            layout.draw(frame.pixels, image, spec.pad)
        return self._decoded(self._run(images, len(pairs), size), size)

    def _decoded(self, outputs: Floats, size: tuple[int, int]) -> list[Found]:
        spec, settings = self._spec, self._settings
        several = []
        for output in outputs:
            boxes = decode(spec.decoder, output, spec.person, settings.score, size)
            several.append(boxes if spec.decoder == "yolo_end2end" else suppress(boxes, settings.iou))
        return several

    def _run(self, images: UInt8, count: int, size: tuple[int, int]) -> Floats:
        """Run the first `count` images (n, h, w, 3), which may be used again afterwards."""
        with self._costs.measured(size, count):
            outputs = run_images(self._engine, images[:count], self._spec.pixels)
        self._canvases[size].append(images)
        if len(outputs) != count or not fits(self._spec.decoder, outputs.shape, self._spec.classes):
            raise ModelError(
                f"a detector of kind {self._spec.decoder} with {self._spec.classes} classes must have such output, got "
                f"{outputs.shape}; make the bundle again with the right decoder and classes"
            )
        return outputs

    def _canvas(self, size: tuple[int, int], rows: int) -> UInt8:
        idle = self._canvases.setdefault(size, [])
        canvas = idle.pop() if idle else None
        return canvas if canvas is not None and len(canvas) >= rows else np.empty((rows, *size[::-1], 3), np.uint8)

    def _people(self, frame: Frame, boxes: Floats, scores: Floats) -> Detections:
        settings = self._settings
        boxes = box_maths.clip(boxes, frame.size)
        sides = boxes[:, 2:] - boxes[:, :2]
        kept = (sides[:, 1] >= max(1.0, settings.min_height_px)) & (sides[:, 0] >= 1)
        zones = self._zones.get(frame.camera)
        if zones is not None:
            kept &= zones.keep(boxes, frame.size)
        return Detections(boxes=boxes[kept], scores=np.clip(scores[kept], 0, 1).astype(np.float32))
