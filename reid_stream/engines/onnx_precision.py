"""Convert an ONNX network to the types a GPU computes in, as strongly typed TensorRT needs.

Weights that are stored small (float16, int8) are unpacked to float32 first, so that each is rounded once, from what the
CPU engines compute with. Then every operation gets its floating inputs in 16 bits, but those whose result loses its
meaning there; casts stand where the two meet. Input and output of the network stay float32.

Source: TensorRT documentation, "Migrating from Weak Typing to Strong Typing" (since 11.0 there is no other way).
"""

from collections.abc import Iterable

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper, shape_inference

from reid_stream.bundles.onnx_weights import unpacked
from reid_stream.engines.onnx_io import first_line
from reid_stream.engines.tensorrt_library import Precision
from reid_stream.errors import ModelError

# In float32: generalised-mean pooling (41 to the power of 3 is beyond float16), statistics over an image, softmax, and
# what counts a detector's cells (2049 is no float16). `Cast` names its own type.
_EXACT = frozenset(
    {"Cast", "ConstantOfShape", "Constant", "Range", "Pow", "Reciprocal", "Sqrt", "Exp", "Log", "Softmax"}
    | {"ReduceMean", "ReduceSum", "ReduceL2", "InstanceNormalization", "LayerNormalization", "LpNormalization"}
    | {"NonMaxSuppression", "TopK", "DequantizeLinear", "QuantizeLinear", "Mod", "CumSum"}
)
_DATA_ONLY = frozenset({"Resize", "Upsample"})
"""Only their first input is an image; the others are factors, float32 by definition."""


def strongly_typed(content: bytes, precision: Precision) -> bytes:
    """Return the network (ONNX, float32 arithmetic) in the given precision, with float32 input and output.

    Raises:
        ModelError: it is no ONNX network, or cannot be converted.
    """
    try:
        model = unpacked(onnx.load_from_string(content))
        if precision != "f32":
            _Typing(model, TensorProto.FLOAT16 if precision == "f16" else TensorProto.BFLOAT16).apply()
        return bytes(model.SerializeToString())
    except Exception as error:  # protobuf and onnx each have their own
        raise ModelError(f"the network cannot be put into {precision}: {first_line(error)}; export it again") from error


class _Typing:
    """Put one network into 16 bits."""

    def __init__(self, model: onnx.ModelProto, small: int) -> None:
        self._graph, self._small = model.graph, small
        if any(item.type == onnx.AttributeProto.GRAPH for node in self._graph.node for item in node.attribute):
            raise ValueError("branches and loops (If, Loop, Scan) stay in f32: set models.precision to f32")
        inferred = shape_inference.infer_shapes(model).graph
        known = (*inferred.input, *inferred.output, *inferred.value_info)
        self._types = {value.name: value.type.tensor_type.elem_type for value in known}
        self._types |= {tensor.name: tensor.data_type for tensor in self._graph.initializer}
        self._weights = {tensor.name: tensor for tensor in self._graph.initializer}
        self._is_small: set[str] = set()
        self._cast: dict[tuple[str, int], str] = {}
        self._nodes: list[onnx.NodeProto] = []
        self._added: list[TensorProto] = []

    def apply(self) -> None:
        """Change the network."""
        outputs = {item.name for item in self._graph.output}
        for node in list(self._graph.node):
            floats = [name for name in node.output if name and self._types.get(name) == TensorProto.FLOAT]
            has_data = any(self._types.get(name) == TensorProto.FLOAT for name in node.input)
            goes_small = node.op_type not in _EXACT and has_data
            data = node.input[:1] if node.op_type in _DATA_ONLY else node.input
            wanted = self._small if goes_small else TensorProto.FLOAT
            changed = [self._as(name, wanted) for name in data] + list(node.input[len(data) :])
            del node.input[:]
            node.input.extend(changed)
            self._nodes.append(node)
            if goes_small:
                self._is_small.update(floats)
                for name in outputs.intersection(floats):
                    self._give_back(node, name)
        del self._graph.node[:], self._graph.value_info[:]
        self._graph.node.extend(self._nodes)
        kept = _needed(self._nodes, self._graph.initializer)
        del self._graph.initializer[:]
        self._graph.initializer.extend([*kept, *self._added])

    def _as(self, name: str, wanted: int) -> str:
        """Return the name of a tensor in the type wanted; what is not floating stays as it is."""
        if self._types.get(name) != TensorProto.FLOAT:
            return name
        has = self._small if name in self._is_small else TensorProto.FLOAT
        if has == wanted:
            return name
        if (name, wanted) not in self._cast:
            made = f"{name}.as{wanted}"
            self._cast[name, wanted] = made
            if name in self._weights:
                self._added.append(_rounded(self._weights[name], made, wanted))
            else:
                self._nodes.append(helper.make_node("Cast", [name], [made], to=wanted))
        return self._cast[name, wanted]

    def _give_back(self, node: onnx.NodeProto, name: str) -> None:
        """Let the network's output be float32 under its old name."""
        inner = f"{name}.small"
        node.output[list(node.output).index(name)] = inner
        self._nodes.append(helper.make_node("Cast", [inner], [name], to=TensorProto.FLOAT))
        self._is_small.discard(name)


def _needed(nodes: Iterable[onnx.NodeProto], tensors: Iterable[TensorProto]) -> list[TensorProto]:
    used = {name for node in nodes for name in node.input}
    return [tensor for tensor in tensors if tensor.name in used]


def _rounded(tensor: TensorProto, name: str, wanted: int) -> TensorProto:
    values = np.ascontiguousarray(numpy_helper.to_array(tensor), dtype=np.float32)
    if wanted == TensorProto.FLOAT16:
        most = np.finfo(np.float16).max
        return numpy_helper.from_array(np.clip(values, -most, most).astype(np.float16), name)
    bits = values.view(np.uint32)
    nearest = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")  # halves to even
    return TensorProto(name=name, data_type=wanted, dims=values.shape, raw_data=nearest.tobytes())
