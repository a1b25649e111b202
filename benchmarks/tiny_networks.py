"""Make tiny ONNX networks for drills and tests of the whole daemon on any machine."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from reid_stream.bundles.wrap import wrap

Size = int | str


def tiny_models(folder: Path) -> Path:
    """Make bundles: a detector that sees one person in the middle of every picture, an embedder of mean colours."""
    rows = np.zeros((5, 20), dtype=np.float32)
    rows[:, 0] = (32, 32, 20, 40, 0.9)
    folder.mkdir(parents=True, exist_ok=True)
    wrap(answers(folder / "d.onnx", rows, 64, 64), folder / "detector", kind="detector", decoder="yolo", licence="MIT")
    wrap(channel_means(folder / "e.onnx", height=64, width=32), folder / "embedder", kind="embedder", licence="MIT")
    return folder


def channel_means(
    path: Path, batch: Size = "b", height: Size = "h", width: Size = "w", channels: Size = 3, dim: int = 4
) -> Path:
    """Write a network that maps (b, 3, h, w) to `dim` fixed mixtures of the channels' means, (b, dim)."""
    weights = np.random.default_rng(7).normal(size=(3, dim)).astype(np.float32)
    nodes = [
        helper.make_node("GlobalAveragePool", ["images"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"], axis=1),
        helper.make_node("MatMul", ["flat", "weights"], ["vectors"]),
    ]
    return _write(path, nodes, [batch, channels, height, width], [batch, dim], {"weights": weights})


def answers(path: Path, output: np.ndarray, height: Size = "h", width: Size = "w") -> Path:
    """Write a network that answers `output` (rows, columns) to every picture, whatever it shows."""
    nodes = [
        helper.make_node("ReduceMean", ["images", "axes"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
        helper.make_node("Reshape", ["nothing", "column"], ["rows"]),
        helper.make_node("Add", ["rows", "answer"], ["output"]),
    ]
    constants: dict[str, np.ndarray] = {
        "axes": np.array([1, 2, 3], dtype=np.int64),
        "zero": np.zeros(1, dtype=np.float32),
        "column": np.array([-1, 1, 1], dtype=np.int64),
        "answer": output[None].astype(np.float32),
    }
    return _write(path, nodes, ["b", 3, height, width], ["b", *output.shape], constants)


def _write(
    path: Path, nodes: list[onnx.NodeProto], inputs: list[Size], outputs: list[Size], constants: dict[str, np.ndarray]
) -> Path:
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, inputs)],
        [helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, outputs)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path
