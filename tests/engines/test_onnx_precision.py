"""A network converted to 16 bits gives the same results; exact parts, input and output stay."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from reid_stream.bundles import bundle
from reid_stream.bundles.catalog import SHIPPED
from reid_stream.bundles.onnx_weights import unpacked
from reid_stream.engines.onnx_precision import strongly_typed
from reid_stream.engines.tensorrt_library import Precision
from reid_stream.errors import ModelError
from tests.engines.networks import channel_means


def _run(content: bytes, batch: np.ndarray) -> np.ndarray:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, 1
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    (answer,) = session.run(None, {session.get_inputs()[0].name: batch})
    return np.asarray(answer)


def _types(content: bytes) -> dict[str, int]:
    graph = onnx.shape_inference.infer_shapes(onnx.load_from_string(content), strict_mode=True).graph
    return {value.name: value.type.tensor_type.elem_type for value in (*graph.value_info, *graph.input, *graph.output)}


@pytest.mark.parametrize("kind", ["embedder", "detector"])
def test_a_shipped_network_in_16_bits_answers_as_in_32(kind: str) -> None:
    folder = SHIPPED / kind
    content, probe = (folder / "model.onnx").read_bytes(), bundle.probe_input(bundle.load(folder))
    half = strongly_typed(content, "f16")
    found, expected = _run(half, probe), _run(content, probe)
    assert found.dtype == np.float32
    assert np.linalg.norm(found - expected) < 0.01 * np.linalg.norm(expected)
    assert not np.array_equal(found, expected)
    types = _types(half)
    convolved = [node.output[0] for node in onnx.load_from_string(half).graph.node if node.op_type == "Conv"]
    assert {types[name] for name in convolved} == {TensorProto.FLOAT16}


def test_bfloat16_weights_are_the_nearest_there_are(tmp_path: Path) -> None:
    model = onnx.load_from_string(strongly_typed(channel_means(tmp_path / "m.onnx").read_bytes(), "bf16"))
    (small,) = [item for item in model.graph.initializer if item.data_type == TensorProto.BFLOAT16]
    exact = numpy_helper.to_array(onnx.load(tmp_path / "m.onnx").graph.initializer[0])
    found = numpy_helper.to_array(small).astype(np.float32)
    np.testing.assert_allclose(found, exact, rtol=2**-8)
    assert {model.graph.input[0].type.tensor_type.elem_type, model.graph.output[0].type.tensor_type.elem_type} == {
        TensorProto.FLOAT
    }


def test_a_power_beyond_float16_stays_exact() -> None:
    nodes = [
        helper.make_node("Relu", ["images"], ["positive"]),
        helper.make_node("Pow", ["positive", "three"], ["cubed"]),
        helper.make_node("ReduceMean", ["cubed", "axes"], ["mean"], keepdims=0),
        helper.make_node("Pow", ["mean", "third"], ["pooled"]),
        helper.make_node("MatMul", ["pooled", "weights"], ["vectors"]),
    ]
    constants: dict[str, np.ndarray] = {
        "three": np.array([3], np.float32),
        "third": np.array([1 / 3], np.float32),
        "axes": np.array([2, 3]),
        "weights": np.eye(3, dtype=np.float32),
    }
    graph = helper.make_graph(
        nodes,
        "pool",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["b", 3, 4, 4])],
        [helper.make_tensor_value_info("vectors", TensorProto.FLOAT, ["b", 3])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    content = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9).SerializeToString()
    batch = np.full((2, 3, 4, 4), 100, dtype=np.float32)
    assert float(np.finfo(np.float16).max) < 100**3
    np.testing.assert_allclose(_run(strongly_typed(content, "f16"), batch), 100, rtol=1e-3)


def test_small_weights_are_unpacked_to_what_they_stand_for() -> None:
    whole = np.array([[1, -2], [3, 4], [-5, 6]], dtype=np.int8)
    scale = np.array([0.5, 2], np.float32)
    nodes = [
        helper.make_node("DequantizeLinear", ["whole", "scale"], ["weights"], axis=1),
        helper.make_node("Cast", ["half"], ["shift"], to=TensorProto.FLOAT),
        helper.make_node("Gemm", ["x", "weights", "shift"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["b", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["b", 2])],
        [
            numpy_helper.from_array(np.asarray(value), name)
            for name, value in (("whole", whole), ("scale", scale), ("half", np.array([0.25, -1], np.float16)))
        ],
    )
    found = unpacked(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]))
    assert [node.op_type for node in found.graph.node] == ["Gemm"]
    values = {item.name: numpy_helper.to_array(item) for item in found.graph.initializer}
    np.testing.assert_array_equal(values["weights"], whole * scale)
    np.testing.assert_array_equal(values["shift"], np.array([0.25, -1], np.float32))


@pytest.mark.parametrize("precision", ["f32", "f16", "bf16"])
def test_what_is_no_network_is_refused(precision: Precision) -> None:
    with pytest.raises(ModelError, match="export it again"):
        strongly_typed(b"not a network", precision)
