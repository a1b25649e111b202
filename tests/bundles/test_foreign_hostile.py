"""Networks that loop without end, take all memory, crash their library, or are no files: refused by `models wrap`."""

import os
import signal
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from reid_stream.bundles import trial
from reid_stream.bundles.bundle import EmbedderBundle
from reid_stream.bundles.class_names import class_names
from reid_stream.bundles.foreign_network import read_network
from reid_stream.bundles.wrap import wrap_and_log
from reid_stream.errors import ConfigError, ModelError

FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


def network(path: Path, nodes: list[onnx.NodeProto], constants: dict[str, object]) -> Path:
    """Write a network whose first node gives channel means `f` (b, 3), and that gives `y`."""
    means = [helper.make_node("GlobalAveragePool", ["x"], ["p"]), helper.make_node("Flatten", ["p"], ["f"])]
    graph = helper.make_graph(
        [*means, *nodes],
        "g",
        [helper.make_tensor_value_info("x", FLOAT, ["b", 3, 64, 32])],
        [helper.make_tensor_value_info("y", FLOAT, ["b", 3])],
        [numpy_helper.from_array(np.array(value), name) for name, value in constants.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(made.SerializeToString())
    return path


def endless(path: Path) -> Path:
    body = helper.make_graph(
        [helper.make_node("Identity", ["c_in"], ["c_out"]), helper.make_node("Mul", ["a", "a"], ["b"])],
        "body",
        [
            helper.make_tensor_value_info("i", INT64, []),
            helper.make_tensor_value_info("c_in", BOOL, []),
            helper.make_tensor_value_info("a", FLOAT, None),
        ],
        [helper.make_tensor_value_info("c_out", BOOL, []), helper.make_tensor_value_info("b", FLOAT, None)],
    )
    loop = helper.make_node("Loop", ["n", "c", "f"], ["y"], body=body)
    return network(path, [loop], {"n": np.int64(2**63 - 1), "c": np.bool_(True)})


OPTIONS = {"kind": "embedder", "name": "n", "licence": "none"}


def wrap(model: Path, out: Path, limit_s: float = 120.0) -> tuple[EmbedderBundle, list[str]]:
    made, lines = trial.run(wrap_and_log, model, out, what=model.name, limit_s=limit_s, options=OPTIONS)
    assert isinstance(made, EmbedderBundle)
    return made, lines


def test_a_network_is_wrapped_in_a_process_of_its_own(tmp_path: Path) -> None:
    good = network(tmp_path / "m.onnx", [helper.make_node("Identity", ["f"], ["y"])], {})
    made, _ = wrap(good, tmp_path / "out")
    assert made.name == "n"
    assert (tmp_path / "out" / "bundle.json").is_file()


@pytest.mark.slow
def test_a_network_that_loops_without_end_is_ended(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"within 4 s, m\.onnx did not"):
        wrap(endless(tmp_path / "m.onnx"), tmp_path / "out", limit_s=4)


def test_a_network_of_a_terabyte_is_refused(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("ConstantOfShape", ["s"], ["big"]),
        helper.make_node("ReduceSum", ["big"], ["r"], keepdims=0),
        helper.make_node("Add", ["f", "r"], ["y"]),
    ]
    with pytest.raises(ModelError, match=r"m\.onnx (must run|ended the process)"):
        wrap(network(tmp_path / "m.onnx", nodes, {"s": np.array([2**40])}), tmp_path / "out")


def crash() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def refuse() -> None:
    raise ConfigError("not this one")


def endless_memory() -> int:
    return len(bytearray(1 << 42))


def sleep() -> None:
    time.sleep(60)


@pytest.mark.slow
def test_what_ends_a_trial_is_named() -> None:
    with pytest.raises(ModelError, match="SIGSEGV"):
        trial.run(crash, what="m")
    with pytest.raises(ConfigError, match="not this one"):
        trial.run(refuse, what="m")
    with pytest.raises(ModelError, match="takes too much memory"):
        trial.run(endless_memory, what="m")
    with pytest.raises(ModelError, match="within 1 s"):
        trial.run(sleep, what="m", limit_s=1)


def test_a_pipe_a_device_and_a_sparse_terabyte_are_refused_unread(tmp_path: Path) -> None:
    pipe, device, sparse = tmp_path / "pipe.onnx", tmp_path / "device.onnx", tmp_path / "sparse.onnx"
    os.mkfifo(pipe)
    device.symlink_to("/dev/zero")
    with sparse.open("wb") as file:
        file.truncate(1 << 40)
    for path in (pipe, device, sparse):
        with pytest.raises(ModelError, match=r"no regular file|at most 4,294,967,296 bytes"):
            read_network(path, None)
    os.mkfifo(tmp_path / "m.bin")
    (tmp_path / "m.xml").write_text("<net/>")
    with pytest.raises(ModelError, match=r"m\.bin: no regular file"):
        read_network(tmp_path / "m.xml", None)


def test_class_names_of_a_yaml_bomb_are_none_at_once(tmp_path: Path) -> None:
    import openvino

    good = network(tmp_path / "m.onnx", [helper.make_node("Identity", ["f"], ["y"])], {})
    openvino.save_model(openvino.Core().read_model(str(good)), str(tmp_path / "m.xml"), compress_to_fp16=False)
    read = read_network(tmp_path / "m.xml", None)
    beside = tmp_path / "metadata.yaml"
    beside.write_text("names: {0: person, 1: car}\n")
    assert class_names(read.network, tmp_path / "m.xml") == ["person", "car"]
    lines = [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]" for level in range(1, 12)]
    beside.write_text("a0: &a0 [p, p]\n" + "\n".join(lines) + "\nnames: *a11\n")
    assert class_names(read.network, tmp_path / "m.xml") == []
