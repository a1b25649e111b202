"""Rewrite ONNX networks so that they can be bundled: one output, float32, channels first, a known layout.

Letters: b images, h and w pixels, d embedding dimensions.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from reid_stream.bundles.onnx_file import onnx_package

if TYPE_CHECKING:
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


def as_yolo(content: bytes, layout: str, size: tuple[int, int], classes: int) -> bytes:
    """Return a detector whose output is converted to the layout `yolo`, (b, 4 + classes, n).

    Args:
        content: an ONNX network with one float32 output (b, n, columns).
        layout: `yolo_transposed`, `yolov5` or `rtdetr`; see `bundles.detector_layout`.
        size: (height, width) of the input in pixels.
        classes: number of classes.

    Raises:
        ModelError: the package `onnx` is missing.
    """
    onnx = onnx_package(f"to serve a detector of layout {layout}")
    model = onnx.load_from_string(content)
    graph = model.graph
    (port,) = graph.output
    raw, made = f"{port.name}_{layout}", port.name
    _rename_output(graph, port.name, raw)
    node, numbers = onnx.helper.make_node, onnx.numpy_helper.from_array
    opset = next((item.version for item in model.opset_import if item.domain in ("", "ai.onnx")), 13)
    import numpy as np

    ends = {"yolo_transposed": [4, 4 + classes], "yolov5": [4, 1, classes], "rtdetr": [4, classes]}[layout]
    parts = [f"{raw}_{index}" for index in range(len(ends))]
    if layout == "yolo_transposed":
        graph.node.append(node("Transpose", [raw], [made], perm=[0, 2, 1]))
    else:
        if opset < _SPLIT_BY_INPUT:
            graph.node.append(node("Split", [raw], parts, axis=2, split=ends))
        else:
            graph.initializer.append(numbers(np.array(ends, np.int64), f"{raw}_split"))
            graph.node.append(node("Split", [raw, f"{raw}_split"], parts, axis=2))
        boxes, scores = parts[0], parts[-1]
        if layout == "yolov5":
            graph.node.append(node("Mul", [parts[1], parts[2]], [f"{raw}_scores"]))
            scores = f"{raw}_scores"
        else:
            sides = np.array([size[1], size[0], size[1], size[0]], np.float32)
            graph.initializer.append(numbers(sides, f"{raw}_pixels"))
            graph.node.append(node("Mul", [boxes, f"{raw}_pixels"], [f"{raw}_boxes"]))
            boxes = f"{raw}_boxes"
        graph.node.append(node("Concat", [boxes, scores], [f"{raw}_rows"], axis=2))
        graph.node.append(node("Transpose", [f"{raw}_rows"], [made], perm=[0, 2, 1]))
    del port.type.tensor_type.shape.dim[:]
    for side in ("batch", 4 + classes, "boxes"):
        dim = port.type.tensor_type.shape.dim.add()
        if isinstance(side, int):
            dim.dim_value = side
        else:
            dim.dim_param = side
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
