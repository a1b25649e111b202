"""Convert an OpenVINO IR to ONNX where that is exact: every operation has a counterpart, and the vectors agree.

    IR -> constants folded -> one ONNX node per operation -> both run on the same images, one by one and as a batch

Covered are the operations of convolutional embedders. Any other network stays an IR, which OpenVINO alone serves.

Sources: https://docs.openvino.ai/2025/documentation/openvino-ir-format/operation-sets/available-opsets.html and
https://onnx.ai/onnx/operators/ (opset 17).

Letters: b images, c channels, h and w pixels, d dimensions.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

_OPSET = 17
_TOLERANCE = 1e-4
"""Largest |f1 - f2| / |f1| of a vector; rounding of float32 moves vectors of 150 layers by 1e-6."""
_BATCH = 3
_ELEMENTWISE = {
    "Add": "Add", "Subtract": "Sub", "Multiply": "Mul", "Divide": "Div", "Relu": "Relu", "Sigmoid": "Sigmoid",
    "Tanh": "Tanh", "Sqrt": "Sqrt", "Exp": "Exp", "HSwish": "HardSwish",
}  # fmt: skip


class InexactError(Exception):
    """A network has no exact ONNX counterpart; the message has the reason."""


def converted(network: Any, compile_model: Callable[[Any], Any]) -> bytes:
    """Return the ONNX file of an embedder with inputs (b, 3, h, w) and vectors (b, d).

    Args:
        network: an OpenVINO network of a fixed image size, float32 at both ends; it is left as it is.
        compile_model: compiles a network in float32.

    Raises:
        InexactError: an operation has no counterpart, the package `onnx` is missing, or the vectors differ.
    """
    try:
        import onnx
    except ImportError as error:
        raise InexactError("the package onnx is not installed") from error
    import openvino
    from openvino.passes import ConstantFolding, Manager

    shape = network.inputs[0].partial_shape
    if any(side.is_dynamic for side in list(shape)[1:]):
        raise InexactError(f"its input {shape} has no fixed size")
    fixed = network.clone()
    fixed.reshape([1, *(side.get_length() for side in list(shape)[1:])])
    manager = Manager()
    manager.register_pass(ConstantFolding())
    manager.run_passes(fixed)
    content = _Writer(onnx).write(fixed)
    images = np.random.default_rng(7).uniform(0, 255, (_BATCH, *fixed.inputs[0].shape[1:])).astype(np.float32)
    ours, theirs = compile_model(openvino.Core().read_model(content)), compile_model(fixed)
    expected = np.concatenate([theirs(image[None])[0].copy() for image in images])
    for found in (ours(images)[0], np.concatenate([ours(image[None])[0].copy() for image in images])):
        far = np.linalg.norm(found - expected, axis=1) / np.linalg.norm(expected, axis=1)
        if not far.max() <= _TOLERANCE:
            raise InexactError(f"its vectors as ONNX differ by {far.max():.1g} of their length")
    return content


class _Writer:
    """Writes nodes of one network; names are those of the IR, made unique by their number."""

    def __init__(self, onnx: Any) -> None:
        self._onnx = onnx
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._names: dict[str, str] = {}

    def write(self, network: Any) -> bytes:
        """Return the ONNX file of a network with constants folded and a batch of one."""
        result = ""
        for number, op in enumerate(network.get_ordered_ops()):
            kind, name = op.get_type_name(), f"{op.get_friendly_name()}_{number}"
            if kind == "Parameter":
                name = "images"
            elif kind == "Result":
                result = self._names[_source(op, 0)]
                continue
            elif kind == "Constant":
                self._constants.append(self._onnx.numpy_helper.from_array(_stored(op), name))
            else:
                self._write_node(op, kind, name)
            self._names[op.get_friendly_name()] = name
        return self._file(network, result)

    def _file(self, network: Any, result: str) -> bytes:
        helper, kind = self._onnx.helper, self._onnx.TensorProto.FLOAT
        self._add("Identity", [result], "vectors")
        sides = list(network.inputs[0].shape)[1:], list(network.outputs[0].shape)[1:]
        ports = [
            helper.make_tensor_value_info(name, kind, ["batch", *rest])
            for name, rest in zip(("images", "vectors"), sides, strict=True)
        ]
        used = {name for node in self._nodes for name in node.input}
        constants = [tensor for tensor in self._constants if tensor.name in used]
        graph = helper.make_graph(self._nodes, network.get_friendly_name(), ports[:1], ports[1:], constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=8)
        self._onnx.checker.check_model(model)
        return bytes(model.SerializeToString())

    def _write_node(self, op: Any, kind: str, name: str) -> None:
        """Write one operation.

        Raises:
            InexactError: it has no counterpart.
        """
        inputs = [self._names[_source(op, place)] for place in range(op.get_input_size())]
        writers = {
            "Convolution": self._write_convolution, "GroupConvolution": self._write_convolution,
            "MaxPool": self._write_pool, "AvgPool": self._write_pool, "MVN": self._write_instance_norm,
            "PRelu": self._write_prelu, "Clamp": self._write_clamp, "ReduceMean": self._write_mean,
            "Reshape": self._write_reshape, "Squeeze": self._write_reshape, "Unsqueeze": self._write_reshape,
            "Gather": self._write_gather, "Transpose": self._write_transpose, "Concat": self._write_concat,
            "MatMul": self._write_product,
        }  # fmt: skip
        if kind in _ELEMENTWISE:
            self._add(_ELEMENTWISE[kind], inputs, name)
        elif kind in writers:
            writers[kind](op, inputs, name)
        else:
            raise InexactError(f"its {kind} has no counterpart here")

    def _write_convolution(self, op: Any, inputs: list[str], name: str) -> None:
        facts, weights, groups = op.get_attributes(), _constant(op, 1), 1
        if op.get_type_name() == "GroupConvolution":  # (groups, out, in, h, w) -> (groups * out, in, h, w)
            groups, weights = len(weights), weights.reshape(-1, *weights.shape[2:])
        kernel = self._constant(weights.astype(np.float32), f"{name}_weights")
        self._add("Conv", [inputs[0], kernel], name, group=groups, dilations=facts["dilations"], **_window(facts))

    def _write_pool(self, op: Any, inputs: list[str], name: str) -> None:
        facts = op.get_attributes()
        shape = {"kernel_shape": facts["kernel"], "ceil_mode": int(facts["rounding_type"] == "ceil"), **_window(facts)}
        if op.get_type_name() == "AvgPool":
            self._add("AveragePool", inputs[:1], name, count_include_pad=int(not facts["exclude-pad"]), **shape)
        else:
            self._add("MaxPool", inputs[:1], name, dilations=facts["dilations"], **shape)

    def _write_instance_norm(self, op: Any, inputs: list[str], name: str) -> None:
        facts, sides = op.get_attributes(), op.input(0).get_shape()
        axes = sorted(int(axis) % len(sides) for axis in _constant(op, 1).ravel())
        if axes != list(range(2, len(sides))) or facts["eps_mode"].lower() != "inside_sqrt":
            raise InexactError(f"its MVN is over the axes {axes} of {len(sides)}, {facts['eps_mode']}")
        scale, shift = (self._constant(np.full(sides[1], value, np.float32), f"{name}_{value}") for value in (1, 0))
        self._add("InstanceNormalization", [inputs[0], scale, shift], name, epsilon=float(facts["eps"]))

    def _write_prelu(self, op: Any, inputs: list[str], name: str) -> None:
        slope = _constant(op, 1).ravel().astype(np.float32)
        slope = slope.reshape(-1, *(1,) * (len(op.input(0).get_shape()) - 2))  # one per channel, or one in all
        self._add("PRelu", [inputs[0], self._constant(slope, f"{name}_slope")], name)

    def _write_clamp(self, op: Any, inputs: list[str], name: str) -> None:
        ends = [self._constant(np.float32(op.get_attributes()[end]), f"{name}_{end}") for end in ("min", "max")]
        self._add("Clip", [inputs[0], *ends], name)

    def _write_mean(self, op: Any, inputs: list[str], name: str) -> None:
        axes = [int(axis) for axis in _constant(op, 1).ravel()]
        self._add("ReduceMean", inputs[:1], name, axes=axes, keepdims=int(op.get_attributes()["keep_dims"]))

    def _write_reshape(self, op: Any, inputs: list[str], name: str) -> None:
        # A batch of one is a 1 in the shape: 0 copies the size of the input instead.
        shape = np.asarray(op.output(0).get_shape(), np.int64)
        shape[0] = 0 if shape[0] == 1 else shape[0]
        self._add("Reshape", [inputs[0], self._constant(shape, f"{name}_shape")], name)

    def _write_gather(self, op: Any, inputs: list[str], name: str) -> None:
        rows = self._constant(_constant(op, 1).astype(np.int64), f"{name}_rows")
        self._add("Gather", [inputs[0], rows], name, axis=int(_constant(op, 2).ravel()[0]))

    def _write_transpose(self, op: Any, inputs: list[str], name: str) -> None:
        self._add("Transpose", inputs[:1], name, perm=[int(axis) for axis in _constant(op, 1).ravel()])

    def _write_concat(self, op: Any, inputs: list[str], name: str) -> None:
        self._add("Concat", inputs, name, axis=int(op.get_attributes()["axis"]))

    def _write_product(self, op: Any, inputs: list[str], name: str) -> None:
        facts = op.get_attributes()
        if facts["transpose_a"]:
            raise InexactError("its MatMul transposes the first input")
        if facts["transpose_b"]:
            turned = np.swapaxes(_constant(op, 1), -1, -2).astype(np.float32)
            inputs = [inputs[0], self._constant(turned, f"{name}_turned")]
        self._add("MatMul", inputs, name)

    def _add(self, kind: str, inputs: list[str], name: str, **facts: Any) -> None:
        self._nodes.append(self._onnx.helper.make_node(kind, inputs, [name], **facts))

    def _constant(self, values: Any, name: str) -> str:
        self._constants.append(
            self._onnx.numpy_helper.from_array(np.ascontiguousarray(values).reshape(np.shape(values)), name)
        )
        return name


def _source(op: Any, place: int) -> str:
    return str(op.input(place).get_source_output().get_node().get_friendly_name())


def _constant(op: Any, place: int) -> Any:
    """Return the constant at an input.

    Raises:
        InexactError: it is computed.
    """
    node = op.input(place).get_source_output().get_node()
    if node.get_type_name() != "Constant":
        raise InexactError(f"input {place} of its {op.get_type_name()} is computed")
    return node.get_data()


def _stored(op: Any) -> Any:
    """Return a constant as ONNX stores it: float16 as float32, which loses nothing."""
    values = op.get_data()
    return values.astype(np.float32) if values.dtype == np.float16 else values


def _window(facts: dict[str, Any]) -> dict[str, Any]:
    """Return the attributes that convolutions and pools share.

    Raises:
        InexactError: padding is left to the size of the input.
    """
    if facts["auto_pad"] not in ("explicit", "EXPLICIT", "valid"):
        raise InexactError(f"its padding is {facts['auto_pad']}")
    begin, end = list(facts["pads_begin"]), list(facts["pads_end"])
    if facts["auto_pad"] == "valid":
        begin, end = [0] * len(begin), [0] * len(end)
    return {"strides": list(facts["strides"]), "pads": [*begin, *end]}
