"""Body regions of crops: images -> labels 0 to 7 of every pixel, through one interface for all sources.

| `model.regions` | `data.regions` | source |
| --- | --- | --- |
| labels | a folder | a PNG or .npy per image name, made by any parser beforehand |
| parser | an ONNX file | a human parsing network, run here |
| pose | an ONNX file | a network of keypoint heatmaps (COCO's 17), whose limbs are drawn here |
| pose | a .tflite file | MoveNet or BlazePose, run by OpenVINO, whose limbs are drawn here |
| stripes | | none: MagnifierNet uses soft stripes, without labels |

Settings are part of every checkpoint and bundle, so each records its source. Only training needs labels: when served,
the network finds regions by itself.

0 background, 1 head, 2 torso, 3 left arm, 4 right arm, 5 hips and thighs or what covers them, 6 lower legs, 7 feet.

Letters: n images, k keypoints or classes of a network, h and w pixels.
"""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from reid_stream.config.settings import Models
from reid_stream.embed.preprocess import InputSpec, UInt8, prepare
from reid_stream.engines.load import load_engine
from reid_stream.engines.protocol import Engine
from reid_stream.errors import ReidStreamError
from reid_stream.images import decode_as_stored, read_file
from trainer.config import TrainSettings
from trainer.data.crops import Images
from trainer.errors import DataError
from trainer.model.region_networks import from_keypoints, from_parsing

CLASSES = 8
_BATCH = 32
_NAMED = 5
"""Faults that an error lists one by one."""


class RegionProvider(Protocol):
    """Source of body regions."""

    def __call__(self, images: Images) -> UInt8:
        """Return labels (n, h, w), 0 to 7, of images at the network's size.

        Raises:
            DataError: labels are missing or malformed.
        """


def region_labels(settings: TrainSettings, images: Images, cache: Path | None = None) -> UInt8 | None:
    """Return the labels that a run learns by; None where it needs none. `cache` is a folder for keypoints."""
    if settings.model.descriptor != "magnifier" or settings.data.regions is None:
        return None
    provider = build_provider(settings.model.regions, settings.data.regions, settings.run.threads, cache)
    return provider(images)


def build_provider(kind: str, source: Path, threads: int | None = None, cache: Path | None = None) -> RegionProvider:
    """Return the provider that `model.regions` names, reading `source`; `cache` is a folder for keypoints.

    Raises:
        DataError: there is no such folder or network.
    """
    if kind == "labels":
        return LabelMaps(source)
    if source.suffix == ".tflite":
        if kind != "pose":
            raise DataError(f"data.regions of a parser must be ONNX, got {source}; .tflite is for model.regions pose")
        from trainer.model.tflite_pose import TflitePose  # late: it loads OpenVINO

        return TflitePose(source, threads, cache)
    return RegionNetwork(source, {"parser": from_parsing, "pose": from_keypoints}[kind], threads)


class LabelMaps:
    """Label maps on disk: FOLDER/<the image's name>.png or .npy, the name with or without its own suffix.

    Sources: the .npy maps of NIRVANALAN/magnifiernet_reid (`mt_dataset_loader.py`) have these classes.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            state = "is a file" if folder.exists() else "does not exist"
            raise DataError(f"data.regions must be a folder of label maps, {folder} {state}")
        self.folder = folder

    def __call__(self, images: Images) -> UInt8:
        """See `RegionProvider`."""
        size = (images.pixels.shape[1], images.pixels.shape[2])
        found: list[UInt8] = []
        faults: list[str] = []
        for row, name in enumerate(images.names):
            allowed: set[tuple[int, ...]] = {size}
            if images.stored is not None:
                allowed.add(tuple(images.stored[row].tolist()))
            try:
                found.append(_fitted(self._read(name), size, allowed, name))
            except DataError as error:
                faults.append(str(error))
        if faults:
            more = f"; and {len(faults) - _NAMED} more" if len(faults) > _NAMED else ""
            raise DataError("; ".join(faults[:_NAMED]) + more + "; parse these images again, or use stripes")
        return np.stack(found)

    def _read(self, name: str) -> UInt8:
        for base in (name, str(Path(name).with_suffix(""))):
            for suffix in (".png", ".npy"):
                file = self.folder / f"{base}{suffix}"
                if file.is_file():
                    return _loaded(file)
        raise DataError(f"every image must have a label map, {name} has none in {self.folder}")


class RegionNetwork:
    """A parsing or pose network, run on the images themselves."""

    def __init__(self, model: Path, translate: Callable[[np.ndarray], UInt8], threads: int | None = None) -> None:
        """`translate` makes labels (n, h, w) of any size of what the network gives for images."""
        try:
            self.engine: Engine = load_engine(model, Models(precision="f32", threads=threads or 0))
        except ReidStreamError as error:
            raise DataError(f"data.regions must be a network, {error}") from error
        self.model, self.translate = model, translate

    def __call__(self, images: Images) -> UInt8:
        """See `RegionProvider`."""
        size = (images.pixels.shape[1], images.pixels.shape[2])
        own = self.engine.input_shape[2] or size[0], self.engine.input_shape[3] or size[1]
        spec = InputSpec(*own)
        parts = []
        for start in range(0, len(images), _BATCH):
            answer = self.engine(prepare(list(images.pixels[start : start + _BATCH]), spec))
            try:
                labels = self.translate(answer)
            except ValueError as error:
                raise DataError(f"{self.model}: {error}") from error
            parts += [_nearest(one, size) for one in labels]
        return np.stack(parts)


def _loaded(file: Path) -> UInt8:
    try:
        if file.suffix == ".npy":
            labels = np.load(io.BytesIO(read_file(file)), allow_pickle=False)
        else:
            labels = decode_as_stored(read_file(file))
    except (OSError, ValueError, EOFError, MemoryError) as error:
        raise DataError(f"a label map must be readable, {file}: {error}") from error
    if labels.ndim != 2 or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(f"a label map must be (h, w) whole numbers, {file} is {labels.shape} {labels.dtype}")
    if labels.size == 0 or int(labels.min()) < 0 or int(labels.max()) >= CLASSES:
        worst = "nothing" if labels.size == 0 else f"{int(labels.min())} to {int(labels.max())}"
        raise DataError(f"labels must be 0 to {CLASSES - 1}, {file} has {worst}")
    return np.asarray(labels, np.uint8)


def _fitted(labels: UInt8, size: tuple[int, int], allowed: set[tuple[int, ...]], name: str) -> UInt8:
    """Return labels (h, w) at the network's size; they must have that, or the size of the stored image."""
    if labels.shape not in allowed:
        sizes = " or ".join(f"{height}x{width}" for height, width in sorted(allowed))
        raise DataError(
            f"the label map of {name} must have the size of its image or of the network's input, {sizes}, "
            f"got {labels.shape[0]}x{labels.shape[1]}"
        )
    return _nearest(labels, size)


def _nearest(labels: UInt8, size: tuple[int, int]) -> UInt8:
    """Resize labels (h, w) by the nearest neighbour: classes cannot be blended."""
    resized = cv2.resize(labels, (size[1], size[0]), interpolation=cv2.INTER_NEAREST_EXACT)
    return np.asarray(resized, np.uint8)
