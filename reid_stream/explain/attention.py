"""Grad-CAM of any ONNX embedder for one dimension of its vector, without a training library.

The network is split behind its last feature maps: trunk, images -> maps; head, maps -> vector. Grad-CAM weights channel
c of a map by the mean gradient over its pixels, w_c = 1/(hw) sum_ij df/dA_cij, which is the derivative of f along a
uniform shift of the channel. One central difference through the head, a pooling and a product, therefore gives w_c for
all dimensions at once, without backpropagation. A network with several last maps is split behind each.

Source: Selvaraju et al., "Grad-CAM", ICCV 2017 (arXiv 1610.02391), eq. 1 and 2; of an embedding's dimensions: Almazan
et al., "Re-ID done right" (arXiv 1801.05339).

Letters: n images, d dimensions of a vector, c channels, h and w pixels of a map, m maps.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino as ov
from openvino import properties
from openvino.properties import hint

from reid_stream.errors import ModelError
from reid_stream.explain.cutting import split_network

Floats = npt.NDArray[np.float32]

_STEP = 0.01
"""Step as a share of a channel's largest value: exact within 0.1 % for powers up to 6, and 4 digits remain in
float32."""
_CHANNELS_AT_ONCE = 64
_IMAGES = 2
"""Images per call of the trunk: a pair."""


@dataclass(frozen=True, eq=False)
class Activations:
    """Vectors, last feature maps and gradients of n images."""

    vectors: Floats
    """(n, d) output of the network, not normalised."""
    maps: tuple[Floats, ...]
    """m arrays (n, c, h, w): the last maps of the network."""
    weights: tuple[Floats, ...]
    """m arrays (n, c, d): mean gradient of each dimension over the pixels of a channel; 0 for a channel of zeros."""

    def heat(self, image: int, dimension: int, size: tuple[int, int]) -> Floats:
        """Return the Grad-CAM map (height, width) of a dimension in an image, scaled to [0, 1]; all 0 without any heat.

        The map shows what increases the magnitude of the dimension: a negative value contributes to a similarity as
        much as a positive one.
        """
        direction = np.zeros(self.vectors.shape[1], np.float32)
        direction[dimension] = -1.0 if self.vectors[image, dimension] < 0 else 1.0
        return self.heat_along(image, direction, size)

    def heat_along(self, image: int, direction: Floats, size: tuple[int, int]) -> Floats:
        """Return the Grad-CAM map (height, width) of the vector's product with a direction (d,), scaled to [0, 1]."""
        total = np.zeros(size, np.float32)
        for maps, weights in zip(self.maps, self.weights, strict=True):
            found = np.einsum("chw,c->hw", maps[image], weights[image] @ direction.astype(np.float32))
            total += _enlarge(np.maximum(found, 0), size)
        highest = float(total.max())
        return total / np.float32(highest) if highest > 0 else total


class Attention:
    """A network split behind its last maps; masks multiplied with them are held constant."""

    def __init__(self, model: Path, height: int, width: int, threads: int | None = None) -> None:
        """Read an ONNX file of one input (b, 3, height, width) and one output (b, d).

        Raises:
            ModelError: the file is no such network, or its vector is not pooled from feature maps.
        """
        core = ov.Core()
        try:
            network = core.read_model(model)
            network.reshape([_IMAGES, 3, height, width])
        except Exception as error:  # OpenVINO raises RuntimeError and its own kinds
            raise ModelError(f"{model} must be an ONNX network of images (b, 3, {height}, {width}): {error}") from error
        try:
            parts = split_network(network, 2 * _CHANNELS_AT_ONCE)
            if parts is None:
                raise ModelError(f"{model} must end in a pooling of feature maps to be explained, found none")
            self._trunk = core.compile_model(parts.trunk, "CPU", _options(threads))
            self._head = core.compile_model(parts.head, "CPU", _options(threads))
        except RuntimeError as error:
            raise ModelError(f"{model} must accept any number of images to be explained: {error}") from error
        self._looked_at, self.map_names = parts.looked_at, parts.names

    def __call__(self, images: Floats) -> Activations:
        """Return the activations of two network inputs (2, 3, h, w)."""
        found = self._trunk(images)
        vectors, *maps = (np.array(found[index], np.float32) for index in range(len(found)))
        of_images = [[one[min(image, len(one) - 1)] for one in maps] for image in range(len(images))]
        weights = tuple(
            np.stack([self._weights(of_image, index, vectors.shape[1]) for of_image in of_images])
            for index in self._looked_at
        )
        return Activations(vectors, tuple(maps[index] for index in self._looked_at), weights)

    def _weights(self, maps: list[Floats], moved: int, dim: int) -> Floats:
        """Return the mean gradient (c, d) over the pixels of one of an image's maps, the others held constant."""
        own = maps[moved]
        pixels = own.shape[1] * own.shape[2]
        highest = np.abs(own).max(axis=(1, 2))  # (c,)
        steps = _STEP * np.maximum(highest, 0.1 * highest.mean())
        inputs = [np.repeat(one[None], 2 * _CHANNELS_AT_ONCE, axis=0) for one in maps]
        alive = np.flatnonzero(highest > 0)  # channels of zeros add no heat
        gradients = np.zeros((len(own), dim), np.float32)
        for start in range(0, len(alive), _CHANNELS_AT_ONCE):
            channels = alive[start : start + _CHANNELS_AT_ONCE]
            places, step = np.arange(len(channels)), steps[channels, None, None]
            inputs[moved][places, channels] += step
            inputs[moved][_CHANNELS_AT_ONCE + places, channels] -= step
            answer = np.array(self._head(inputs)[0], np.float64)
            up, down = answer[places], answer[_CHANNELS_AT_ONCE + places]
            gradients[channels] = (up - down) / (2 * steps[channels, None] * pixels)
            inputs[moved][places, channels] = own[channels]
            inputs[moved][_CHANNELS_AT_ONCE + places, channels] = own[channels]
        return gradients

    def vectors(self, images: Floats) -> Floats:
        """Return the vectors (n, d) of any number of inputs (n, 3, h, w), without activations."""
        pairs = np.concatenate([images, images[: len(images) % _IMAGES]])
        rows = [np.array(self._trunk(pairs[at : at + _IMAGES])[0]) for at in range(0, len(pairs), _IMAGES)]
        return np.concatenate(rows)[: len(images)]


def _options(threads: int | None) -> dict[Any, Any]:
    # bf16 has too few digits for a difference.
    options: dict[Any, Any] = {hint.inference_precision: ov.Type.f32, hint.enable_cpu_pinning: False}
    if threads:
        options[properties.inference_num_threads] = threads
    return options


def _enlarge(map_: Floats, size: tuple[int, int]) -> Floats:
    import cv2

    enlarged = cv2.resize(map_, (size[1], size[0]), interpolation=cv2.INTER_CUBIC)
    return np.maximum(np.asarray(enlarged, np.float32), 0)
