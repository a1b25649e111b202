"""Split a network in two behind its last feature maps: trunk, images -> vector and maps; head, maps -> vector.

The last maps are the first outputs of rank 4 with more than one pixel that a walk back from the vector reaches: those
of a second branch as well, those of a gate inside the network not. Elementwise operations of the pooling before its sum
(powers, region masks, int8 conversion) stay in the head, so that the maps are the outputs of layers.
"""

from typing import Any, NamedTuple

import numpy as np
import openvino as ov
from openvino import opset13 as ops

_OF_POOLING = {"Power", "Maximum", "Minimum", "Clamp", "Convert", "Subtract", "FakeQuantize"}
"""Elementwise operations of generalised mean pooling and of int8 networks; the map before them is taken."""


class SplitNetwork(NamedTuple):
    """Trunk and head; the head takes a batch of `batch` of each of the trunk's maps."""

    trunk: ov.Model
    """images -> vector, then the maps in the order of the head's inputs."""
    head: ov.Model
    looked_at: tuple[int, ...]
    """Indices of the maps that are features; the others are masks."""
    names: tuple[str, ...]
    """Names of those in the file."""


def split_network(network: ov.Model, batch: int) -> SplitNetwork | None:
    """Split a network of fixed shape; None where it has no feature map. The network itself is consumed."""
    cuts = _last_maps(network)
    if not cuts:
        return None
    looked_at = tuple(index for index, one in enumerate(cuts) if not _is_mask(one))
    names = tuple(cuts[index].get_node().get_friendly_name() for index in looked_at)
    trunk = ov.Model([*network.outputs, *cuts], network.get_parameters(), "trunk").clone()
    return SplitNetwork(trunk, _head(network, cuts, batch), looked_at, names)


def _last_maps(network: ov.Model) -> list[Any]:
    """Return the outputs of rank 4 with more than one pixel that the vector depends on, nearest to it first."""
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
    """Return the input map of an operation of the pooling, with its masks; empty for the output of a layer.

    A map multiplied by several masks of one channel each is pooled per region.
    """
    node = port.get_node()
    before = _maps_into(node)
    if node.get_type_name() in _OF_POOLING or (node.get_type_name() == "Multiply" and _is_scaled(node)):
        return [] if _is_mask(port) else before[:1]
    maps, masks = ([one for one in before if _is_mask(one) == wanted] for wanted in (False, True))
    is_masked = node.get_type_name() == "Multiply" and len(maps) == len(masks) == 1
    return maps + masks if is_masked and len(maps[0].get_target_inputs()) > 1 else []


def _is_scaled(node: Any) -> bool:
    """Return whether a map is multiplied by a scalar: dequantisation of int8."""
    return any(node.input(index).get_partial_shape().is_static and _count(node, index) == 1 for index in (0, 1))


def _count(node: Any, index: int) -> int:
    return int(np.prod(list(node.input(index).get_shape()), dtype=int))


def _is_mask(port: Any) -> bool:
    """Return whether a map is a mask: of one channel, the same for all images, or the result of a comparison."""
    shape, node = port.get_shape(), port.get_node()
    is_hard = node.get_type_name() == "Convert" and node.input_value(0).get_element_type() == ov.Type.boolean
    return bool(shape[0] == 1 or shape[1] == 1 or is_hard)


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


def _head(network: ov.Model, cuts: list[Any], batch: int) -> ov.Model:
    """Return the part maps -> vector; the network itself is consumed."""
    inputs = []
    for cut in cuts:
        entry = ops.parameter(cut.get_shape(), cut.get_element_type())
        for user in cut.get_target_inputs():
            user.replace_source_output(entry.output(0))
        inputs.append(entry)
    head = ov.Model(network.get_results(), inputs, "head")
    _unround(head)
    shapes = {port: list(port.get_shape()) for port in head.inputs}
    head.reshape({port: [batch, *shape[1:]] for port, shape in shapes.items()})
    return head


def _unround(head: ov.Model) -> None:
    """Remove the rounding of an int8 network, whose gradient is 0 almost everywhere.

    A rounded value passes FakeQuantize, Convert, Convert, Subtract, Multiply.
    """
    for node in [one for one in head.get_ordered_ops() if one.get_type_name() == "FakeQuantize"]:
        end = node.output(0)
        while end.get_node().get_type_name() != "Multiply":
            users = [user.get_node() for user in end.get_target_inputs()]
            if len(users) != 1 or users[0].get_type_name() not in ("Convert", "Subtract", "Multiply"):
                break
            end = users[0].output(0)
        else:
            for user in end.get_target_inputs():
                user.replace_source_output(node.input_value(0))
