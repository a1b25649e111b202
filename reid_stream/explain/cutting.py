"""Split a network in two behind its last feature maps: trunk, images -> vector and maps; head, maps -> vector.

The last maps are those of rank 4, with pixels, that the vector is made of when one walks back from it: a gate inside
the network is not reached, a second branch is. What pooling does before it sums (powers, masks of regions, int8 and
back) is left in the head, so that what is cut off is what a layer made.
"""

from typing import Any, NamedTuple

import numpy as np
import openvino as ov
from openvino import opset13 as ops

# What generalised mean pooling does before it sums, and int8 to a map on its way: the one before is looked at.
_OF_POOLING = {"Power", "Maximum", "Minimum", "Clamp", "Convert", "Subtract", "FakeQuantize"}


class SplitNetwork(NamedTuple):
    """Both parts; the head takes `batch` of each of the trunk's maps."""

    trunk: ov.Model
    """images -> vector, then the maps in the order of the head's inputs."""
    head: ov.Model
    looked_at: tuple[int, ...]
    """Which of the maps say what is there; the others are masks, which say where."""
    names: tuple[str, ...]
    """Of those, in the file."""


def split_network(network: ov.Model, batch: int) -> SplitNetwork | None:
    """Cut a network of fixed shape, which is used up; none where it has no map to look at."""
    cuts = _last_maps(network)
    if not cuts:
        return None
    looked_at = tuple(index for index, one in enumerate(cuts) if not _is_mask(one))
    names = tuple(cuts[index].get_node().get_friendly_name() for index in looked_at)
    trunk = ov.Model([*network.outputs, *cuts], network.get_parameters(), "trunk").clone()
    return SplitNetwork(trunk, _head(network, cuts, batch), looked_at, names)


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
    if node.get_type_name() in _OF_POOLING or (node.get_type_name() == "Multiply" and _is_scaled(node)):
        return [] if _is_mask(port) else before[:1]
    maps, masks = ([one for one in before if _is_mask(one) == wanted] for wanted in (False, True))
    is_masked = node.get_type_name() == "Multiply" and len(maps) == len(masks) == 1
    return maps + masks if is_masked and len(maps[0].get_target_inputs()) > 1 else []


def _is_scaled(node: Any) -> bool:
    """Whether a map is multiplied by one number: how int8 becomes real again."""
    return any(node.input(index).get_partial_shape().is_static and _count(node, index) == 1 for index in (0, 1))


def _count(node: Any, index: int) -> int:
    return int(np.prod(list(node.input(index).get_shape()), dtype=int))


def _is_mask(port: Any) -> bool:
    """Whether a map says where, not what: of one channel, the same for all images, or made of comparisons."""
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
    """Return maps -> vector; the network itself is used up."""
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
    """Leave the rounding of an int8 network out: a step's slope is 0 nearly everywhere, that of the stairs is not.

    What is rounded becomes int8 and real again: FakeQuantize, Convert, Convert, Subtract, Multiply.
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
