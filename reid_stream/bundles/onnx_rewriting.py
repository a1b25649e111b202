"""Rewrite ONNX networks so that they can be bundled: one output, float32, channels first, a known layout.

Letters: b images, h and w pixels, d embedding dimensions.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from reid_stream.bundles.detector_layout import LayoutMatch
from reid_stream.bundles.onnx_file import onnx_package

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import onnx

_OWN_DOMAINS = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft")
"""Domains of the operators that OpenVINO or ONNX Runtime knows."""
_SPLIT_BY_INPUT = 13
"""Opset from which `Split` takes its sizes as an input; before, they are an attribute (ONNX 1.8)."""


def with_output(content: bytes, index: int) -> bytes:
    """Return the network with only one of its outputs, given by index."""
    model = onnx_package("to choose an output").load_from_string(content)
    kept = model.graph.output[index]
    for port in [port for port in model.graph.output if port.name != kept.name]:
        model.graph.output.remove(port)
    return bytes(model.SerializeToString())


def with_float32_ports(content: bytes) -> bytes:
    """Return the network with casts, so that float16 and float64 inputs and outputs become float32."""
    onnx = onnx_package("to cast a network's input and output to float32")
    model = onnx.load_from_string(content)
    graph, other = model.graph, (onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE)
    constants = {tensor.name for tensor in graph.initializer}
    for port in [port for port in graph.input if port.name not in constants]:
        kind = port.type.tensor_type.elem_type
        if kind in other:
            inner = f"{port.name}_as_stored"
            _rename_input(graph, port.name, inner)
            graph.node.insert(0, onnx.helper.make_node("Cast", [port.name], [inner], to=kind))
            port.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    for port in graph.output:
        if port.type.tensor_type.elem_type in other:
            inner = f"{port.name}_as_stored"
            _rename_output(graph, port.name, inner)
            graph.node.append(onnx.helper.make_node("Cast", [inner], [port.name], to=onnx.TensorProto.FLOAT))
            port.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    return bytes(model.SerializeToString())


def joined(content: bytes, boxes: int, scores: int) -> bytes:
    """Return a detector of two outputs with one, boxes (b, n, 4) or (b, n, 1, 4) and scores (b, n, classes) in a row.

    Args:
        content: an ONNX network of float32.
        boxes: index of the output of boxes.
        scores: index of the output of scores.
    """
    onnx = onnx_package("to join a detector's boxes and scores")
    import numpy as np

    model = onnx.load_from_string(content)
    graph = model.graph
    ports = graph.output[boxes], graph.output[scores]
    graph.initializer.append(onnx.numpy_helper.from_array(np.array([0, -1, 4], np.int64), "joined_shape"))
    graph.node.append(onnx.helper.make_node("Reshape", [ports[0].name, "joined_shape"], ["joined_boxes"]))
    graph.node.append(onnx.helper.make_node("Concat", ["joined_boxes", ports[1].name], ["joined"], axis=2))
    shape = ["batch", "boxes", "columns"]
    port = onnx.helper.make_tensor_value_info("joined", onnx.TensorProto.FLOAT, shape)
    del graph.output[:]
    graph.output.append(port)
    return bytes(model.SerializeToString())


def as_yolo(content: bytes, found: LayoutMatch, size: tuple[int, int], classes: int) -> bytes:
    """Return a detector whose output is converted to the layout `yolo`, (b, 4 + classes, n).

    Args:
        content: an ONNX network with one float32 output.
        found: layout of the output; any but `yolox` and `yolo_end2end`.
        size: (height, width) of the input in pixels.
        classes: number of classes.

    Raises:
        ModelError: the package `onnx` is missing.
    """
    onnx = onnx_package(f"to serve a detector of layout {found.layout}")
    model = onnx.load_from_string(content)
    graph = model.graph
    (port,) = graph.output
    raw, made = f"{port.name}_{found.layout}", port.name
    _rename_output(graph, port.name, raw)
    opset = next((item.version for item in model.opset_import if item.domain in ("", "ai.onnx")), 13)
    import numpy as np

    def op(kind: str, inputs: list[str], count: int = 1, **attributes: Any) -> list[str]:
        names = [f"{raw}_{len(graph.node)}_{index}" for index in range(count)]
        graph.node.append(onnx.helper.make_node(kind, inputs, names, **attributes))
        return names

    def constant(values: Any, kind: type[np.generic] = np.float32) -> str:
        name = f"{raw}_constant_{len(graph.initializer)}"
        graph.initializer.append(onnx.numpy_helper.from_array(np.array(values, kind), name))
        return name

    def split(name: str, ends: list[int]) -> list[str]:
        if opset < _SPLIT_BY_INPUT:
            return op("Split", [name], len(ends), axis=2, split=ends)
        return op("Split", [name, constant(ends, np.int64)], len(ends), axis=2)

    (rows,) = op("Transpose", [raw], perm=[0, 2, 1]) if found.layout == "yolo" else [raw]
    boxes, *numbers = split(rows, [4, 1, classes] if found.layout == "yolov5" else [4, classes])
    if found.has_logits:
        numbers = [op("Sigmoid", [each])[0] for each in numbers]
    scores = op("Mul", numbers)[0] if len(numbers) == 2 else numbers[0]
    if found.layout == "corners":
        near, far = split(boxes, [2, 2])
        (middle,) = op("Mul", [op("Add", [near, far])[0], constant([0.5])])
        (boxes,) = op("Concat", [middle, op("Sub", [far, near])[0]], axis=2)
    if found.is_relative:
        (boxes,) = op("Mul", [boxes, constant([size[1], size[0], size[1], size[0]])])
    (rows,) = op("Concat", [boxes, scores], axis=2)
    graph.node.append(onnx.helper.make_node("Transpose", [rows], [made], perm=[0, 2, 1]))
    port.CopyFrom(onnx.helper.make_tensor_value_info(made, onnx.TensorProto.FLOAT, ["batch", 4 + classes, "boxes"]))
    return bytes(model.SerializeToString())


def foreign_operators(content: bytes) -> list[str]:
    """Return the operators of an ONNX file that belong to one engine alone, such as TRT.EfficientNMS_TRT."""
    try:
        model = onnx_package("to list operators").load_from_string(content)
    except Exception:  # noqa: BLE001 (protobuf and onnx each have their own)
        return []
    known = {(each.domain, each.name) for each in model.functions}
    found = {(node.domain, node.op_type) for node in _nodes(model.graph)} - known
    return sorted(
        ".".join(filter(None, each)) for each in found if each[0] not in _OWN_DOMAINS or each[1].endswith("_TRT")
    )


def with_channels_first(content: bytes) -> bytes:
    """Return the network with input (b, 3, h, w) in place of (b, h, w, 3)."""
    onnx = onnx_package("to serve a network of images with channels last")
    model = onnx.load_from_string(content)
    constants = {tensor.name for tensor in model.graph.initializer}
    (port,) = (port for port in model.graph.input if port.name not in constants)
    inner = f"{port.name}_channels_last"
    _rename_input(model.graph, port.name, inner)
    model.graph.node.insert(0, onnx.helper.make_node("Transpose", [port.name], [inner], perm=[0, 2, 3, 1]))
    shape = port.type.tensor_type.shape
    sides = [shape.dim[place] for place in (0, 3, 1, 2)]
    copies = [type(side).FromString(side.SerializeToString()) for side in sides]
    del shape.dim[:]
    shape.dim.extend(copies)
    return bytes(model.SerializeToString())


def with_vectors(content: bytes, dim: int) -> bytes:
    """Return an embedder with output (b, d) in place of (b, d, 1, 1) or (b, 1, d)."""
    onnx = onnx_package("to serve a network whose vectors have further axes")
    model = onnx.load_from_string(content)
    (port,) = model.graph.output
    raw = f"{port.name}_axes"
    _rename_output(model.graph, port.name, raw)
    model.graph.node.append(onnx.helper.make_node("Flatten", [raw], [port.name], axis=1))
    kind = port.type.tensor_type.elem_type
    port.CopyFrom(onnx.helper.make_tensor_value_info(port.name, kind, ["batch", dim]))
    return bytes(model.SerializeToString())


def with_projection(content: bytes, axes: "npt.NDArray[np.float32]") -> bytes:
    """Return an embedder whose vectors (b, d) are projected to axes (d, r)."""
    onnx = onnx_package("to project long vectors")
    model = onnx.load_from_string(content)
    (port,) = model.graph.output
    raw = f"{port.name}_whole"
    _rename_output(model.graph, port.name, raw)
    model.graph.initializer.append(onnx.numpy_helper.from_array(axes, f"{raw}_axes"))
    model.graph.node.append(onnx.helper.make_node("MatMul", [raw, f"{raw}_axes"], [port.name]))
    port.CopyFrom(onnx.helper.make_tensor_value_info(port.name, onnx.TensorProto.FLOAT, ["batch", axes.shape[1]]))
    return bytes(model.SerializeToString())


def with_batch_of_one(content: bytes) -> bytes:
    """Return the network with an input of one image, so that no engine gives it several at once."""
    model = onnx_package("to fix a network's batch").load_from_string(content)
    constants = {tensor.name for tensor in model.graph.initializer}
    for port in model.graph.input:
        if port.name not in constants:
            port.type.tensor_type.shape.dim[0].dim_value = 1
    for port in model.graph.output:
        if port.type.tensor_type.shape.dim:
            port.type.tensor_type.shape.dim[0].dim_value = 1
    return bytes(model.SerializeToString())


def without_bfloat16(content: bytes) -> bytes:
    """Return the network with all bfloat16 tensors and types as float32: ONNX Runtime has no kernels of bfloat16."""
    onnx = onnx_package("to convert a bfloat16 network to float32")
    model = onnx.load_from_string(content)
    small, real = onnx.TensorProto.BFLOAT16, onnx.TensorProto.FLOAT
    nodes = [*_nodes(model.graph), *(node for each in model.functions for node in each.node)]
    attributes = [attribute for node in nodes for attribute in node.attribute]
    graphs = list(_graphs(model.graph))
    tensors = [each.t for each in attributes if each.HasField("t")]
    for tensor in (*tensors, *(tensor for graph in graphs for tensor in graph.initializer)):
        if tensor.data_type == small:
            numbers = onnx.numpy_helper.to_array(tensor).astype("float32")
            tensor.CopyFrom(onnx.numpy_helper.from_array(numbers, tensor.name))
    for port in (port for graph in graphs for port in (*graph.input, *graph.output, *graph.value_info)):
        if port.type.tensor_type.elem_type == small:
            port.type.tensor_type.elem_type = real
    for attribute in attributes:
        if attribute.name in ("to", "dtype") and attribute.i == small:
            attribute.i = real
    return bytes(model.SerializeToString())


def _graphs(graph: "onnx.GraphProto") -> Iterator["onnx.GraphProto"]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _graphs(attribute.g)


def _nodes(graph: "onnx.GraphProto") -> Iterator["onnx.NodeProto"]:
    for each in _graphs(graph):
        yield from each.node


def _rename_input(graph: "onnx.GraphProto", old: str, new: str) -> None:
    for node in graph.node:
        node.input[:] = [new if name == old else name for name in node.input]
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _rename_input(attribute.g, old, new)


def _rename_output(graph: "onnx.GraphProto", old: str, new: str) -> None:
    _rename_input(graph, old, new)
    for node in graph.node:
        node.output[:] = [new if name == old else name for name in node.output]
