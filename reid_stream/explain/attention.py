"""Where a network looks for one dimension of its vector: Grad-CAM of any ONNX file, with no training library.

The network is cut behind its last maps: trunk, images -> maps;  head, maps -> vector. Grad-CAM weighs channel c of a
map by the mean gradient over its pixels, w_c = 1/(hw) sum_ij df/dA_cij, and that is the derivative of f along a uniform
shift of the channel. So one central difference through the head, which is a pooling and a product, gives w_c of all
dimensions at once, and nothing has to be differentiated backwards. A network with several last maps is cut behind each.

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
from openvino import opset13 as ops
from openvino import properties
from openvino.properties import hint

from reid_stream.errors import ModelError

Floats = npt.NDArray[np.float32]

# What generalised mean pooling does before it sums: the map that is looked at is the one before.
_OF_POOLING = {"Power", "Maximum", "Minimum", "Clamp", "Convert"}
# Of a channel's largest value; powers up to 6 are then right within 0.1 %, and float32 still has 4 digits.
_STEP = 0.01
_CHANNELS_AT_ONCE = 64
_IMAGES = 2
"""A pair."""


@dataclass(frozen=True, eq=False)
class Looked:
    """What a network made of n images."""

    vectors: Floats
    """(n, d), as the network gives them: not of unit length."""
    maps: tuple[Floats, ...]
    """m of (n, c, h, w): the last maps of the network."""
    weights: tuple[Floats, ...]
    """m of (n, c, d): mean gradient of each dimension over a channel's pixels; 0 where all of these are 0."""

    def heat(self, image: int, dimension: int, size: tuple[int, int]) -> Floats:
        """Return where `image` makes `dimension` large, by its own sign: (height, width), 0 to 1.

        All 0 where nothing does. A negative value adds to a similarity as much as a positive one, so it is asked what
        makes it more negative.
        """
        sign = -1.0 if self.vectors[image, dimension] < 0 else 1.0
        total = np.zeros(size, np.float32)
        for maps, weights in zip(self.maps, self.weights, strict=True):
            found = np.einsum("chw,c->hw", maps[image], weights[image, :, dimension]) * np.float32(sign)
            total += _enlarge(np.maximum(found, 0), size)
        highest = float(total.max())
        return total / np.float32(highest) if highest > 0 else total


class Attention:
    """A network cut behind its last maps; masks that these are multiplied by are held, not looked at."""

    def __init__(self, model: Path, height: int, width: int, threads: int | None = None) -> None:
        """Read an ONNX file of one input (b, 3, height, width) and one output (b, d).

        Raises:
            ModelError: it is none, or has no map to look at.
        """
        core = ov.Core()
        try:
            network = core.read_model(model)
            network.reshape([_IMAGES, 3, height, width])
        except Exception as error:  # OpenVINO raises RuntimeError and its own kinds
            raise ModelError(f"{model} must be an ONNX network of images (b, 3, {height}, {width}): {error}") from error
        cuts = _last_maps(network)
        if not cuts:
            raise ModelError(f"{model} must end in a pooling of maps for its vector to be explained, it has none")
        self._looked_at = [index for index, cut in enumerate(cuts) if not _is_mask(cut)]
        self.map_names = tuple(cuts[index].get_node().get_friendly_name() for index in self._looked_at)
        """Of the maps in the file."""
        try:
            trunk = ov.Model([*network.outputs, *cuts], network.get_parameters(), "trunk")
            self._trunk = core.compile_model(trunk, "CPU", _options(threads))
            self._head = core.compile_model(_head(network, cuts), "CPU", _options(threads))
        except RuntimeError as error:
            raise ModelError(f"{model} must take any number of images to be explained: {error}") from error

    def __call__(self, images: Floats) -> Looked:
        """Look at two network inputs (2, 3, h, w)."""
        found = self._trunk(images)
        vectors, *maps = (np.array(found[index], np.float32) for index in range(len(found)))
        of_images = [[one[min(image, len(one) - 1)] for one in maps] for image in range(len(images))]
        weights = tuple(
            np.stack([_weights(self._head, of_image, index, vectors.shape[1]) for of_image in of_images])
            for index in self._looked_at
        )
        return Looked(vectors, tuple(maps[index] for index in self._looked_at), weights)

    def vectors(self, images: Floats) -> Floats:
        """Return what the network gives for any number of inputs (n, 3, h, w), without looking: (n, d)."""
        pairs = np.concatenate([images, images[: len(images) % _IMAGES]])
        rows = [np.array(self._trunk(pairs[at : at + _IMAGES])[0]) for at in range(0, len(pairs), _IMAGES)]
        return np.concatenate(rows)[: len(images)]


def _weights(head: Any, maps: list[Floats], moved: int, dim: int) -> Floats:
    """Return the mean gradient (c, d) over the pixels of one of an image's maps, the others held."""
    own = maps[moved]
    pixels = own.shape[1] * own.shape[2]
    highest = np.abs(own).max(axis=(1, 2))  # (c,)
    steps = _STEP * np.maximum(highest, 0.1 * highest.mean())
    inputs = [np.repeat(one[None], 2 * _CHANNELS_AT_ONCE, axis=0) for one in maps]
    alive = np.flatnonzero(highest > 0)  # the others add no heat, whatever their weight
    gradients = np.zeros((len(own), dim), np.float32)
    for start in range(0, len(alive), _CHANNELS_AT_ONCE):
        channels = alive[start : start + _CHANNELS_AT_ONCE]
        places, step = np.arange(len(channels)), steps[channels, None, None]
        inputs[moved][places, channels] += step
        inputs[moved][_CHANNELS_AT_ONCE + places, channels] -= step
        answer = np.array(head(inputs)[0], np.float64)
        up, down = answer[places], answer[_CHANNELS_AT_ONCE + places]
        gradients[channels] = (up - down) / (2 * steps[channels, None] * pixels)
        inputs[moved][places, channels] = own[channels]
        inputs[moved][_CHANNELS_AT_ONCE + places, channels] = own[channels]
    return gradients


def _last_maps(network: ov.Model) -> list[Any]:
    """Return the outputs of rank 4 with pixels that the vector is made of, nearest to it first."""
    waiting, seen = [network.outputs[0].get_node().input_value(0)], set[tuple[str, int]]()
    cuts: list[Any] = []
    while waiting:
        port = waiting.pop(0)
        node = port.get_node()
        key = (node.get_name(), port.get_index())
        if key in seen or node.get_type_name() in ("Constant", "Parameter"):
            continue
        seen.add(key)
        if _is_map(port) and port.get_element_type().is_real():
            while before := _before_pooling(port):
                port, *masks = before
                waiting += masks
            if all(port != cut for cut in cuts) and port.get_node().get_type_name() != "Parameter":
                cuts.append(port)
        else:
            waiting += [node.input_value(index) for index in range(node.get_input_size())]
    return [cut for cut in cuts if _depends_on_image(cut)]


def _before_pooling(port: Any) -> list[Any]:
    """Return the map that a part of the pooling made this one of, with its masks; nothing where a layer made it.

    A map multiplied by one mask after another, each of one channel, is pooled region by region.
    """
    node = port.get_node()
    before = _maps_into(node)
    if node.get_type_name() in _OF_POOLING:
        return [] if _is_mask(port) else before[:1]
    maps, masks = ([one for one in before if _is_mask(one) == wanted] for wanted in (False, True))
    is_masked = node.get_type_name() == "Multiply" and len(maps) == len(masks) == 1
    return maps + masks if is_masked and len(maps[0].get_target_inputs()) > 1 else []


def _is_mask(port: Any) -> bool:
    """Whether a map says where, not what: of one channel, the same for all images, or made of comparisons."""
    shape, node = port.get_shape(), port.get_node()
    is_hard = node.get_type_name() == "Convert" and not node.input_value(0).get_element_type().is_real()
    return bool(shape[0] != _IMAGES or shape[1] == 1 or is_hard)


def _maps_into(node: Any) -> list[Any]:
    return [node.input_value(index) for index in range(node.get_input_size()) if _is_map(node.input_value(index))]


def _is_map(port: Any) -> bool:
    shape = port.get_partial_shape()
    if not shape.is_static or len(shape) != 4:
        return False
    sizes = list(port.get_shape())
    return bool(sizes[2] * sizes[3] > 1)


def _depends_on_image(port: Any) -> bool:
    waiting, seen = [port.get_node()], set[str]()
    while waiting:
        node = waiting.pop()
        if node.get_type_name() == "Parameter":
            return True
        for index in range(node.get_input_size()):
            before = node.input_value(index).get_node()
            if before.get_name() not in seen:
                seen.add(before.get_name())
                waiting.append(before)
    return False


def _head(network: ov.Model, cuts: list[Any]) -> ov.Model:
    """Return maps -> vector; the network itself is used up."""
    inputs = []
    for cut in cuts:
        entry = ops.parameter(cut.get_shape(), cut.get_element_type())
        for user in cut.get_target_inputs():
            user.replace_source_output(entry.output(0))
        inputs.append(entry)
    head = ov.Model(network.get_results(), inputs, "head")
    shapes = {port: list(port.get_shape()) for port in head.inputs}
    head.reshape({port: [2 * _CHANNELS_AT_ONCE, *shape[1:]] for port, shape in shapes.items()})
    return head


def _options(threads: int | None) -> dict[Any, Any]:
    # bf16 has three digits, fewer than a difference needs.
    options: dict[Any, Any] = {hint.inference_precision: ov.Type.f32, hint.enable_cpu_pinning: False}
    if threads:
        options[properties.inference_num_threads] = threads
    return options


def _enlarge(map_: Floats, size: tuple[int, int]) -> Floats:
    import cv2

    enlarged = cv2.resize(map_, (size[1], size[0]), interpolation=cv2.INTER_CUBIC)
    return np.maximum(np.asarray(enlarged, np.float32), 0)
