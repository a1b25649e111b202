"""Pose networks of TensorFlow Lite, run by OpenVINO: images -> COCO's 17 keypoints -> labels of body regions.

Known by the shape of their output: MoveNet, (1, 1, 17, 3) y, x, score as shares of the image; BlazePose landmarks,
(1, 195) for 39 points of x, y, z in pixels, visibility, presence (logits).

Sources: https://www.tensorflow.org/hub/tutorials/movenet; Bazarevsky et al., "BlazePose", 2020 (arXiv 2006.10204), with
the order of points in https://ai.google.dev/edge/mediapipe/solutions/vision/pose_landmarker.

Keypoints are kept in a folder if one is given, in blocks of images by their content, so that a run that is killed or
resumed, or another run on the same images, asks the network for none twice:

    CACHE/<network hash>/<hash of the block's pixels>.npy    float16 (n, 17, 3)

Letters: n images, h and w pixels.
"""

import hashlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import openvino

from reid_stream.embed.preprocess import Floats, UInt8
from trainer.data.crops import Images
from trainer.errors import DataError, TrainerError
from trainer.model.region_networks import from_points

_BLAZE_TO_COCO = (0, 2, 5, 7, 8, 11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28)
"""Rows of BlazePose's points in COCO's order: nose, eyes, ears, shoulders, elbows, wrists, hips, knees, ankles."""
_BLOCK = 256
"""Images of a block, the most work that a kill can lose."""
_BLAZE_SHAPE, _MOVE_SHAPE = (1, 195), (1, 1, 17, 3)


class TflitePose:
    """A pose network of one person per image; a `regions.RegionProvider`."""

    def __init__(self, model: Path, threads: int | None = None, cache: Path | None = None) -> None:
        """Compile the network; `cache` is a folder for keypoints.

        Raises:
            DataError: it cannot be read, or is neither MoveNet nor BlazePose.
        """
        try:
            core = openvino.Core()
            network = core.read_model(model)
            options = {"INFERENCE_NUM_THREADS": str(threads)} if threads else {}
            self._run: Any = core.compile_model(network, "CPU", options)
        except RuntimeError as error:
            last = str(error).strip().splitlines()[-1]
            raise DataError(f"data.regions must be a TensorFlow Lite network, {model}: {last}") from error
        shapes = [tuple(int(side) for side in port.shape) for port in self._run.outputs]
        self._output = next((place for place, shape in enumerate(shapes) if shape in (_BLAZE_SHAPE, _MOVE_SHAPE)), -1)
        source = tuple(int(side) for side in self._run.input(0).shape)
        if self._output < 0 or len(source) != 4 or source[3] != 3:
            raise DataError(
                f"data.regions must be MoveNet, (1, 1, 17, 3), or BlazePose, (1, 195), {model} takes {source} and "
                f"gives {', '.join(map(str, shapes))}"
            )
        self._cache = None if cache is None else cache / hashlib.sha256(model.read_bytes()).hexdigest()[:16]
        self._size = source[1], source[2]
        self._is_bytes = self._run.input(0).element_type == openvino.Type.u8

    def __call__(self, images: Images) -> UInt8:
        """See `regions.RegionProvider`."""
        pixels = images.pixels
        blocks = [self._block(pixels[start : start + _BLOCK]) for start in range(0, len(pixels), _BLOCK)]
        return from_points(np.concatenate(blocks), (pixels.shape[1], pixels.shape[2]))

    def _block(self, pixels: UInt8) -> Floats:
        """Return keypoints (n, 17, 3) of images (n, h, w, 3), from the cache where they are there."""
        if self._cache is None:
            return self._found(pixels)
        pixels = np.ascontiguousarray(pixels)
        file = self._cache / f"{hashlib.sha256(repr(pixels.shape).encode() + pixels.data).hexdigest()[:24]}.npy"
        known = _read(file, len(pixels))
        if known is not None:
            return known
        found = self._found(pixels)
        try:
            self._cache.mkdir(parents=True, exist_ok=True)
            part = file.with_suffix(".part")
            with part.open("wb") as stream:
                np.save(stream, found.astype(np.float16))
            part.replace(file)
        except OSError as error:
            raise TrainerError(f"keypoints need room, {self._cache}: {error.strerror or error}") from error
        return found

    def _found(self, pixels: UInt8) -> Floats:
        # float16, as in the cache: a run that is resumed sees the regions that it saw before.
        return np.stack([self.keypoints(image) for image in pixels]).astype(np.float16).astype(np.float32)

    def keypoints(self, image: UInt8) -> Floats:
        """Return COCO's keypoints (17, 3) of an RGB image (h, w, 3): x and y as shares of it, score in [0, 1]."""
        height, width = image.shape[:2]
        ratio = min(self._size[0] / height, self._size[1] / width)
        inner = max(1, round(width * ratio)), max(1, round(height * ratio))
        canvas = np.zeros((*self._size, 3), np.uint8)
        canvas[: inner[1], : inner[0]] = cv2.resize(image, inner, interpolation=cv2.INTER_LINEAR)
        batch = canvas[None] if self._is_bytes else canvas[None].astype(np.float32) / np.float32(255)
        answer = np.array(self._run(batch)[self._output], dtype=np.float32)
        if answer.shape == _MOVE_SHAPE:
            y, x, score = answer[0, 0].T
        else:
            points = answer.reshape(39, 5)[list(_BLAZE_TO_COCO)]
            x, y = points[:, 0] / self._size[1], points[:, 1] / self._size[0]
            score = 1 / (1 + np.exp(-points[:, 3]))
        shares = np.asarray((self._size[1] / inner[0], self._size[0] / inner[1]), np.float32)
        return np.stack([x * shares[0], y * shares[1], score], axis=1).astype(np.float32)


def _read(file: Path, count: int) -> Floats | None:
    """Return keypoints (n, 17, 3); None where there are none, or not those of so many images."""
    try:
        found = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError, MemoryError):
        return None
    return np.asarray(found, np.float32) if found.shape == (count, 17, 3) else None
