"""Inspect and normalise ONNX files: weights inside, one output, float32 input and output, a supported layout.

Reading needs no library: `external_files` walks the protobuf wire format. Rewriting needs the package `onnx`.

Source: onnx.proto of ONNX 1.16 for field numbers; https://protobuf.dev/programming-guides/encoding for the wire format.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reid_stream.errors import ModelError

if TYPE_CHECKING:
    import onnx

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
# Messages that hold tensors, as {field number: message}: model > graph > node > attribute > graph ..., and functions.
_CHILDREN: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
}
_EXTERNAL_DATA, _DATA_LOCATION, _EXTERNAL = 13, 14, 1
_MOST_DEPTH = 32


def external_files(content: bytes) -> list[str]:
    """Return the names of the external weight files of an ONNX file, in order (pure).

    Content that is not protobuf has none; the library that reads the network reports that.
    """
    try:
        return list(dict.fromkeys(_external(memoryview(content), "model", 0)))
    except (IndexError, ValueError):
        return []


def read_whole(model: Path, content: bytes) -> bytes:
    """Return an ONNX file with its external weights included.

    Raises:
        ModelError: an external file is missing or outside of the folder, or the package `onnx` is missing.
    """
    names = external_files(content)
    if not names:
        return content
    folder = model.resolve().parent
    for name in names:
        file = folder / name
        if not file.resolve().is_relative_to(folder):
            raise ModelError(f"weights of {model} must be in its folder, found {name!r}; export one file")
        if not name or not file.is_file():
            raise ModelError(f"weights of {model} are in {name!r}, which is not in {folder}; copy it there too")
    onnx = _onnx(f"weights of {model} are in {', '.join(names)}; to include them")
    try:
        return bytes(onnx.load(str(model)).SerializeToString())
    except Exception as error:  # protobuf and onnx each have their own
        raise ModelError(
            f"weights of {model} in {', '.join(names)} cannot be read: {error}; export one file"
        ) from error


def with_output(content: bytes, index: int) -> bytes:
    """Return the network with only one of its outputs, given by index."""
    model = _onnx("to choose an output").load_from_string(content)
    kept = model.graph.output[index]
    for port in [port for port in model.graph.output if port.name != kept.name]:
        model.graph.output.remove(port)
    return bytes(model.SerializeToString())


def with_float32_ports(content: bytes) -> bytes:
    """Return the network with casts, so that float16 and bfloat16 inputs and outputs become float32."""
    onnx = _onnx("to cast a float16 network's input and output to float32")
    model = onnx.load_from_string(content)
    graph, small = model.graph, (onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16)
    constants = {tensor.name for tensor in graph.initializer}
    for port in [port for port in graph.input if port.name not in constants]:
        kind = port.type.tensor_type.elem_type
        if kind in small:
            inner = f"{port.name}_as_stored"
            _rename_input(graph, port.name, inner)
            graph.node.insert(0, onnx.helper.make_node("Cast", [port.name], [inner], to=kind))
            port.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    for port in graph.output:
        if port.type.tensor_type.elem_type in small:
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
        ModelError: the opset is below 13, or the package `onnx` is missing.
    """
    onnx = _onnx(f"to serve a detector of layout {layout}")
    model = onnx.load_from_string(content)
    graph = model.graph
    (port,) = graph.output
    raw, made = f"{port.name}_{layout}", port.name
    _rename_output(graph, port.name, raw)
    node, numbers = onnx.helper.make_node, onnx.numpy_helper.from_array
    opset = next((item.version for item in model.opset_import if item.domain in ("", "ai.onnx")), 13)
    if opset < 13:
        raise ModelError(f"a detector of layout {layout} must have opset 13 or later, found {opset}; export it again")
    import numpy as np

    ends = {"yolo_transposed": [4, 4 + classes], "yolov5": [4, 1, classes], "rtdetr": [4, classes]}[layout]
    parts = [f"{raw}_{index}" for index in range(len(ends))]
    if layout == "yolo_transposed":
        graph.node.append(node("Transpose", [raw], [made], perm=[0, 2, 1]))
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


def _onnx(purpose: str) -> Any:
    try:
        import onnx
    except ImportError as error:
        raise ModelError(f"{purpose}, the package onnx is needed: pip install onnx") from error
    return onnx


def _external(data: memoryview, message: str, depth: int) -> Iterator[str]:
    """Yield the location of every tensor in a message whose data is in another file."""
    if depth > _MOST_DEPTH:
        raise ValueError("nested too deep")
    location, is_external = "", False
    for number, value in _fields(data):
        child = _CHILDREN.get(message, {}).get(number)
        if isinstance(value, int):
            is_external |= message == "tensor" and number == _DATA_LOCATION and value == _EXTERNAL
        elif child is not None:
            yield from _external(value, child, depth + 1)
        elif message == "tensor" and number == _EXTERNAL_DATA:
            pair = {key: bytes(text) for key, text in _fields(value) if not isinstance(text, int)}
            if pair.get(1) == b"location":
                location = pair.get(2, b"").decode("utf-8", "replace")
    if is_external:
        yield location


def _fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield (field number, value) of a protobuf message; fixed-width values are skipped."""
    place = 0
    while place < len(data):
        key, place = _varint(data, place)
        kind = key & 7
        if kind == _VARINT:
            value, place = _varint(data, place)
            yield key >> 3, value
        elif kind == _BYTES:
            size, place = _varint(data, place)
            if place + size > len(data):
                raise ValueError("cut off")
            yield key >> 3, data[place : place + size]
            place += size
        elif kind in (_FIXED64, _FIXED32):
            place += 8 if kind == _FIXED64 else 4
        else:
            raise ValueError(f"wire type {kind}")


def _varint(data: memoryview, place: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 70:
        byte = data[place]
        value |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if byte < 0x80:
            return value, place
    raise ValueError("varint of more than 10 bytes")
