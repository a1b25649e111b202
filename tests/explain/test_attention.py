"""Grad-CAM without a training library, checked by hand on small networks."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from reid_stream.errors import ModelError
from reid_stream.explain.attention import Attention

COLOURS = np.eye(3, dtype=np.float32).reshape(3, 3, 1, 1)
"""A convolution that gives each colour back as a map of its own."""


def network(path: Path, pooling: str, weights: np.ndarray, batch: int | None = None) -> Path:
    """Write images (b, 3, 4, 2) -> ReLU maps of the colours -> pooling -> `weights` (3, d)."""
    nodes = [
        helper.make_node("Conv", ["images", "colours"], ["own"], kernel_shape=[1, 1]),
        helper.make_node("Relu", ["own"], ["maps"]),
        helper.make_node(pooling, ["maps"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weights"], ["vectors"]),
    ]
    return write(path, nodes, {"colours": COLOURS, "weights": weights}, weights.shape[1], batch)


def write(path: Path, nodes: list[onnx.NodeProto], tensors: dict[str, np.ndarray], dim: int, batch: int | None) -> Path:
    graph = helper.make_graph(
        nodes, "drawn",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [batch or "b", 3, 4, 2])],
        [helper.make_tensor_value_info("vectors", TensorProto.FLOAT, [batch or "b", dim])],
        [numpy_helper.from_array(values.astype(np.float32), name) for name, values in tensors.items()],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def image(**patches: tuple[int, int]) -> np.ndarray:
    """Return (3, 4, 2) zeros, with 2.0 at one (row, column) of each named colour."""
    picture = np.zeros((3, 4, 2), np.float32)
    for colour, (row, column) in patches.items():
        picture[["red", "green", "blue"].index(colour), row, column] = 2.0
    return picture


@pytest.mark.parametrize(("pooling", "pixel"), [("GlobalAveragePool", 1 / 8), ("GlobalMaxPool", 1.0)])
def test_a_channels_weight_is_the_mean_gradient_over_its_pixels(tmp_path: Path, pooling: str, pixel: float) -> None:
    weights = np.array([[1.0, 0.0], [0.0, -3.0], [0.5, 2.0]])
    looked = Attention(network(tmp_path / "n.onnx", pooling, weights), 4, 2, threads=1)(
        np.stack([image(red=(0, 1), green=(3, 0), blue=(1, 1)), image(blue=(2, 0))])
    )
    assert looked.vectors == pytest.approx(np.array([[3.0, -2.0], [1.0, 4.0]]) * pixel, abs=1e-6)
    # Of the average, each pixel's gradient is w/8; of the maximum, w at one pixel and 0 elsewhere: w/8 in the mean.
    assert looked.weights[0][0] == pytest.approx(weights / 8, abs=1e-5)
    assert looked.weights[0][1] == pytest.approx(weights * [[0], [0], [1]] / 8, abs=1e-5)  # nothing red or green


def test_heat_lies_where_the_dimension_comes_from_whatever_its_sign(tmp_path: Path) -> None:
    weights = np.array([[1.0, 0.0], [0.0, -3.0], [0.0, 0.0]])
    attention = Attention(network(tmp_path / "n.onnx", "GlobalAveragePool", weights), 4, 2, threads=1)
    looked = attention(np.stack([image(red=(0, 1), green=(3, 0)), image(blue=(2, 0))]))
    red, green = looked.heat(0, 0, (4, 2)), looked.heat(0, 1, (4, 2))
    assert red.argmax() == 1  # row 0, column 1
    assert green.argmax() == 6  # row 3, column 0  # negative: asked what makes it more negative
    assert red.max() == green.max() == 1
    assert not looked.heat(1, 0, (4, 2)).any()  # no channel sees blue
    assert looked.heat(0, 0, (40, 20)).shape == (40, 20)


def test_generalised_mean_pooling_is_looked_through_to_its_map(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["images", "colours"], ["own"], kernel_shape=[1, 1]),
        helper.make_node("Relu", ["own"], ["maps"]),
        helper.make_node("Clip", ["maps", "least"], ["positive"]),
        helper.make_node("Pow", ["positive", "three"], ["cubes"]),
        helper.make_node("ReduceMean", ["cubes"], ["mean"], axes=[2, 3], keepdims=0),
        helper.make_node("Pow", ["mean", "third"], ["vectors"]),
    ]
    tensors = {"colours": COLOURS, "least": np.array(1e-6), "three": np.array(3.0), "third": np.array(1 / 3)}
    attention = Attention(write(tmp_path / "n.onnx", nodes, tensors, 3, None), 4, 2, threads=1)
    assert attention.map_names == ("maps",)
    picture = image(red=(1, 1))
    picture[0, 2, 0] = 1.0
    looked = attention(np.stack([picture, picture]))
    mean = 9 / 8  # of 2^3 and 1^3 over 8 pixels
    # d/dA (mean A^3)^(1/3) = mean^(-2/3) A^2 / 8; over the pixels 2^2 + 1^2, and the mean of that over 8
    assert looked.weights[0][0, 0, 0] == pytest.approx(mean ** (-2 / 3) * 5 / 8 / 8, rel=1e-3)


def test_a_network_with_two_last_maps_is_cut_behind_both(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["images", "colours"], ["own"], kernel_shape=[1, 1]),
        helper.make_node("Relu", ["own"], ["fine"]),
        helper.make_node("AveragePool", ["fine"], ["coarse"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Relu", ["coarse"], ["last"]),
        helper.make_node("GlobalAveragePool", ["last"], ["whole"]),
        helper.make_node("GlobalMaxPool", ["fine"], ["part"]),
        helper.make_node("Concat", ["whole", "part"], ["both"], axis=1),
        helper.make_node("Flatten", ["both"], ["vectors"]),
    ]
    attention = Attention(write(tmp_path / "n.onnx", nodes, {"colours": COLOURS}, 6, None), 4, 2, threads=1)
    looked = attention(np.stack([image(red=(0, 0)), image(green=(3, 1))]))
    assert {maps.shape for maps in looked.maps} == {(2, 3, 4, 2), (2, 3, 2, 1)}
    upper, lower = looked.heat(0, 3, (8, 4)), looked.heat(1, 1, (8, 4))
    assert upper[:4].sum() > 5 * upper[4:].sum()
    assert lower[4:].sum() > 5 * lower[:4].sum()


def test_a_gate_inside_the_network_is_not_the_last_map(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["images", "colours"], ["own"], kernel_shape=[1, 1]),
        helper.make_node("GlobalAveragePool", ["own"], ["squeezed"]),
        helper.make_node("Sigmoid", ["squeezed"], ["gate"]),
        helper.make_node("Mul", ["own", "gate"], ["gated"]),
        helper.make_node("GlobalAveragePool", ["gated"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["vectors"]),
    ]
    attention = Attention(write(tmp_path / "n.onnx", nodes, {"colours": COLOURS}, 3, None), 4, 2, threads=1)
    assert attention.map_names == ("gated",)


def test_a_network_of_one_image_at_a_time_is_explained_too(tmp_path: Path) -> None:
    file = network(tmp_path / "n.onnx", "GlobalAveragePool", np.eye(3), batch=1)
    looked = Attention(file, 4, 2, threads=1)(np.stack([image(red=(0, 1)), image(blue=(2, 0))]))
    assert looked.weights[0][1, 2] == pytest.approx(np.array([0, 0, 1 / 8]), abs=1e-4)


def test_a_network_without_maps_and_a_file_that_is_none_are_named(tmp_path: Path) -> None:
    nodes = [helper.make_node("Flatten", ["images"], ["flat"]), helper.make_node("Gemm", ["flat", "w"], ["vectors"])]
    file = write(tmp_path / "n.onnx", nodes, {"w": np.ones((24, 5))}, 5, None)
    with pytest.raises(ModelError, match="must end in a pooling of feature maps to be explained, found none"):
        Attention(file, 4, 2)
    (tmp_path / "no.onnx").write_text("nothing")
    with pytest.raises(ModelError, match=r"no\.onnx must be an ONNX network of images \(b, 3, 4, 2\)"):
        Attention(tmp_path / "no.onnx", 4, 2)


def test_the_rounding_of_an_int8_network_is_left_out(tmp_path: Path) -> None:
    """Between map and vector numbers are rounded to halves: in such steps a small shift is seen by none, or doubled."""
    nodes = [
        helper.make_node("Conv", ["images", "colours"], ["own"], kernel_shape=[1, 1]),
        helper.make_node("Relu", ["own"], ["maps"]),
        helper.make_node("QuantizeLinear", ["maps", "scale", "zero"], ["map8"]),
        helper.make_node("DequantizeLinear", ["map8", "scale", "zero"], ["rounded"]),
        helper.make_node("GlobalAveragePool", ["rounded"], ["pooled"]),
        helper.make_node("QuantizeLinear", ["pooled", "scale", "zero"], ["pooled8"]),
        helper.make_node("DequantizeLinear", ["pooled8", "scale", "zero"], ["pooled_again"]),
        helper.make_node("Flatten", ["pooled_again"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weights"], ["vectors"]),
    ]
    weights = np.array([[1.0, 0.0], [0.0, -3.0], [0.5, 2.0]])
    file = write(tmp_path / "n.onnx", nodes, {"colours": COLOURS, "weights": weights, "scale": np.array(0.5)}, 2, None)
    model = onnx.load(file)
    model.graph.initializer.append(numpy_helper.from_array(np.array(0, np.uint8), "zero"))
    onnx.save(model, file)
    attention = Attention(file, 4, 2, threads=1)
    picture = image(red=(0, 1), green=(3, 0), blue=(1, 1))
    looked = attention(np.stack([picture, picture]))
    assert attention.map_names == ("maps",)
    assert looked.weights[0][0] == pytest.approx(weights / 8, abs=1e-4)
