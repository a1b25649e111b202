"""int8: a real network is quantised and served, and offered only where it is as good and faster."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from reid_stream.bundles import bundle
from reid_stream.bundles.bundle import probe_input
from reid_stream.bundles.catalog import SHIPPED
from reid_stream.config.settings import Models
from reid_stream.engines.load import load_engine
from reid_stream.errors import ModelError
from trainer.errors import TrainerError
from trainer.export.int8 import KEPT_TYPES, MIN_SPEED, Measured, Quality

pytest.importorskip("nncf", reason="needs nncf: pip install 'reid-stream[int8]' on Python 3.11")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped embedder in int8, its ranges from blocks of colour."""
    from trainer.export.quantise import quantise

    folder = SHIPPED / "embedder"
    found = bundle.load(folder)
    inputs = [probe_input(found, seed) for seed in range(8)]
    path = tmp_path_factory.mktemp("int8") / "model.onnx"
    path.write_bytes(quantise((folder / "model.onnx").read_bytes(), inputs, keep_types=KEPT_TYPES["embedder"]))
    return path


@pytest.mark.slow
def test_weights_and_activations_are_int8_and_the_answers_near(small: Path) -> None:
    folder = SHIPPED / "embedder"
    batch = np.concatenate([probe_input(bundle.load(folder), seed) for seed in range(4)])
    nodes = onnx.load(small).graph.node
    assert sum(node.op_type == "QuantizeLinear" for node in nodes) > 40
    restored = {name for node in nodes if node.op_type == "DequantizeLinear" for name in node.output}
    assert not any(restored.intersection(node.input) for node in nodes if node.op_type in ("MatMul", "Pow"))
    engine = load_engine(small, Models(threads=1))
    assert engine.name == "openvino cpu int8"
    found, expected = engine(batch), load_engine(folder / "model.onnx", Models(threads=1))(batch)
    cosines = (found * expected).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(expected, axis=1)
    assert 0.8 < cosines.min() < 0.99999
    np.testing.assert_array_equal(found[:1], engine(batch[:1]))


def test_bf16_cannot_be_asked_of_it(small: Path) -> None:
    with pytest.raises(ModelError, match="computes in int8, got bf16"):
        load_engine(small, Models(precision="bf16", engine="openvino"))


def test_it_must_be_as_good_and_faster() -> None:
    good, bad = Quality("set.mAP", 0.8, 0.797), Quality("set.mAP", 0.8, 0.79)
    assert Measured([good], "openvino cpu f32", 2.0, 1.0).faults == ()
    assert "0.005 of 0.8000, got 0.7900" in Measured([bad], "openvino cpu f32", 2.0, 1.0).faults[0]
    assert "got 1.00 times" in Measured([good], "openvino cpu bf16", 1.0, 1.0).faults[0]
    assert Measured([Quality("set.mAP", 0.8, float("nan"))], "x", 2.0, 1.0).faults
    assert Measured([good], "x", MIN_SPEED, 1.0).speed == MIN_SPEED


def test_a_network_that_cannot_be_quantised_is_one_error() -> None:
    from trainer.export.quantise import quantise

    with pytest.raises(TrainerError, match="nncf cannot quantise"):
        quantise(b"not a network", [np.zeros((1, 3, 8, 8), np.float32)])
    with pytest.raises(TrainerError, match="needs pictures"):
        quantise((SHIPPED / "embedder" / "model.onnx").read_bytes(), [])
