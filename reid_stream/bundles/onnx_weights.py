"""Weights of ONNX networks that are stored small (float16, int8), and quantisation as far as every engine knows it."""

from typing import Any

import ml_dtypes
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

_PER_CHANNEL = 13
"""Opset from which `DequantizeLinear` may have a scale per channel (ONNX 1.8)."""
_LIMITS_BY_INPUT = 11
"""Opset from which `Clip` takes its limits as inputs; before, they are attributes (ONNX 1.6)."""
_EIGHT_BITS = (TensorProto.INT8, TensorProto.UINT8)


def with_known_quantisation(content: bytes) -> bytes:
    """Return a network in the quantisation that OpenVINO computes rightly; the same content where it is that already.

    ONNX Runtime's quantiser writes scales per channel into networks of opset 11 or 12, which OpenVINO refuses: such
    weights become float32. Between operators it offers 16 bits (and float8), where OpenVINO 2026 gives wrong answers
    without an error: such pairs of `QuantizeLinear` and `DequantizeLinear` become a `Clip` to the range that they
    represent, which often stands for a Relu that the quantiser has taken out.
    """
    if b"QuantizeLinear" not in content:
        return content
    model = onnx.load_from_string(content)
    opset = next((item.version for item in model.opset_import if item.domain in ("", "ai.onnx")), 1)
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes = model.graph.node
    has_channels = any(
        node.op_type == "DequantizeLinear" and int(np.prod(stored[node.input[1]].dims)) > 1
        for node in nodes
        if len(node.input) > 1 and node.input[1] in stored
    )
    wide = {node.output[0]: made for node in nodes if (made := _clip(node, stored, opset)) is not None}
    if not wide and not (has_channels and opset < _PER_CHANNEL):
        return content
    kept = []
    for node in nodes:
        if node.output[0] in wide:
            clip, limits = wide[node.output[0]]
            kept.append(clip)
            model.graph.initializer.extend(limits)
        elif node.op_type == "DequantizeLinear" and node.input[0] in wide:
            kept.append(helper.make_node("Identity", [node.input[0]], [node.output[0]]))
        else:
            kept.append(onnx.NodeProto.FromString(node.SerializeToString()))
    del nodes[:]
    nodes.extend(kept)
    return bytes(unpacked(model).SerializeToString())


def unpacked(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the network with weights stored small (`Cast`, `DequantizeLinear` of constants) as float32 constants."""
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    kept = []
    for node in model.graph.node:
        found = [stored[name] for name in node.input if name in stored]
        is_weight = node.op_type in ("Cast", "DequantizeLinear") and len(found) == len(node.input)
        if is_weight and (node.op_type != "Cast" or _cast_to(node) == TensorProto.FLOAT):
            stored[node.output[0]] = numpy_helper.from_array(_value(node, found), node.output[0])
        else:
            kept.append(node)
    needed = {name for node in kept for name in node.input} | {item.name for item in model.graph.output}
    out = onnx.ModelProto()
    out.CopyFrom(model)
    del out.graph.node[:], out.graph.initializer[:]
    out.graph.node.extend(kept)
    out.graph.initializer.extend(tensor for name, tensor in stored.items() if name in needed)
    return out


def _clip(
    node: onnx.NodeProto, stored: dict[str, TensorProto], opset: int
) -> tuple[onnx.NodeProto, list[TensorProto]] | None:
    """Return the `Clip` that does what a `QuantizeLinear` of other than 8 bits does but for rounding, and its limits.

    None for 8 bits, for a scale per channel, and where the scale is no constant.
    """
    if node.op_type != "QuantizeLinear" or len(node.input) < 3 or not set(node.input[1:]) <= stored.keys():
        return None
    scale, zero = (stored[name] for name in node.input[1:])
    kind = zero.data_type
    if kind in _EIGHT_BITS or int(np.prod(scale.dims)) > 1:
        return None
    real = helper.tensor_dtype_to_np_dtype(kind)
    known: Any = (ml_dtypes.iinfo if "int" in str(real) else ml_dtypes.finfo)(real)
    offset = float(numpy_helper.to_array(zero).astype(np.float32).reshape(-1)[0])
    factor = float(numpy_helper.to_array(scale).reshape(-1)[0])
    least, most = ((float(limit) - offset) * factor for limit in (known.min, known.max))
    if opset < _LIMITS_BY_INPUT:
        return helper.make_node("Clip", node.input[:1], node.output[:1], min=least, max=most), []
    names = [f"{node.output[0]}_least", f"{node.output[0]}_most"]
    limits = [
        numpy_helper.from_array(np.array(value, np.float32), name)
        for name, value in zip(names, (least, most), strict=True)
    ]
    return helper.make_node("Clip", [node.input[0], *names], node.output[:1]), limits


def _value(node: onnx.NodeProto, found: list[TensorProto]) -> np.ndarray:
    whole, *rest = (numpy_helper.to_array(tensor) for tensor in found)
    if node.op_type == "Cast":
        return np.asarray(whole, dtype=np.float32)
    axis = next((item.i for item in node.attribute if item.name == "axis"), 1)
    shape = [1] * whole.ndim
    if rest[0].size > 1:
        shape[axis] = -1
    zero = rest[1].reshape(shape).astype(np.float32) if len(rest) > 1 else np.float32(0)
    return np.asarray((whole.astype(np.float32) - zero) * rest[0].reshape(shape), dtype=np.float32)


def _cast_to(node: onnx.NodeProto) -> int:
    return next(int(item.i) for item in node.attribute if item.name == "to")
