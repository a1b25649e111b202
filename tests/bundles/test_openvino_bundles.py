"""OpenVINO networks become ONNX bundles where that is exact, else bundles that OpenVINO alone serves."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import openvino
import pytest
from openvino import opset8 as ops
from typer.testing import CliRunner

from reid_stream.bundles.bundle import check_probe, load_detector, load_embedder, probe_input, update
from reid_stream.bundles.input_normalisation import normalisation
from reid_stream.bundles.network_file import is_openvino_only, network_file
from reid_stream.bundles.wrap import wrap_detector, wrap_embedder
from reid_stream.cli import app
from reid_stream.config.settings import Models
from reid_stream.engines.load import load_engine
from reid_stream.errors import ModelError
from tests.bundles.test_wrap import BOX, CELLS, SIDE, boxes_and_scores, network, person_found, rows_of


def ir(folder: Path, name: str = "net", kind: str = "f32", outputs: int = 1, with_mish: bool = True) -> Path:
    """A network of one layer: the means of four parts of the image, times a matrix.

    Mish is among the operations without a counterpart, so that the network stays an IR.
    """
    images = ops.parameter([1, 3, 32, 16], np.float32 if kind == "f32" else np.float16, name="images")
    pooled = ops.avg_pool(images, [8, 16], [0, 0], [0, 0], [8, 16], True)
    flat = ops.reshape(pooled, ops.constant(np.array([1, 12])), False)
    weights = np.random.default_rng(0).normal(size=(12, 6)).astype(np.float32 if kind == "f32" else np.float16)
    found = [ops.matmul(flat, ops.constant(weights + number), False, False) for number in range(outputs)]
    if with_mish:
        found = [ops.mish(port) for port in found]
    for number, port in enumerate(found):
        port.output(0).set_names({f"vectors{number}"})
    folder.mkdir(parents=True, exist_ok=True)
    openvino.save_model(openvino.Model(found, [images]), folder / f"{name}.xml", compress_to_fp16=False)
    return folder / f"{name}.xml"


@pytest.mark.parametrize("kind", ["f32", "f16"])
def test_an_openvino_embedder_is_wrapped_and_served_alike(tmp_path: Path, kind: str) -> None:
    model = ir(tmp_path / "given", kind=kind)
    made = wrap_embedder(model, tmp_path / "bundle", licence="Apache-2.0")
    assert (made.input.height, made.input.width, made.input.colour, made.dim) == (32, 16, "bgr", 6)
    assert made.input.std == pytest.approx((1 / 255,) * 3)
    assert is_openvino_only(tmp_path / "bundle")
    assert load_embedder(tmp_path / "bundle") == made
    engine = load_engine(network_file(tmp_path / "bundle"), Models(precision="f32"), size=(32, 16))
    batch = np.concatenate([probe_input(made), probe_input(made, 3)])
    check_probe(made, engine(batch[:1]))
    compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    dtype = np.float32 if kind == "f32" else np.float16
    expected = np.concatenate([compiled(one[None].astype(dtype))[0] for one in batch])
    np.testing.assert_allclose(engine(batch), expected, rtol=2e-2 if kind == "f16" else 1e-4, atol=1e-2)


def convolutional(folder: Path, **changes: object) -> Path:
    """An embedder with every operation that is converted, weights in float16, as Open Model Zoo publishes them."""
    draw = np.random.default_rng(1)

    def constant(*shape: int) -> openvino.Node:
        return ops.convert(ops.constant(draw.normal(size=shape).astype(np.float16) * np.float16(0.3)), "f32")

    images = ops.parameter([1, 3, 32, 16], np.float32, name="images")
    port = ops.gather(images, ops.constant([2, 1, 0]), ops.constant(1))
    port = ops.multiply(ops.subtract(port, constant(1, 3, 1, 1)), ops.constant(np.float32(1 / 255)))
    port = ops.convolution(port, constant(8, 3, 3, 3), [1, 1], [1, 1], [1, 1], [1, 1])
    port = ops.mvn(port, ops.constant(changes.get("axes", [2, 3])), True, 1e-5, "inside_sqrt")
    port = ops.relu(ops.add(port, constant(1, 8, 1, 1)))
    port = ops.max_pool(port, [2, 2], [1, 1], [1, 1], [1, 1], [3, 3]).output(0)
    port = ops.group_convolution(port, constant(8, 1, 1, 3, 3), [1, 1], [1, 1], [1, 1], [1, 1])
    gate = ops.sigmoid(ops.reduce_mean(port, ops.constant([2, 3]), True))
    port = ops.concat([ops.multiply(port, gate), ops.clamp(port, -1.0, 1.0)], 1)
    port = ops.avg_pool(port, [2, 2], [0, 0], [0, 0], [2, 2], True)
    port = ops.prelu(ops.reduce_mean(port, ops.constant([2, 3]), True), constant(16))
    port = ops.matmul(ops.reshape(port, ops.constant([1, 16]), False), constant(6, 16), False, True)
    folder.mkdir(parents=True, exist_ok=True)
    openvino.save_model(openvino.Model([port], [images]), folder / "conv.xml", compress_to_fp16=False)
    return folder / "conv.xml"


def test_a_convolutional_network_becomes_onnx_with_the_same_vectors(tmp_path: Path) -> None:
    model = convolutional(tmp_path / "given")
    notes: list[str] = []
    made = wrap_embedder(model, tmp_path / "bundle", log=notes.append)
    assert notes == ["converted to ONNX, with the same vectors: every engine serves it"]
    assert not is_openvino_only(tmp_path / "bundle")
    batch = np.concatenate([probe_input(made, 5)])
    compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    expected = np.concatenate([compiled(one[None])[0].copy() for one in batch])
    for engine in ("openvino", "onnx"):
        served = load_engine(network_file(tmp_path / "bundle"), Models(engine=engine, precision="f32"), size=(32, 16))
        np.testing.assert_allclose(served(batch), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("make", "reason"),
    [(ir, "its Mish has no counterpart"), (lambda folder: convolutional(folder, axes=[1, 2, 3]), r"its MVN is over")],
)
def test_what_has_no_counterpart_stays_an_ir_and_says_why(make, reason: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    notes: list[str] = []
    wrap_embedder(make(tmp_path / "given"), tmp_path / "bundle", log=notes.append)
    assert is_openvino_only(tmp_path / "bundle")
    assert re.match(f"stays an OpenVINO network, .*{reason}.*: OpenVINO alone serves it", notes[0])


def test_other_engines_are_refused_by_name(tmp_path: Path) -> None:
    wrap_embedder(ir(tmp_path), tmp_path / "bundle")
    for engine in ("onnx", "torch", "tensorrt"):
        with pytest.raises(ModelError, match=f"must be auto or openvino for .*model.xml.* got {engine}"):
            load_engine(network_file(tmp_path / "bundle"), Models(engine=engine))


def test_a_truncated_or_missing_bin_is_named(tmp_path: Path) -> None:
    model = ir(tmp_path)
    weights = model.with_suffix(".bin")
    weights.write_bytes(weights.read_bytes()[:10])
    with pytest.raises(ModelError, match=r"must be readable, .*net.xml: .*net.bin has 10 bytes: is it whole"):
        wrap_embedder(model, tmp_path / "bundle")
    weights.unlink()
    with pytest.raises(ModelError, match=r"its \.xml and its \.bin; .*net.bin: No such file"):
        wrap_embedder(model, tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize("name", ["model.xml", "model.bin"])
def test_an_altered_bundle_is_refused(tmp_path: Path, name: str) -> None:
    wrap_embedder(ir(tmp_path), tmp_path / "bundle")
    file = tmp_path / "bundle" / name
    content = bytearray(file.read_bytes())
    content[-2] ^= 1
    file.write_bytes(bytes(content))
    with pytest.raises(ModelError, match=r"must have the hash .*model.xml or bundle.json was altered"):
        load_embedder(tmp_path / "bundle")
    file.unlink()
    with pytest.raises(ModelError):
        load_embedder(tmp_path / "bundle")


def test_an_update_keeps_the_network_and_another_network_replaces_both_files(tmp_path: Path) -> None:
    made = wrap_embedder(ir(tmp_path), tmp_path / "bundle", name="one")
    kept = update(made, tmp_path / "bundle")
    assert kept == made == load_embedder(tmp_path / "bundle")
    shipped = Path(__file__).parents[2] / "reid_stream" / "models" / "embedder" / "model.onnx"
    wrap_embedder(shipped, tmp_path / "bundle")
    assert sorted(file.name for file in (tmp_path / "bundle").iterdir()) == ["bundle.json", "model.onnx"]
    assert load_embedder(tmp_path / "bundle").dim == 512


def test_several_outputs_are_asked_for_and_the_chosen_one_is_kept(tmp_path: Path) -> None:
    model = ir(tmp_path, outputs=2)
    with pytest.raises(ModelError, match=r"which output .* --output: vectors0 .*, vectors1"):
        wrap_embedder(model, tmp_path / "bundle")
    second = wrap_embedder(model, tmp_path / "bundle", output="vectors1")
    alone = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(probe_input(second))[1]
    check_probe(second, alone)
    with pytest.raises(ModelError, match="--output must be one of"):
        wrap_embedder(model, tmp_path / "bundle", output="nothing")


@pytest.mark.parametrize(
    ("layout", "classes", "rows"),
    [
        ("yolo", 80, CELLS),
        ("yolo_transposed", 80, CELLS),
        ("yolov5", 80, 3 * CELLS),
        ("rtdetr", 80, 300),
        ("yolox", 80, CELLS),
        ("yolo_end2end", 80, 300),
        ("corners", 80, 300),
    ],
)
def test_an_openvino_detector_of_any_layout_finds_the_same_person(
    tmp_path: Path, layout: str, classes: int, rows: int
) -> None:
    if layout == "corners":
        boxes, scores = boxes_and_scores("corners", SIDE, classes, rows)
        outputs = [np.log((scores + 0.01) / (1.01 - scores)), boxes]
    else:
        output = rows_of(layout, classes, 0, rows)
        outputs = [output.T if layout == "yolo" else output]
    exported = network(tmp_path / "m.onnx", *outputs, side=SIDE)
    openvino.save_model(openvino.Core().read_model(exported), tmp_path / "given" / "m.xml")
    made = wrap_detector(tmp_path / "given" / "m.xml", tmp_path / "bundle")
    assert is_openvino_only(tmp_path / "bundle")
    assert load_detector(tmp_path / "bundle") == made
    np.testing.assert_allclose(person_found(made, tmp_path / "bundle"), [BOX], atol=0.2)


def test_classes_of_an_openvino_detector_are_read_beside_it_and_the_command_needs_no_other_file(tmp_path: Path) -> None:
    exported = network(tmp_path / "m.onnx", rows_of("yolo", 2, 1, CELLS).T, side=SIDE)
    folder = tmp_path / "m_openvino_model"
    openvino.save_model(openvino.Core().read_model(exported), folder / "m.xml")
    exported.unlink()
    (folder / "metadata.yaml").write_text("stride: 32\nnames:\n  0: car\n  1: person\n")
    done = CliRunner().invoke(app, ["models", "wrap", str(folder), str(tmp_path / "bundle"), "--kind", "detector"])
    assert done.exit_code == 0, done.output
    assert "served by OpenVINO alone" in done.output
    made = load_detector(tmp_path / "bundle")
    assert (made.classes, made.person) == (["car", "person"], 1)


def test_the_command_takes_mean_and_std_and_names_the_engine(tmp_path: Path) -> None:
    model = ir(tmp_path)
    options = [
        "--kind",
        "embedder",
        "--mean",
        "123.675,116.28,103.53",
        "--std",
        "58.395,57.12,57.375",
        "--colour",
        "rgb",
    ]
    done = CliRunner().invoke(app, ["models", "wrap", str(model), str(tmp_path / "bundle"), *options])
    assert done.exit_code == 0, done.output
    assert "OpenVINO alone serves it" in done.output.replace("\n", " ")
    assert "a match needs cosine" in done.output
    assert "by the default curve" in done.output.replace("\n", " ")
    kept = json.loads((tmp_path / "bundle" / "bundle.json").read_text())["input"]
    assert kept["mean"] == pytest.approx([0.485, 0.456, 0.406])
    assert kept["std"] == pytest.approx([0.229, 0.224, 0.225])
    shutil.rmtree(tmp_path / "bundle")


@pytest.mark.parametrize(
    ("mean", "std", "scale", "expected"),
    [
        (None, None, None, ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))),
        ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5), None, ((0.5,) * 3, (0.5,) * 3)),
        ((127.5,) * 3, (127.5,) * 3, None, ((0.5,) * 3, (0.5,) * 3)),
        ((0, 0, 0), (1, 1, 1), None, ((0,) * 3, (1,) * 3)),
        ((0, 0, 0), (1, 1, 1), 255, ((0,) * 3, (1 / 255,) * 3)),
        (None, None, 255, ((0,) * 3, (1 / 255,) * 3)),
    ],
)
def test_mean_and_std_are_understood_in_either_unit(mean, std, scale, expected) -> None:  # type: ignore[no-untyped-def]
    found = normalisation(mean, std, scale)
    assert found[0] == pytest.approx(expected[0])
    assert found[1] == pytest.approx(expected[1])


@pytest.mark.parametrize(
    ("mean", "std", "message"),
    [((1.0, 2.0), None, "--mean must be three numbers"), (None, (1.0, 0.0, 1.0), "--std must be above 0"),
     ((float("nan"),) * 3, None, "--mean must be three numbers")],
)  # fmt: skip
def test_a_wrong_mean_or_std_is_named(mean, std, message) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ModelError, match=message):
        normalisation(mean, std, None)
