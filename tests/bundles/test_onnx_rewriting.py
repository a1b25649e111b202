"""Networks of other shapes and number formats are served alike by every engine, or refused with the reason."""

from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from reid_stream.bundles.wrap import wrap_detector, wrap_embedder
from reid_stream.config.settings import Models
from reid_stream.engines.load import load_engine
from reid_stream.errors import ModelError
from tests.bundles.test_wrap import BOX, CELLS, network, person_found, rows_of

WEIGHTS = np.random.default_rng(0).normal(0, 1, (8, 3)).astype(np.float32)
IMAGES = np.random.default_rng(1).normal(0, 1, (3, 3, 24, 16)).astype(np.float32)


def embedder(
    path: Path,
    shape: list[int | None],
    *,
    kind: int = TensorProto.FLOAT,
    reshape: list[int] | None = None,
    weights: np.ndarray = WEIGHTS,
) -> Path:
    """Write a network whose vector of 8 numbers is a linear map of the channels' means."""
    real = helper.tensor_dtype_to_np_dtype(kind)
    axes = [1, 2] if shape[-1] == 3 else [2, 3]
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["means"], axes=axes, keepdims=0),
        helper.make_node("MatMul", ["means", "weights"], ["raw"]),
        helper.make_node("Reshape", ["raw", "to"], ["vector"]),
    ]
    to = reshape or [-1, 8]
    constants = [
        numpy_helper.from_array(weights.T.astype(real), "weights"),
        numpy_helper.from_array(np.array(to, np.int64), "to"),
    ]
    image = helper.make_tensor_value_info("images", kind, shape)
    port = helper.make_tensor_value_info("vector", kind, [None, *to[1:]])
    graph = helper.make_graph(nodes, "tiny", [image], [port], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


@pytest.mark.parametrize(
    ("shape", "kind", "reshape"),
    [
        ([None, 24, 16, 3], TensorProto.FLOAT, None),
        ([None, 3, 24, 16], TensorProto.DOUBLE, None),
        ([None, 3, 24, 16], TensorProto.BFLOAT16, None),
        ([None, 24, 16, 3], TensorProto.FLOAT16, [-1, 1, 8]),
        ([None, 3, 24, 16], TensorProto.FLOAT, [-1, 8, 1, 1]),
        ([None, 3, 24, 16], TensorProto.FLOAT, [1, 8]),  # a dynamic batch that works for one image alone
        ([1, 3, 24, 16], TensorProto.FLOAT, [1, 8]),
    ],
)
@pytest.mark.parametrize("engine", ["openvino", "onnx"])
def test_an_embedder_gives_the_same_vectors_for_a_batch_whatever_its_form(
    tmp_path: Path, engine: Literal["openvino", "onnx"], shape: list[int | None], kind: int, reshape: list[int] | None
) -> None:
    made = wrap_embedder(embedder(tmp_path / "m.onnx", shape, kind=kind, reshape=reshape), tmp_path / "out")
    assert (made.dim, made.input.height, made.input.width) == (8, 24, 16)
    found = load_engine(tmp_path / "out" / "model.onnx", Models(engine=engine, precision="f32"))(IMAGES)
    np.testing.assert_allclose(found, IMAGES.mean((2, 3)) @ WEIGHTS.T, atol=0.01)


@pytest.mark.parametrize("engine", ["openvino", "onnx"])
def test_vectors_longer_than_a_bundles_are_projected_and_keep_their_cosines(
    tmp_path: Path, engine: Literal["openvino", "onnx"]
) -> None:
    weights = np.random.default_rng(2).normal(0, 1, (2048, 3)).astype(np.float32)
    lines: list[str] = []
    network = embedder(tmp_path / "m.onnx", [None, 3, 24, 16], weights=weights, reshape=[-1, 2048])
    made = wrap_embedder(network, tmp_path / "out", log=lines.append)
    assert made.dim == 512
    assert "2048 numbers are projected to 512" in lines[0]
    found = load_engine(tmp_path / "out" / "model.onnx", Models(engine=engine, precision="f32"))(IMAGES)
    whole = IMAGES.mean((2, 3)) @ weights.T
    unit, wanted = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in (found, whole))
    np.testing.assert_allclose(unit @ unit.T, wanted @ wanted.T, atol=0.15)  # four times what the log states


def test_a_network_for_batches_of_four_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"any number of images or one, .* takes 4; export it again"):
        wrap_embedder(embedder(tmp_path / "m.onnx", [4, 3, 24, 16], reshape=[4, 8]), tmp_path / "out")


def test_a_network_that_gives_no_finite_numbers_is_refused(tmp_path: Path) -> None:
    weights = WEIGHTS.copy()
    weights[0, 0] = np.nan
    with pytest.raises(ModelError, match="must give finite numbers"):
        wrap_embedder(embedder(tmp_path / "m.onnx", [None, 3, 24, 16], weights=weights), tmp_path / "out")


@pytest.mark.parametrize("opset", [7, 12])
@pytest.mark.parametrize(("layout", "rows"), [("yolo_transposed", CELLS), ("yolov5", 3 * CELLS), ("rtdetr", 300)])
def test_detectors_of_old_opsets_are_converted(tmp_path: Path, layout: str, rows: int, opset: int) -> None:
    model = onnx.load(network(tmp_path / "m.onnx", rows_of(layout, 80, 0, rows)))
    model.opset_import[0].version = opset
    onnx.save(model, tmp_path / "m.onnx")
    made = wrap_detector(tmp_path / "m.onnx", tmp_path / "out")
    np.testing.assert_allclose(person_found(made, tmp_path / "out"), [BOX], atol=0.1)


def quantised(path: Path, kind: int, *, opset: int = 21, per_channel: bool = False) -> Path:
    """Write an embedder whose vectors are quantised to [0, most] (a Relu is part of it), its weights to int8."""
    model = onnx.load(embedder(path, [None, 3, 24, 16]))
    real = helper.tensor_dtype_to_np_dtype(kind)
    scale = np.abs(WEIGHTS.T).max(axis=0 if per_channel else None) / np.float32(127)
    stored = {
        "stored": np.round(WEIGHTS.T / scale).astype(np.int8),
        "scale": scale.astype(np.float32),
        "zero": np.zeros(scale.shape, np.int8),
        "step": np.array(0.01, np.float32),
        "nothing": np.zeros((), real),
    }
    del model.graph.initializer[0]
    model.graph.initializer.extend(numpy_helper.from_array(values, name) for name, values in stored.items())
    model.graph.node[2].input[0] = "range"
    node = helper.make_node("DequantizeLinear", ["stored", "scale", "zero"], ["weights"])
    if per_channel:
        node.attribute.append(helper.make_attribute("axis", 1))
    model.graph.node.insert(0, node)
    model.graph.node.insert(3, helper.make_node("QuantizeLinear", ["raw", "step", "nothing"], ["small"]))
    model.graph.node.insert(4, helper.make_node("DequantizeLinear", ["small", "step", "nothing"], ["range"]))
    if opset > 17:
        del model.graph.node[1].attribute[0]
        model.graph.initializer.append(numpy_helper.from_array(np.array([2, 3]), "axes"))
        model.graph.node[1].input.append("axes")
    model.opset_import[0].version = opset
    model.ir_version = 10
    onnx.save(model, path)
    return path


@pytest.mark.parametrize(
    ("kind", "opset", "per_channel"),
    [
        (TensorProto.UINT8, 13, False),
        (TensorProto.UINT8, 13, True),
        (TensorProto.UINT8, 12, True),  # what ONNX Runtime's quantiser writes, though only opset 13 allows it
        (TensorProto.UINT16, 21, False),
        (TensorProto.UINT16, 21, True),
    ],
)
@pytest.mark.parametrize("engine", ["openvino", "onnx"])
def test_quantised_networks_answer_alike_in_every_engine(
    tmp_path: Path, engine: Literal["openvino", "onnx"], kind: int, opset: int, per_channel: bool
) -> None:
    wrap_embedder(quantised(tmp_path / "m.onnx", kind, opset=opset, per_channel=per_channel), tmp_path / "out")
    found = load_engine(tmp_path / "out" / "model.onnx", Models(engine=engine))(IMAGES)
    expected = np.clip(IMAGES.mean((2, 3)) @ WEIGHTS.T, 0, None)
    assert expected.max() > 0.05
    np.testing.assert_allclose(found, expected, atol=0.012)


def test_quantised_operators_that_openvino_lacks_are_named(tmp_path: Path) -> None:
    model = onnx.load(embedder(tmp_path / "m.onnx", [None, 3, 24, 16]))
    model.graph.node[2].op_type, model.graph.node[2].domain = "QGemm", "com.microsoft"
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(ModelError, match=r"does not know com\.microsoft\.QGemm; .*QDQ"):
        wrap_embedder(tmp_path / "m.onnx", tmp_path / "out")


def test_operators_of_one_engine_are_named(tmp_path: Path) -> None:
    node = helper.make_node("EfficientNMS_TRT", ["images"], ["boxes"], domain="TRT")
    ports = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("images", [1, 3, 64, 64]), ("boxes", [1, 100, 6]))
    ]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("TRT", 1)]
    onnx.save(
        helper.make_model(helper.make_graph([node], "g", ports[:1], ports[1:]), opset_imports=opsets, ir_version=9),
        tmp_path / "m.onnx",
    )
    with pytest.raises(ModelError, match=r"has TRT\.EfficientNMS_TRT, .*without suppression"):
        wrap_detector(tmp_path / "m.onnx", tmp_path / "out")


def test_a_network_with_a_second_input_is_refused_before_its_outputs_are_asked_about(tmp_path: Path) -> None:
    model = onnx.load(network(tmp_path / "m.onnx", rows_of("yolo", 1, 0, CELLS).T, np.zeros(3, np.float32)))
    model.graph.input.append(helper.make_tensor_value_info("orig_target_sizes", TensorProto.INT64, [1, 2]))
    model.graph.node.append(helper.make_node("Identity", ["orig_target_sizes"], ["sizes"]))
    model.graph.output.append(helper.make_tensor_value_info("sizes", TensorProto.INT64, [1, 2]))
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(ModelError, match="must have one input"):
        wrap_detector(tmp_path / "m.onnx", tmp_path / "out")


def test_weights_behind_the_links_of_a_download_cache_are_taken_in(tmp_path: Path) -> None:
    blobs, linked = tmp_path / "blobs", tmp_path / "snapshots" / "a"
    blobs.mkdir()
    linked.mkdir(parents=True)
    model = onnx.load(embedder(tmp_path / "m.onnx", [None, 3, 24, 16]))
    onnx.save(model, blobs / "m.onnx", save_as_external_data=True, location="m.onnx_data", size_threshold=0)
    for name in ("m.onnx", "m.onnx_data"):
        (blobs / name).rename(blobs / f"{name}-content")
        (linked / name).symlink_to(f"../../blobs/{name}-content")
    assert wrap_embedder(linked / "m.onnx", tmp_path / "out").dim == 8
    (tmp_path / "secret").write_bytes((blobs / "m.onnx_data-content").read_bytes())
    (linked / "m.onnx_data").unlink()
    (linked / "m.onnx_data").symlink_to(tmp_path / "secret")
    with pytest.raises(ModelError, match="must be in its folder"):
        wrap_embedder(linked / "m.onnx", tmp_path / "second")
