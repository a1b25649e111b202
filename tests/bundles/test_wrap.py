"""ONNX files of other projects become bundles that decode alike, or are refused with the option that settles it."""

from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner

from reid_stream.bundles.bundle import DetectorBundle, load, load_detector, save
from reid_stream.bundles.detector_layout import candidates, usual
from reid_stream.bundles.network_file import network_file
from reid_stream.bundles.onnx_file import external_files
from reid_stream.bundles.wrap import wrap_detector, wrap_embedder
from reid_stream.commands.models import app
from reid_stream.config.settings import Detect, Models
from reid_stream.detect.yolo import Detector, spec_of
from reid_stream.engines.load import load_engine
from reid_stream.errors import ModelError
from reid_stream.records import CameraId, Frame
from tests.engines.networks import channel_means

SIDE = 128
CELLS = 16 * 16 + 8 * 8 + 4 * 4
BOX = np.array([16, 8, 32, 56], dtype=np.float32)
CENTRE = np.array([24, 32, 16, 48], dtype=np.float32)


def rows_of(layout: str, classes: int, person: int, rows: int) -> np.ndarray:
    """Return one person in row 7 of an output (rows, columns), all else empty."""
    has_objectness = layout in ("yolov5", "yolox")
    out = np.zeros((rows, 6 if layout == "yolo_end2end" else (5 if has_objectness else 4) + classes), np.float32)
    if layout == "yolo_end2end":
        out[7] = (*BOX, 0.9, person)
        return out
    out[7, :4] = CENTRE / SIDE if layout == "rtdetr" else CENTRE
    if layout == "yolox":  # row 7 is column 7, row 0 of the grid of stride 8
        out[7, :4] = (24 / 8 - 7, 32 / 8, np.log(16 / 8), np.log(48 / 8))
    if has_objectness:
        out[7, 4], out[7, 5 + person] = 0.95, 0.9 / 0.95
    else:
        out[7, 4 + person] = 0.9
    return out


def network(
    path: Path, *outputs: np.ndarray, names: str | None = None, kind: int = TensorProto.FLOAT, side: int = SIDE
) -> Path:
    """Write a network that answers `outputs` to every image of `side` pixels."""
    numpy_kind = helper.tensor_dtype_to_np_dtype(kind)
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], axes=[1, 2, 3], keepdims=1),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
    ]
    constants = [numpy_helper.from_array(np.zeros(1, numpy_kind), "zero")]
    ports = []
    for index, output in enumerate(outputs):
        shape = [1] * (output.ndim + 1)
        constants += [
            numpy_helper.from_array(output[None].astype(numpy_kind), f"answer{index}"),
            numpy_helper.from_array(np.array(shape, np.int64), f"shape{index}"),
        ]
        nodes += [
            helper.make_node("Reshape", ["nothing", f"shape{index}"], [f"reshaped{index}"]),
            helper.make_node("Add", [f"reshaped{index}", f"answer{index}"], [f"output{index}"]),
        ]
        ports.append(helper.make_tensor_value_info(f"output{index}", kind, [1, *output.shape]))
    image = helper.make_tensor_value_info("images", kind, [1, 3, side, side])
    graph = helper.make_graph(nodes, "tiny", [image], ports, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    if names is not None:
        helper.set_model_props(model, {"names": names})
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def person_found(bundle: DetectorBundle, folder: Path) -> np.ndarray:
    """Return the boxes that the served detector finds in a grey picture."""
    spec = spec_of(bundle)
    engine = load_engine(network_file(folder), Models(engine="openvino", precision="f32"), pixels=spec.pixels)
    frame = Frame(CameraId("a"), 1, 0.0, "file", np.full((SIDE, SIDE, 3), 127, np.uint8))
    (found,) = Detector(engine, spec, Detect(score=0.3, min_height_px=0))([frame])
    return np.asarray(found.boxes)


@pytest.mark.parametrize(
    ("layout", "classes", "rows", "is_transposed"),
    [
        ("yolo", 80, CELLS, True),
        ("yolo", 1, CELLS, True),
        ("yolo", 1, 21, True),  # (1, 5, n), whatever the n
        ("yolo_transposed", 80, CELLS, False),
        ("yolo_transposed", 1, CELLS, False),
        ("yolov5", 80, 3 * CELLS, False),
        ("yolov5", 1, 3 * CELLS, False),
        ("yolox", 80, CELLS, False),
        ("rtdetr", 80, 300, False),
        ("yolo_end2end", 80, 300, False),
    ],
)
def test_every_layout_is_found_by_its_shape_and_finds_the_same_person(
    tmp_path: Path, layout: str, classes: int, rows: int, is_transposed: bool
) -> None:
    output = rows_of(layout, classes, 0, rows)
    made = wrap_detector(
        network(tmp_path / "m.onnx", output.T if is_transposed else output, side=SIDE), tmp_path / "out"
    )
    assert load(tmp_path / "out") == made
    np.testing.assert_allclose(person_found(made, tmp_path / "out"), [BOX], atol=0.1)


@pytest.mark.parametrize("shape", [(1, 8400, 6), (1, 25200, 6), (1, 5, 8400), (1, 300, 84), (1, 8400, 84), (1, 300, 6)])
def test_the_usual_shapes_fit_some_layout(shape: tuple[int, ...]) -> None:
    found = {each.layout for each in usual(candidates(shape, (640, 640)))}
    expected: dict[tuple[int, ...], set[str]] = {
        (1, 8400, 6): {"yolox", "yolo_end2end"},
        (1, 25200, 6): {"yolov5"},
        (1, 5, 8400): {"yolo"},
        (1, 300, 84): {"rtdetr"},
        (1, 8400, 84): {"yolo_transposed"},
        (1, 300, 6): {"yolo_end2end"},
    }
    assert found == expected[shape]


@pytest.mark.parametrize("layout", ["yolox", "yolo_transposed", "yolo_end2end"])
def test_one_shape_of_three_layouts_is_decided_by_its_numbers_or_an_image(tmp_path: Path, layout: str) -> None:
    output = rows_of(layout, {"yolox": 1, "yolo_transposed": 2, "yolo_end2end": 1}[layout], 0, CELLS)
    model = network(tmp_path / "m.onnx", output)
    names = ["person", "car"] if layout == "yolo_transposed" else None
    picture = None
    if layout == "yolo_transposed":  # its last column is all 0, as an index of classes may be
        picture = grey(tmp_path)
        with pytest.raises(ModelError, match=r"can be .*yolo_end2end.*give --decoder, or --picture"):
            wrap_detector(model, tmp_path / "out", classes=names)
    made = wrap_detector(model, tmp_path / "out", picture=picture, classes=names)
    np.testing.assert_allclose(person_found(made, tmp_path / "out"), [BOX], atol=0.1)


def grey(folder: Path) -> Path:
    cv2.imwrite(str(folder / "people.png"), np.full((SIDE, SIDE, 3), 127, np.uint8))
    return folder / "people.png"


def boxes_and_scores(form: str, unit: float, classes: int = 80, count: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """Return one person in row 7 of boxes (count, 4) and scores (count, classes)."""
    boxes, scores = np.zeros((count, 4), np.float32), np.zeros((count, classes), np.float32)
    boxes[7] = (CENTRE if form == "centre" else BOX) / unit
    scores[7, 0] = 0.9
    return boxes, scores


@pytest.mark.parametrize("form", ["centre", "corners"])
@pytest.mark.parametrize("unit", [1, SIDE])
def test_boxes_and_scores_in_separate_outputs_are_joined_in_either_order(tmp_path: Path, form: str, unit: int) -> None:
    pair = boxes_and_scores(form, unit)
    masks = np.zeros((300, 8, 8), np.float32)
    for index, outputs in enumerate((pair, pair[::-1], (pair[0][:, None], pair[1]), (*pair, masks))):
        made = wrap_detector(network(tmp_path / f"{index}.onnx", *outputs), tmp_path / f"out{index}")
        np.testing.assert_allclose(person_found(made, tmp_path / f"out{index}"), [BOX], atol=0.1)


def test_logits_become_probabilities_and_the_class_of_people_may_be_given_by_its_number(tmp_path: Path) -> None:
    boxes, scores = boxes_and_scores("centre", SIDE, classes=91)  # as RF-DETR gives them
    logits = np.where(scores[:, [1, 0, *range(2, 91)]] > 0, 2.2, -6).astype(np.float32)
    model = network(tmp_path / "m.onnx", boxes, logits)
    with pytest.raises(ModelError, match="91 classes of .*--classes .*--person"):
        wrap_detector(model, tmp_path / "out")
    lines: list[str] = []
    made = wrap_detector(model, tmp_path / "out", person=1, log=lines.append)
    assert (made.person, made.classes[:3]) == (1, ["class0", "person", "class2"])
    assert lines == [
        "output read as rtdetr: boxes in shares of the input, scores are logits (sigmoid), of two outputs; "
        "person is class 1"
    ]
    np.testing.assert_allclose(person_found(made, tmp_path / "out"), [BOX], atol=0.1)


@pytest.mark.parametrize("layout", ["yolo", "yolo_transposed", "yolov5"])
def test_boxes_in_shares_of_the_input_are_found_by_their_numbers(tmp_path: Path, layout: str) -> None:
    output = rows_of(layout, 80, 0, 3 * CELLS if layout == "yolov5" else CELLS)
    output[:, :4] /= SIDE
    made = wrap_detector(network(tmp_path / "m.onnx", output.T if layout == "yolo" else output), tmp_path / "out")
    np.testing.assert_allclose(person_found(made, tmp_path / "out"), [BOX], atol=0.1)


def test_a_layout_that_the_numbers_contradict_is_not_taken(tmp_path: Path) -> None:
    rows = np.zeros((300, 5), np.float32)
    rows[7] = (*BOX, 0.9)  # pixels, where RT-DETR has shares
    model = network(tmp_path / "m.onnx", rows)
    with pytest.raises(ModelError, match=r"corners as --decoder"):
        wrap_detector(model, tmp_path / "out")
    made = wrap_detector(model, tmp_path / "out", decoder="corners")
    np.testing.assert_allclose(person_found(made, tmp_path / "out"), [BOX], atol=0.1)
    two_classes = network(tmp_path / "two.onnx", rows_of("rtdetr", 2, 1, 300))
    with pytest.raises(ModelError, match="2 classes .*must be named"):  # no YOLO26: shares, and no index of a class
        wrap_detector(two_classes, tmp_path / "two")


def test_a_picture_without_people_refuses_even_the_only_layout(tmp_path: Path) -> None:
    model = network(tmp_path / "m.onnx", np.zeros((84, CELLS), np.float32))
    with pytest.raises(ModelError, match="people must be found in"):
        wrap_detector(model, tmp_path / "out", picture=grey(tmp_path))


def test_classes_come_from_the_metadata_and_no_car_is_a_person(tmp_path: Path) -> None:
    output = rows_of("yolo", 2, 1, CELLS).T
    made = wrap_detector(network(tmp_path / "m.onnx", output, names="{0: 'car', 1: 'person'}"), tmp_path / "out")
    assert (made.classes, made.person) == (["car", "person"], 1)
    assert len(person_found(made, tmp_path / "out")) == 1


@pytest.mark.parametrize("names", [None, "{0: 'car', 1: 'van'}", "__import__('os')", "{0: 'car', 2: 'person'}", "{"])
def test_classes_without_a_person_are_asked_for(tmp_path: Path, names: str | None) -> None:
    model = network(tmp_path / "m.onnx", rows_of("yolo", 2, 1, CELLS).T, names=names)
    with pytest.raises(ModelError, match="--classes|--person"):
        wrap_detector(model, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    ended = CliRunner().invoke(
        app, ["wrap", str(model), str(tmp_path / "out"), "--kind", "detector", "--classes", "car,person"]
    )
    assert ended.exit_code == 0, ended.output
    assert load_detector(tmp_path / "out").person == 1


def test_names_that_do_not_fit_the_shape_are_refused(tmp_path: Path) -> None:
    model = network(tmp_path / "m.onnx", rows_of("yolo", 2, 1, CELLS).T)
    with pytest.raises(ModelError, match="the classes with --classes"):
        wrap_detector(model, tmp_path / "out", classes=["person", "car", "van"])


def test_a_network_with_two_heads_is_asked_about_and_serves_the_one_named(tmp_path: Path) -> None:
    vector = np.arange(1, 9, dtype=np.float32)
    model = network(tmp_path / "m.onnx", np.array([0.1, 0.2, 0.7], np.float32), vector)
    with pytest.raises(ModelError, match=r"--output: output0 \[1,3\], output1 \[1,8\]"):
        wrap_embedder(model, tmp_path / "out")
    with pytest.raises(ModelError, match=r"--output must be one of .*got 'vector'"):
        wrap_embedder(model, tmp_path / "out", output="vector")
    made = wrap_embedder(model, tmp_path / "out", output="output1")
    assert made.dim == 8
    for name in ("openvino", "onnx"):
        engine = load_engine(tmp_path / "out" / "model.onnx", Models(engine=name, precision="f32"))
        answer = engine(np.zeros((1, 3, SIDE, SIDE), np.float32))
        np.testing.assert_allclose(answer, vector[None])


@pytest.mark.parametrize(
    ("answer", "name", "reason"),
    [
        ([0.1, 0.2, 0.7], "output0", "its 3 numbers add up to 1"),
        ([3.0, -1.0, 2.0], "Logits", "it is called Logits"),
        ([3.0], "output0", "a single number"),
        (np.linspace(-3, 3, 751), "output0", "as many as Market-1501 has classes"),
    ],
)
def test_class_scores_are_no_embedding_unless_they_are_asked_for(
    tmp_path: Path, answer: list[float], name: str, reason: str
) -> None:
    model = onnx.load(network(tmp_path / "m.onnx", np.array(answer, np.float32)))
    model.graph.output[0].name = model.graph.node[-1].output[0] = name
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(ModelError, match=f"looks like class scores: .*{reason}.*--output"):
        wrap_embedder(tmp_path / "m.onnx", tmp_path / "out")
    assert wrap_embedder(tmp_path / "m.onnx", tmp_path / "out", output=name).dim == min(512, len(answer))


def test_a_float16_network_takes_and_gives_float32_in_every_engine(tmp_path: Path) -> None:
    detector = network(tmp_path / "d.onnx", rows_of("yolo", 1, 0, CELLS).T, kind=TensorProto.FLOAT16)
    made = wrap_detector(detector, tmp_path / "detector")
    np.testing.assert_allclose(person_found(made, tmp_path / "detector"), [BOX], atol=0.1)
    embedder = network(tmp_path / "e.onnx", np.arange(1, 9, dtype=np.float32), kind=TensorProto.FLOAT16)
    wrap_embedder(embedder, tmp_path / "embedder")
    for name in ("openvino", "onnx"):
        engine = load_engine(tmp_path / "embedder" / "model.onnx", Models(engine=name, precision="f32"))
        answer = engine(np.zeros((2, 3, SIDE, SIDE), np.float32))
        assert answer.dtype == np.float32
        np.testing.assert_allclose(answer, np.arange(1, 9)[None].repeat(2, axis=0))


def test_a_network_of_integer_images_is_refused(tmp_path: Path) -> None:
    model = onnx.load(channel_means(tmp_path / "m.onnx"))
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8
    model.graph.node.insert(0, helper.make_node("Cast", ["images"], ["real"], to=TensorProto.FLOAT))
    model.graph.node[1].input[0] = "real"
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(ModelError, match=r"floating point numbers.*u8"):
        wrap_embedder(tmp_path / "m.onnx", tmp_path / "out")


def external(folder: Path, location: str = "weights.bin") -> Path:
    """Write a network whose weights lie in another file."""
    folder.mkdir(exist_ok=True)
    model = onnx.load(channel_means(folder / "m.onnx"))
    onnx.save(model, folder / "m.onnx", save_as_external_data=True, location=location, size_threshold=0)
    return folder / "m.onnx"


def test_external_weights_are_taken_into_the_bundle(tmp_path: Path) -> None:
    model = external(tmp_path / "in")
    assert external_files(model.read_bytes()) == ["weights.bin"]
    wrap_embedder(model, tmp_path / "out", height=24, width=16)
    (tmp_path / "in" / "weights.bin").unlink()
    assert external_files((tmp_path / "out" / "model.onnx").read_bytes()) == []
    engine = load_engine(tmp_path / "out" / "model.onnx", Models(precision="f32"))
    assert np.abs(engine(np.ones((1, 3, 24, 16), np.float32))).max() > 0.1


def test_missing_external_weights_are_named(tmp_path: Path) -> None:
    model = external(tmp_path / "in")
    (tmp_path / "in" / "weights.bin").unlink()
    with pytest.raises(ModelError, match=r"are in 'weights\.bin', which is not in"):
        wrap_embedder(model, tmp_path / "out")


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/hostname"])
def test_weights_outside_of_the_networks_folder_are_not_read(tmp_path: Path, location: str) -> None:
    model = onnx.load(external(tmp_path / "in"))
    for tensor in model.graph.initializer:
        raw = tensor.raw_data
        onnx.external_data_helper.set_external_data(tensor, location, 0, len(raw))
        tensor.ClearField("raw_data")
    (tmp_path / "secret.bin").write_bytes(bytes(4096))
    (tmp_path / "in" / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match="must be in its folder"):
        wrap_embedder(tmp_path / "in" / "m.onnx", tmp_path / "out")


def test_a_bundle_with_external_weights_is_neither_saved_nor_loaded(tmp_path: Path) -> None:
    """Its hash covers model.onnx alone, so that others' weights could be put in unseen."""
    model = external(tmp_path / "in")
    made = wrap_embedder(model, tmp_path / "out", height=24, width=16)
    with pytest.raises(ModelError, match=r"contain all weights, found some in weights\.bin"):
        save(made, model.read_bytes(), tmp_path / "second")
    content = model.read_bytes()
    (tmp_path / "out" / "model.onnx").write_bytes(content)
    (tmp_path / "out" / "weights.bin").write_bytes((tmp_path / "in" / "weights.bin").read_bytes())
    bundle = (tmp_path / "out" / "bundle.json").read_text()
    (tmp_path / "out" / "bundle.json").write_text(
        bundle.replace(f'"model_bytes": {made.model_bytes}', f'"model_bytes": {len(content)}')
    )
    with pytest.raises(ModelError, match=r"weights\.bin, which the hash does not cover"):
        load(tmp_path / "out")


@pytest.mark.parametrize("content", [b"", b"\xff" * 40, b"\x3a\xff\xff\xff\xff\x0f", b"\x3b" * 9])
def test_what_is_no_protobuf_has_no_external_weights(content: bytes) -> None:
    assert external_files(content) == []
