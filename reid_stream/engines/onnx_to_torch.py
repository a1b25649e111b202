"""Run an ONNX graph as torch calls; covers about forty operations of detectors and re-ID networks.

    read(content) -> Network;  Network.at(shape) -> Step: numbers (b, 3, h, w) -> first output

A network is specialised to a size of input first: everything that follows from sizes and weights alone (the cells of a
detector, the shapes to reshape to) is worked out once on the CPU and put on the device. What is left takes no
decision and copies nothing, so it can be captured as a CUDA graph.

`onnx2torch` (1.5.15 of 2024, the newest) would be the library for this; it refuses weights behind a `Cast`, does not
know a batch normalisation of vectors (OSNet has one), and indexes in a way that torch 2.9 dropped.

Source: ONNX operator specifications, opset 11 to 21.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, numpy_helper
from torch.nn import functional

from reid_stream.bundles.onnx_weights import unpacked
from reid_stream.engines.onnx_io import Shape, first_line
from reid_stream.errors import ModelError

Value = torch.Tensor
Step = Callable[[Value], Value]
_DTYPES = {
    TensorProto.FLOAT: torch.float32, TensorProto.FLOAT16: torch.float16, TensorProto.BFLOAT16: torch.bfloat16,
    TensorProto.INT64: torch.int64, TensorProto.INT32: torch.int32, TensorProto.BOOL: torch.bool,
    TensorProto.DOUBLE: torch.float64, TensorProto.UINT8: torch.uint8,
}  # fmt: skip

_READ_NUMBERS = frozenset(
    {"Reshape", "Slice", "Split", "Squeeze", "Unsqueeze", "Expand", "Resize", "ReduceMean", "ReduceSum", "ReduceL2"}
)
"""Operators whose other inputs are sizes and places: read from main memory, or each call would wait for the GPU."""


class TorchGraph:
    """A network that can be specialised to sizes of input."""

    def __init__(self, content: bytes, device: str) -> None:
        """Read ONNX.

        Raises:
            ModelError: it is no ONNX network, or has an operation that is not known here.
        """
        try:
            self._graph = unpacked(onnx.load_from_string(content)).graph
        except Exception as error:  # protobuf and onnx each have their own
            raise ModelError(f"a network must be ONNX: {first_line(error)}; export it again") from error
        unknown = sorted({node.op_type for node in self._graph.node} - set(_OPERATIONS))
        if unknown:
            raise ModelError(
                f"the engine torch does not know the operations {', '.join(unknown)}; set models.engine to auto"
            )
        self._device = torch.device(device)
        self._weights = {tensor.name: _tensor(tensor) for tensor in self._graph.initializer}
        self._there: dict[str, Value] = {}
        """Weights on the device."""
        named = [port for port in self._graph.input if port.name not in self._weights]
        self.inputs = [_shape(port) for port in named]
        self.outputs = [_shape(port) for port in self._graph.output]
        self._input = named[0].name if named else ""

    def at(self, shape: tuple[int, ...]) -> Step:
        """Return the network for inputs of one shape (b, 3, h, w).

        Raises:
            ModelError: the network cannot take this shape.
        """
        try:
            with torch.inference_mode():
                return self._specialise(shape)
        except ModelError:
            raise
        except Exception as error:  # torch's own kinds
            raise ModelError(f"the network must take inputs of {shape}: {first_line(error)}") from error

    def _placed(self, name: str, value: Value, device: torch.device) -> Value:
        """Put a value where it is used; weights once for all sizes."""
        if name not in self._weights or device != self._device:
            return value.to(device)
        if name not in self._there:
            self._there[name] = value.to(device)
        return self._there[name]

    def _specialise(self, shape: tuple[int, ...]) -> Step:
        known: dict[str, Value] = dict(self._weights)
        sizes: dict[str, torch.Size] = {self._input: torch.Size(shape)}
        moving = {self._input: torch.zeros(shape, device=self._device)}
        calls: list[tuple[list[str], Callable[[dict[str, Value]], Sequence[Value]]]] = []
        for node in self._graph.node:
            attributes = {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}
            operation, names = _OPERATIONS[node.op_type], list(node.input)
            if node.op_type == "Shape":
                size = sizes[names[0]] if names[0] in sizes else known[names[0]].shape
                known[node.output[0]] = torch.tensor(size[attributes.get("start", 0) : attributes.get("end")])
                continue
            if not any(name in moving for name in names):
                made = operation(attributes, *(known[name] if name else None for name in names))
                known.update(zip(node.output, made, strict=False))
                continue
            device = self._device if node.op_type not in _READ_NUMBERS else torch.device("cpu")
            call = self._call(operation, attributes, names, set(moving), known, device)
            made = call(moving)
            calls.append((list(node.output), call))
            moving.update(zip(node.output, made, strict=False))
            sizes.update({name: value.shape for name, value in zip(node.output, made, strict=False)})
        wanted, entry = self._graph.output[0].name, self._input

        def step(numbers: Value) -> Value:
            values = {entry: numbers}
            for outputs, call in calls:
                values.update(zip(outputs, call(values), strict=False))
            return values[wanted]

        return step

    def _call(
        self,
        operation: "Operation",
        attributes: dict[str, Any],
        names: list[str],
        moving: set[str],
        known: dict[str, Value],
        device: torch.device,
    ) -> Callable[[dict[str, Value]], Sequence[Value]]:
        """Bind what does not change, where it is used: nothing crosses to the device in a call."""
        fixed = [None if not name or name in moving else self._placed(name, known[name], device) for name in names]
        places = [(place, name) for place, name in enumerate(names) if name in moving]

        def call(values: dict[str, Value]) -> Sequence[Value]:
            arguments = list(fixed)
            for place, name in places:
                arguments[place] = values[name]
            return operation(attributes, *arguments)

        return call


Operation = Callable[..., Sequence[Value]]


def _tensor(tensor: TensorProto) -> Value:
    values = numpy_helper.to_array(tensor)
    if tensor.data_type == TensorProto.BFLOAT16:
        return torch.from_numpy(values.astype(np.float32)).to(torch.bfloat16)
    return torch.from_numpy(np.array(values))


def _shape(port: onnx.ValueInfoProto) -> Shape:
    return tuple(size.dim_value if size.HasField("dim_value") else None for size in port.type.tensor_type.shape.dim)


def _ints(value: Value | None) -> list[int]:
    return [] if value is None else [int(item) for item in value.reshape(-1).tolist()]


def _padded(x: Value, attributes: dict[str, Any], fill: float) -> tuple[Value, list[int]]:
    """Return the image and the remaining padding, the same on both sides; uneven padding is done here."""
    if attributes.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
        raise ModelError("auto_pad must be NOTSET or VALID for the engine torch; export the network again")
    spatial = x.ndim - 2
    pads = list(attributes.get("pads", [0] * 2 * spatial))
    before, after = pads[:spatial], pads[spatial:]
    if before == after:
        return x, before
    flat = [side for pair in zip(reversed(before), reversed(after), strict=True) for side in pair]
    return functional.pad(x, flat, value=fill), [0] * spatial


def _conv(attributes: dict[str, Any], x: Value, weight: Value, bias: Value | None = None) -> Sequence[Value]:
    x, padding = _padded(x, attributes, 0)
    run = functional.conv2d if x.ndim == 4 else functional.conv1d
    stride, dilation = (list(attributes.get(name, [1] * (x.ndim - 2))) for name in ("strides", "dilations"))
    return [run(x, weight, bias, stride, padding, dilation, int(attributes.get("group", 1)))]


def _max_pool(attributes: dict[str, Any], x: Value) -> Sequence[Value]:
    x, padding = _padded(x, attributes, float("-inf"))
    return [
        functional.max_pool2d(
            x,
            list(attributes["kernel_shape"]),
            list(attributes.get("strides", [1, 1])),
            padding,
            list(attributes.get("dilations", [1, 1])),
            bool(attributes.get("ceil_mode", 0)),
        )
    ]


def _average_pool(attributes: dict[str, Any], x: Value) -> Sequence[Value]:
    counts = bool(attributes.get("count_include_pad", 0))
    before = x
    x, padding = _padded(x, attributes, 0)
    if x is not before and not counts:
        raise ModelError("average pooling with uneven padding is not known to the engine torch; use another engine")
    return [
        functional.avg_pool2d(
            x,
            list(attributes["kernel_shape"]),
            list(attributes.get("strides", [1, 1])),
            padding,
            bool(attributes.get("ceil_mode", 0)),
            counts,
        )
    ]


def _batch_norm(
    attributes: dict[str, Any], x: Value, scale: Value, shift: Value, mean: Value, variance: Value
) -> Sequence[Value]:
    return [functional.batch_norm(x, mean, variance, scale, shift, eps=attributes.get("epsilon", 1e-5))]


def _gemm(attributes: dict[str, Any], a: Value, b: Value, c: Value | None = None) -> Sequence[Value]:
    a = a.T if attributes.get("transA") else a
    b = b.T if attributes.get("transB") else b
    product = a @ b * attributes.get("alpha", 1.0)
    return [product if c is None else product + c * attributes.get("beta", 1.0)]


def _reduce(run: Callable[..., Value]) -> Operation:
    def reduced(attributes: dict[str, Any], x: Value, axes: Value | None = None) -> Sequence[Value]:
        over = _ints(axes) or list(attributes.get("axes", range(x.ndim)))
        return [run(x, dim=over, keepdim=bool(attributes.get("keepdims", 1)))]

    return reduced


def _split(attributes: dict[str, Any], x: Value, sizes: Value | None = None) -> Sequence[Value]:
    axis = int(attributes.get("axis", 0))
    parts = _ints(sizes) or list(attributes.get("split", []))
    if not parts:
        raise ModelError("Split must name its sizes for the engine torch; export the network again")
    return torch.split(x, parts, dim=axis)


def _slice(
    attributes: dict[str, Any],
    x: Value,
    starts: Value | None = None,
    ends: Value | None = None,
    axes: Value | None = None,
    steps: Value | None = None,
) -> Sequence[Value]:
    begin, end = (
        _ints(value) or list(attributes.get(name, [])) for value, name in ((starts, "starts"), (ends, "ends"))
    )
    where = _ints(axes) or list(attributes.get("axes", range(len(begin))))
    index = [slice(None)] * x.ndim
    for axis, first, last, step in zip(where, begin, end, _ints(steps) or [1] * len(begin), strict=True):
        if step < 1:
            raise ModelError("Slice must go forwards for the engine torch; use another engine")
        index[axis] = slice(first, last, step)
    return [x[tuple(index)]]


def _reshape(attributes: dict[str, Any], x: Value, shape: Value) -> Sequence[Value]:
    keeps = not attributes.get("allowzero", 0)
    wanted = [x.shape[place] if size == 0 and keeps else size for place, size in enumerate(_ints(shape))]
    return [x.reshape(wanted)]


def _unsqueeze(attributes: dict[str, Any], x: Value, axes: Value | None = None) -> Sequence[Value]:
    where = _ints(axes) or list(attributes["axes"])
    for axis in sorted(axis % (x.ndim + len(where)) for axis in where):
        x = x.unsqueeze(axis)
    return [x]


def _squeeze(attributes: dict[str, Any], x: Value, axes: Value | None = None) -> Sequence[Value]:
    where = _ints(axes) or list(attributes.get("axes", [axis for axis, size in enumerate(x.shape) if size == 1]))
    return [x.squeeze(tuple(where))]


def _resize(
    attributes: dict[str, Any],
    x: Value,
    _region: Value | None = None,
    scales: Value | None = None,
    sizes: Value | None = None,
) -> Sequence[Value]:
    mode = attributes.get("mode", b"nearest").decode()
    place = attributes.get("coordinate_transformation_mode", b"half_pixel").decode()
    known = {("nearest", "asymmetric"): "nearest", ("linear", "half_pixel"): "bilinear"}
    if (mode, place) not in known or (mode == "nearest" and attributes.get("nearest_mode") != b"floor"):
        raise ModelError(f"Resize {mode} by {place} is not known to the engine torch; use another engine")
    if sizes is not None and sizes.numel():
        size = _ints(sizes)[2:]
    else:
        assert scales is not None
        size = [int(side * scale) for side, scale in zip(x.shape[2:], scales.tolist()[2:], strict=True)]
    return [functional.interpolate(x, size=size, mode=known[mode, place])]


def _gather(attributes: dict[str, Any], x: Value, index: Value) -> Sequence[Value]:
    axis = int(attributes.get("axis", 0)) % x.ndim
    where = torch.where(index < 0, index + x.shape[axis], index)
    found = x.index_select(axis, where.reshape(-1))
    return [found.reshape((*x.shape[:axis], *index.shape, *x.shape[axis + 1 :]))]


def _expand(_attributes: dict[str, Any], x: Value, shape: Value) -> Sequence[Value]:
    return [x.expand(np.broadcast_shapes(tuple(x.shape), tuple(_ints(shape))))]


def _constant(attributes: dict[str, Any]) -> Sequence[Value]:
    if "value" in attributes:
        return [_tensor(attributes["value"])]
    kind = torch.float32 if any(name.startswith("value_float") for name in attributes) else torch.int64
    return [torch.tensor(next(iter(attributes.values())), dtype=kind)]


def _constant_of_shape(attributes: dict[str, Any], shape: Value) -> Sequence[Value]:
    fill = _tensor(attributes["value"]) if "value" in attributes else torch.zeros(1)
    return [fill.reshape(-1)[0].expand(_ints(shape)).clone()]


def _clip(attributes: dict[str, Any], x: Value, low: Value | None = None, high: Value | None = None) -> Sequence[Value]:
    least = attributes.get("min") if low is None else low
    most = attributes.get("max") if high is None else high
    return [x if least is None and most is None else torch.clamp(x, least, most)]


def _range(_attributes: dict[str, Any], start: Value, end: Value, step: Value) -> Sequence[Value]:
    return [torch.arange(start.item(), end.item(), step.item(), dtype=start.dtype)]


def _divide(_attributes: dict[str, Any], a: Value, b: Value) -> Sequence[Value]:
    return [a / b if a.is_floating_point() else torch.div(a, b, rounding_mode="trunc")]


def _plain(run: Callable[..., Value]) -> Operation:
    return lambda _attributes, *values: [run(*values)]


def _along(run: Callable[..., Value], default: int) -> Operation:
    return lambda attributes, x: [run(x, int(attributes.get("axis", default)))]


_OPERATIONS: dict[str, Operation] = {
    "Conv": _conv, "MaxPool": _max_pool, "AveragePool": _average_pool, "BatchNormalization": _batch_norm,
    "Gemm": _gemm, "Split": _split, "Slice": _slice, "Reshape": _reshape, "Unsqueeze": _unsqueeze,
    "Squeeze": _squeeze, "Resize": _resize, "Gather": _gather, "Expand": _expand, "Constant": _constant,
    "ConstantOfShape": _constant_of_shape, "Clip": _clip, "Range": _range, "Div": _divide,
    "Add": _plain(torch.add), "Sub": _plain(torch.sub), "Mul": _plain(torch.mul), "Pow": _plain(torch.pow),
    "MatMul": _plain(torch.matmul), "Relu": _plain(torch.relu), "Sigmoid": _plain(torch.sigmoid),
    "Tanh": _plain(torch.tanh), "Exp": _plain(torch.exp), "Sqrt": _plain(torch.sqrt), "Log": _plain(torch.log),
    "Reciprocal": _plain(torch.reciprocal), "Identity": _plain(lambda x: x), "Dropout": _plain(lambda x, *_: x),
    "Softmax": _along(torch.softmax, -1), "Flatten": lambda attributes, x: [
        x.reshape(-1 if attributes.get("axis", 1) else 1, int(np.prod(x.shape[attributes.get("axis", 1) :])))
    ],
    "ReduceMean": _reduce(torch.mean), "ReduceSum": _reduce(torch.sum), "Shape": _plain(lambda x: x),
    "ReduceL2": _reduce(lambda x, dim, keepdim: torch.linalg.vector_norm(x, dim=dim, keepdim=keepdim)),
    "GlobalAveragePool": _plain(lambda x: x.mean(dim=tuple(range(2, x.ndim)), keepdim=True)),
    "Concat": lambda attributes, *values: [torch.cat(values, dim=int(attributes["axis"]))],
    "Transpose": lambda attributes, x: [x.permute(attributes.get("perm", list(reversed(range(x.ndim)))))],
    "Cast": lambda attributes, x: [x.to(_DTYPES[attributes["to"]])],
    "LeakyRelu": lambda attributes, x: [functional.leaky_relu(x, attributes.get("alpha", 0.01))],
    "InstanceNormalization": lambda attributes, x, scale, shift: [
        functional.instance_norm(x, weight=scale, bias=shift, eps=attributes.get("epsilon", 1e-5))
    ],
}  # fmt: skip
