"""Detector heads, training boxes, average precision and the gate."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from reid_stream.bundles.bundle import load_detector
from trainer.commands.detector import DEFAULT_SETS, DEFAULT_SOURCES, DEFAULT_WEIGHTS
from trainer.detector.dataset import (
    BoxSource,
    parse_labels,
    parse_source,
    prepare,
    read,
    refuse_truth,
    split_by_confidence,
)
from trainer.detector.evaluation import (
    DetectorScore,
    Found,
    LabelledSet,
    Truth,
    UInt8,
    average_precision,
    parse_set,
    read_mot,
)
from trainer.detector.release import GateError, Origin, agree, gate, is_parity, ship
from trainer.errors import CheckpointError, DataError

NO_BOXES = np.zeros((0, 4), dtype=np.float32)


@pytest.fixture(scope="module")
def data() -> Path:
    folder = os.environ.get("REID_STREAM_DATA")
    if not folder or not (Path(folder) / DEFAULT_WEIGHTS).is_file():
        pytest.skip("needs the YOLO11n weights: set REID_STREAM_DATA to the data folder")
    pytest.importorskip("ultralytics", reason="needs the extra [train]")
    return Path(folder)


def no_people(image: UInt8) -> Found:
    return NO_BOXES, NO_BOXES[:, 0]


def boxes(*rows: tuple[float, ...]) -> np.ndarray:
    return np.asarray(rows, dtype=np.float32).reshape(-1, 4)


def picture(path: Path, size: tuple[int, int] = (80, 40)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((size[1], size[0], 3), 90, dtype=np.uint8))
    return path


def test_the_single_class_head_gives_the_teachers_person_scores_and_boxes(data: Path) -> None:
    import torch

    from trainer.detector.network import load_teacher, one_class

    teacher = load_teacher(data / DEFAULT_WEIGHTS)
    ours = one_class(teacher)
    batch = torch.rand(2, 3, 96, 128, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        expected, found = teacher(batch)[0], ours(batch)[0]

    assert found.shape == (2, 5, expected.shape[2])
    assert torch.allclose(found, expected[:, :5], rtol=0, atol=1e-6)


def test_frozen_parts_do_not_move_and_a_blend_lies_between(data: Path, tmp_path: Path) -> None:
    import torch

    from trainer.detector.network import Tuning, blend, fine_tune, load_teacher, one_class

    teacher = load_teacher(data / DEFAULT_WEIGHTS)
    start, tuned = one_class(teacher), one_class(teacher)
    for number in range(2):
        picture(tmp_path / "images" / f"{number}.jpg")
        (tmp_path / "labels").mkdir(exist_ok=True)
        (tmp_path / "labels" / f"{number}.txt").write_text("0 0.5 0.5 0.2 0.6\n")
    steps = fine_tune(tuned, tmp_path, Tuning(epochs=1, size_px=64, batch=2, lr=1e-3), lambda line: None)
    before, after = start.state_dict(), tuned.state_dict()
    mixed = blend(start, tuned, 0.25).state_dict()
    moved = [name for name in before if not torch.equal(before[name], after[name])]

    assert steps == 1
    assert moved
    assert not [name for name in moved if int(name.split(".")[1]) < 11 or "running_" in name]
    assert all(torch.allclose(mixed[name], torch.lerp(before[name], after[name], 0.25)) for name in moved)


def small_network(path: Path) -> Path:
    """Write a network of YOLO's shapes: (b, 3, h, w) to (b, 5, cells of strides 8, 16 and 32)."""
    onnx = pytest.importorskip("onnx", reason="needs the extra [train]")
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(1)
    weights = [numpy_helper.from_array(np.array([0, 5, -1], dtype=np.int64), "shape")]
    nodes = []
    for side in (8, 16, 32):
        kernel = rng.normal(0, 0.05, (5, 3, side, side)).astype(np.float32)
        weights.append(numpy_helper.from_array(kernel, f"weight{side}"))
        nodes.append(helper.make_node("Conv", ["images", f"weight{side}"], [f"grid{side}"], strides=[side, side]))
        nodes.append(helper.make_node("Reshape", [f"grid{side}", "shape"], [f"row{side}"]))
    nodes.append(helper.make_node("Concat", ["row8", "row16", "row32"], ["all"], axis=2))
    nodes.append(helper.make_node("Sigmoid", ["all"], ["output0"]))
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["b", 3, "h", "w"])
    output = helper.make_tensor_value_info("output0", TensorProto.FLOAT, ["b", 5, "n"])
    graph = helper.make_graph(nodes, "small", [images], [output], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(path))
    return path


def test_sixteen_bit_weights_answer_like_thirty_two_bit_ones(tmp_path: Path) -> None:
    from trainer.detector.network import halve_weights

    full, half = small_network(tmp_path / "full.onnx"), tmp_path / "half.onnx"
    halve_weights(full, half)
    batch = np.random.default_rng(2).random((2, 3, 64, 96), np.float32)

    assert half.stat().st_size < 0.6 * full.stat().st_size
    assert is_parity(agree(full, half, batch))


def test_a_bundle_that_fails_reports_it_in_its_metrics_and_its_card(tmp_path: Path) -> None:
    (tmp_path / "candidate").mkdir()
    small_network(tmp_path / "candidate" / "model.onnx")
    origin = Origin("small", "reid-train detector", teacher="t.pt", data=["yolo:a"], steps=3, minutes=1.0)
    good = ship(tmp_path / "candidate", tmp_path / "good", [score(0.7, 0.7)], origin)
    poor = ship(tmp_path / "candidate", tmp_path / "poor", [score(0.5, 0.7)], origin)

    assert load_detector(tmp_path / "good") == good
    assert (good.licence, good.classes, good.decoder) == ("AGPL-3.0", ["person"], "yolo")
    assert good.metrics["gate_passed"] == 1
    assert poor.metrics["gate_passed"] == 0
    assert poor.metrics["ap50_street"] == 0.5
    assert "Fails its gate" in (tmp_path / "poor" / "MODEL_CARD.md").read_text()
    assert "Fails its gate" not in (tmp_path / "good" / "MODEL_CARD.md").read_text()


@pytest.mark.parametrize(("difference", "fits"), [((0.004, 0.4), True), ((0.006, 0.1), False), ((0.001, 0.6), False)])
def test_scores_and_corners_must_both_agree(difference: tuple[float, float], fits: bool) -> None:
    assert is_parity(difference) is fits


def test_a_file_that_is_no_checkpoint_is_named(tmp_path: Path) -> None:
    pytest.importorskip("ultralytics", reason="needs the extra [train]")
    from trainer.detector.network import load_teacher

    (tmp_path / "weights.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(CheckpointError, match=r"weights\.pt"):
        load_teacher(tmp_path / "weights.pt")
    with pytest.raises(CheckpointError, match=r"absent\.pt is none"):
        load_teacher(tmp_path / "absent.pt")


class RunsCode:
    """Creates a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.file,)


def test_weights_that_contain_code_run_it_only_with_consent(tmp_path: Path) -> None:
    pytest.importorskip("ultralytics", reason="needs the extra [train]")
    import torch

    from trainer.detector.network import load_teacher

    weights, trace = tmp_path / "weights.pt", tmp_path / "ran"
    torch.save({"model": RunsCode(trace)}, weights)
    with pytest.raises(CheckpointError, match=r"weights\.pt names other code.*--trust-pickle"):
        load_teacher(weights)
    assert not trace.exists()
    with pytest.raises(CheckpointError, match="must be an ultralytics checkpoint"):
        load_teacher(weights, trust_pickle=True)
    assert trace.exists()


def test_yolo_labels_become_corners_in_pixels() -> None:
    found = parse_labels("0 0.5 0.5 0.2 0.4\n\n0 0.1 0.25 0.2 0.5\n", "a.txt", (100, 200))

    assert np.allclose(found, [[40, 60, 60, 140], [0, 0, 20, 100]], atol=1e-3)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("2 0.5 0.5 0.2 0.4", r"class must be 0 \(person\), found 2 \(a\.txt, line 2\)"),
        ("0 0.95 0.5 0.2 0.4", r"must lie in the picture.*line 2"),
        ("0 nan 0.5 0.2 0.4", r"must lie in the picture"),
        ("0 0.5 0.5 0 0.4", r"must lie in the picture"),
        ("0 64 80 20 40", r"must lie in the picture"),
        ("0 0.5 0.5 0.2", r"must be class cx cy w h"),
        ("person 0.5 0.5 0.2 0.4", r"must be class cx cy w h"),
    ],
)
def test_a_wrong_label_is_named_with_its_line(line: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        parse_labels(f"0 0.5 0.5 0.2 0.4\n{line}\n", "a.txt", (100, 100))


def test_mot_truth_leaves_out_what_is_flagged_or_no_pedestrian(tmp_path: Path) -> None:
    truth = tmp_path / "gt.txt"
    truth.write_text("1,1,10,20,30,40,1,1,1\n1,2,50,20,30,40,0,1,1\n1,3,90,20,30,40,1,7,0.5\n3,1,12,20,30,40,1,1,1\n")
    found = read_mot(truth)

    assert found[1].people.tolist() == [[10, 20, 40, 60]]
    assert found[1].ignored.tolist() == [[50, 20, 80, 60], [90, 20, 120, 60]]
    assert sorted(found) == [1, 3]


def test_world_coordinates_of_mot15_are_not_taken_for_classes(tmp_path: Path) -> None:
    truth = tmp_path / "gt.txt"
    truth.write_text("1,9,499,158,31.03,75.17,1,-4.15,-7.36,0\n1,15,258,219,32.9,88.7,1,2,-5.6,0\n")

    assert len(read_mot(truth)[1].people) == 2


@pytest.mark.parametrize("line", ["1,1,10,20,-3,40,1,1,1", "0,1,10,20,30,40", "1,1,10", "1,1,ten,20,30,40,1,1,1"])
def test_a_wrong_line_of_truth_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "gt.txt").write_text(f"1,1,10,20,30,40,1,1,1\n{line}\n")
    with pytest.raises(DataError, match=r"gt\.txt, line 2"):
        read_mot(tmp_path / "gt.txt")


def test_no_images_a_broken_one_and_unknown_sources_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"must have labelled pictures, found none"):
        prepare([BoxSource("yolo", tmp_path / "empty")], tmp_path / "out", no_people)
    with pytest.raises(DataError, match=r"at least one source"):
        prepare([], tmp_path / "out", no_people)
    (tmp_path / "bad" / "labels").mkdir(parents=True)
    (tmp_path / "bad" / "images").mkdir()
    (tmp_path / "bad" / "images" / "a.jpg").write_bytes(b"\xff\xd8 cut off")
    (tmp_path / "bad" / "labels" / "a.txt").write_text("")
    with pytest.raises(DataError, match=r"a\.jpg is no image"):
        prepare([BoxSource("yolo", tmp_path / "bad")], tmp_path / "out", no_people)
    for text in ("zip:a", "yolo", f"clip:{tmp_path}@0", "yolo:absent"):
        with pytest.raises(DataError, match=r"a source must"):
            parse_source(text, None)
    (tmp_path / "clip.mp4").write_bytes(b"no video")
    with pytest.raises(DataError, match=r"a video must be readable"):
        list(read(BoxSource("clip", tmp_path / "clip.mp4"), no_people))


def test_unlabelled_images_are_left_out_and_empty_labels_are_kept(tmp_path: Path) -> None:
    for name in ("seen", "unseen"):
        picture(tmp_path / "images" / f"{name}.jpg")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "seen.txt").write_text("")

    assert len(list(read(BoxSource("yolo", tmp_path), no_people))) == 1


def test_doubtful_boxes_are_painted_grey_and_confident_ones_become_labels(tmp_path: Path) -> None:
    picture(tmp_path / "img1" / "000001.jpg", (80, 40))
    (tmp_path / "gt.txt").write_text("1,1,10,10,10,20,1,1,1\n1,2,15,10,20,20,0,1,1\n")
    prepare([BoxSource("mot", tmp_path, every=1)], tmp_path / "out", no_people)
    image = cv2.imread(str(next((tmp_path / "out" / "images").iterdir())))

    assert next((tmp_path / "out" / "labels").iterdir()).read_text() == "0 0.187500 0.500000 0.125000 0.500000\n"
    assert image is not None
    assert abs(int(image[20, 28, 0]) - 114) < 6  # to be ignored
    assert abs(int(image[20, 17, 0]) - 90) < 6  # the person in front of it
    assert abs(int(image[5, 70, 0]) - 90) < 6  # nothing there


def test_a_teachers_boxes_are_split_by_confidence() -> None:
    scores = np.array([0.9, 0.5, 0.3, 0.05], dtype=np.float32)
    truth = split_by_confidence((boxes(*[(index, 0, index + 1, 1) for index in range(4)]), scores))

    assert truth.people[:, 0].tolist() == [0, 1]
    assert truth.ignored[:, 0].tolist() == [2]


def test_learning_from_what_is_measured_on_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "mot" / "street"
    folder.mkdir(parents=True)
    measured = LabelledSet("street", video=tmp_path / "street.avi", truth=folder / "gt.txt")
    refuse_truth([BoxSource("yolo", tmp_path / "boxes")], [measured])
    for source in (BoxSource("mot", folder), BoxSource("clip", tmp_path / "street.avi"), BoxSource("yolo", tmp_path)):
        with pytest.raises(DataError, match=r"must not learn from what it is measured on"):
            refuse_truth([source], [measured])


def test_a_labelled_set_is_written_with_a_name_and_two_files(tmp_path: Path) -> None:
    for name in ("a.avi", "gt.txt"):
        (tmp_path / name).touch()

    assert parse_set("a=a.avi,gt.txt@10", tmp_path) == LabelledSet("a", tmp_path / "a.avi", tmp_path / "gt.txt", 10)
    assert parse_set("a=a.avi,gt.txt", tmp_path).every == 1
    for text in ("a.avi,gt.txt", "a=a.avi", "a=a.avi,gt.txt@0", "a=b.avi,gt.txt"):
        with pytest.raises(DataError):
            parse_set(text, tmp_path)


def test_average_precision_is_one_for_the_truth_and_falls_with_what_is_missed() -> None:
    truth = Truth(people=boxes((0, 0, 10, 20), (50, 0, 60, 20)), ignored=NO_BOXES)
    sure = np.array([0.9, 0.8], dtype=np.float32)

    assert average_precision([(truth.people, sure)], [truth]) == pytest.approx(1.0)
    # 51 of the 101 recall points are reached with half of the people found.
    assert average_precision([(truth.people[:1], sure[:1])], [truth]) == pytest.approx(51 / 101)
    assert average_precision([(NO_BOXES, NO_BOXES[:, 0])], [truth]) == 0


def test_boxes_in_an_ignored_region_count_neither_way() -> None:
    people, region = boxes((0, 0, 10, 20)), boxes((50, 0, 90, 40))
    found = np.concatenate([boxes((52, 2, 62, 22), (70, 5, 80, 25)), people])
    scores = np.array([0.95, 0.9, 0.5], dtype=np.float32)

    assert average_precision([(found, scores)], [Truth(people, region)]) == pytest.approx(1.0)
    assert average_precision([(found, scores)], [Truth(people, NO_BOXES)]) == pytest.approx(1 / 3, abs=1e-6)


def score(ours: float, teacher: float, name: str = "street") -> DetectorScore:
    return DetectorScore(name=name, ours=ours, teacher=teacher, pictures=10, people=20)


def test_the_gate_lets_a_hundredth_pass_and_names_every_set_that_is_worse() -> None:
    assert gate([score(0.701, 0.71), score(0.8, 0.7)]) == []
    faults = gate([score(0.69, 0.71, "shop"), score(0.8, 0.7), score(float("nan"), 0.5, "yard")])

    assert [fault.split(":")[0] for fault in faults] == ["shop", "yard"]
    assert "at least 0.700, found 0.690" in faults[0]
    with pytest.raises(GateError, match="at least one labelled set"):
        gate([])


def test_the_defaults_learn_from_nothing_that_they_are_measured_on(data: Path) -> None:
    sources = [parse_source(text, data) for text in DEFAULT_SOURCES]
    sets = [parse_set(text, data) for text in DEFAULT_SETS]
    refuse_truth(sources, sets)

    assert {labelled.name for labelled in sets} == {"ADL-Rundle-6", "PETS09-S2L1", "TUD-Campus"}
    for source in sources[:2]:
        image, truth = next(read(source, no_people))
        assert len(truth.people)
        assert (truth.people <= [image.shape[1], image.shape[0]] * 2).all()
