"""The torch engine equals OpenVINO, for the shipped networks and for unusual ones."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from reid_stream.bundles.catalog import SHIPPED
from reid_stream.config.settings import Models
from reid_stream.engines.load import load_engine
from reid_stream.engines.openvino import OpenVinoEngine
from reid_stream.engines.protocol import Pixels, to_numbers
from reid_stream.engines.tensorrt_library import Precision
from reid_stream.engines.torch_engine import TorchEngine
from reid_stream.errors import ModelError
from tests.engines.networks import channel_means

F32 = Models(precision="f32", threads=1)


@pytest.mark.parametrize(("kind", "shape"), [("embedder", (3, 3, 128, 64)), ("detector", (1, 3, 96, 160))])
def test_the_shipped_networks_give_what_openvino_gives(kind: str, shape: tuple[int, ...]) -> None:
    model = SHIPPED / kind / "model.onnx"
    batch = np.random.default_rng(0).random(shape, dtype=np.float32)
    expected = OpenVinoEngine(model, F32)(batch)
    np.testing.assert_allclose(TorchEngine(model, F32)(batch), expected, atol=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize(("kind", "shape"), [("embedder", (2, 3, 128, 64)), ("detector", (2, 3, 96, 160))])
@pytest.mark.parametrize("precision", ["f32", "f16"])
def test_a_call_reads_nothing_from_the_device_and_sends_nothing_there(
    kind: str, shape: tuple[int, ...], precision: Precision
) -> None:
    """On the device `meta` there are no numbers to read, and what lies elsewhere is refused: as in a CUDA graph."""
    import torch

    from reid_stream.engines.onnx_precision import strongly_typed
    from reid_stream.engines.onnx_to_torch import TorchGraph

    content = strongly_typed((SHIPPED / kind / "model.onnx").read_bytes(), precision)
    step = TorchGraph(content, "meta").at(shape)
    with torch.inference_mode():
        answer = step(torch.zeros(shape, device="meta"))
    assert answer.device.type == "meta"
    assert answer.shape == OpenVinoEngine(SHIPPED / kind / "model.onnx", F32)(np.zeros(shape, np.float32)).shape


def test_bf16_is_near_and_not_the_same() -> None:
    model = SHIPPED / "embedder" / "model.onnx"
    batch = np.random.default_rng(0).random((2, 3, 128, 64), dtype=np.float32)
    exact, small = (TorchEngine(model, Models(precision=name, threads=1))(batch) for name in ("f32", "bf16"))
    assert 1e-4 < np.linalg.norm(small - exact) / np.linalg.norm(exact) < 0.05


def test_the_engine_can_be_asked_for_without_a_gpu(tmp_path: Path) -> None:
    engine = load_engine(
        channel_means(tmp_path / "m.onnx"), Models(engine="torch"), pixels=Pixels(mean=(1, 2, 3), colour="bgr")
    )
    pictures = np.random.default_rng(1).integers(0, 256, (5, 24, 16, 3), dtype=np.uint8)
    assert engine.name == "torch cpu f32"
    assert engine.input_shape == (None, 3, None, None)
    expected = load_engine(tmp_path / "m.onnx", F32)(to_numbers(pictures, Pixels(mean=(1, 2, 3), colour="bgr")))
    np.testing.assert_allclose(engine.images(pictures), expected, atol=1e-4)
    assert engine(np.empty((0, 3, 24, 16), np.float32)).shape == (0, 4)


def test_a_fixed_batch_is_filled_up(tmp_path: Path) -> None:
    engine = TorchEngine(channel_means(tmp_path / "m.onnx", batch=2, height=24, width=16), F32)
    batch = np.random.default_rng(0).random((5, 3, 24, 16), dtype=np.float32)
    np.testing.assert_allclose(engine(batch)[4], engine(batch[4:])[0], atol=1e-6)


def test_many_sizes_do_not_pile_up(tmp_path: Path) -> None:
    engine = TorchEngine(channel_means(tmp_path / "m.onnx"), F32)
    for side in range(8, 30):
        engine(np.zeros((1, 3, side, side), np.float32))
    assert len(engine._ready) == 12


def _one(path: Path, nodes: list[Any], constants: dict[str, np.ndarray]) -> Path:
    graph = helper.make_graph(
        nodes,
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["b", 3, "h", "w"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


def _weights(*shape: int) -> np.ndarray:
    return np.random.default_rng(3).normal(size=shape).astype(np.float32)


ODDITIES: dict[str, tuple[list[Any], dict[str, np.ndarray]]] = {
    "uneven padding": (
        [helper.make_node("Conv", ["x", "w"], ["y"], pads=[0, 1, 2, 0], strides=[2, 1])],
        {"w": _weights(4, 3, 3, 3)},
    ),
    "groups and dilation": (
        [helper.make_node("Conv", ["x", "w", "b"], ["y"], group=3, dilations=[2, 2], pads=[2, 2, 2, 2])],
        {"w": _weights(6, 1, 3, 3), "b": _weights(6)},
    ),
    "a slice from behind with a step": (
        [helper.make_node("Slice", ["x", "s", "e", "a", "t"], ["y"])],
        {"s": np.array([-5]), "e": np.array([2**60]), "a": np.array([3]), "t": np.array([2])},
    ),
    "a pool that rounds up": (
        [helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)],
        {},
    ),
    "padding that does not count": (
        [helper.make_node("AveragePool", ["x"], ["y"], kernel_shape=[3, 3], pads=[1, 1, 1, 1])],
        {},
    ),
    "twice the size": (
        [
            helper.make_node(
                "Resize",
                ["x", "", "f"],
                ["y"],
                mode="nearest",
                nearest_mode="floor",
                coordinate_transformation_mode="asymmetric",
            )
        ],
        {"f": np.array([1, 1, 2, 2], np.float32)},
    ),
    "a shape worked out from the input's": (
        [
            helper.make_node("Shape", ["x"], ["size"]),
            helper.make_node("Gather", ["size", "zero"], ["rows"]),
            helper.make_node("Unsqueeze", ["rows", "axis"], ["row"]),
            helper.make_node("Concat", ["row", "rest"], ["wanted"], axis=0),
            helper.make_node("Reshape", ["x", "wanted"], ["y"]),
        ],
        {"zero": np.array(0), "axis": np.array([0]), "rest": np.array([-1])},
    ),
}


@pytest.mark.parametrize("oddity", ODDITIES)
def test_an_oddity_gives_what_openvino_gives(tmp_path: Path, oddity: str) -> None:
    model = _one(tmp_path / "m.onnx", *ODDITIES[oddity])
    batch = np.random.default_rng(0).random((2, 3, 11, 14), dtype=np.float32)
    import openvino

    expected = openvino.Core().compile_model(str(model), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(batch)[0]
    found = TorchEngine(model, F32)(batch)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_an_operation_that_is_not_known_is_named(tmp_path: Path) -> None:
    model = _one(tmp_path / "m.onnx", [helper.make_node("Erf", ["x"], ["y"])], {})
    with pytest.raises(ModelError, match=r"m\.onnx: .*operations Erf; set models\.engine to auto"):
        TorchEngine(model, F32)
