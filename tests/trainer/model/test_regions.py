"""Body regions from label maps, a parsing network and a pose network; and faults of maps."""

from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from trainer.data.crops import Images, StoredCrop, assemble
from trainer.errors import DataError
from trainer.model.region_networks import FEET, HEAD, LEFT_ARM, RIGHT_ARM, SHINS, THIGHS, TORSO, from_keypoints
from trainer.model.regions import LabelMaps, build_provider, region_labels
from trainer.train.recipe import recipe


def images(*names: str, size: tuple[int, int] = (40, 20), colour: tuple[int, int, int] = (90, 90, 90)) -> Images:
    """Return crops of one size, brought to 64x32."""
    data = cv2.imencode(".png", np.full((*size, 3), colour[::-1], np.uint8))[1].tobytes()
    return assemble([StoredCrop(name, "1", "1", "drawn", data) for name in names], 64, 32)


def write(folder: Path, name: str, labels: np.ndarray) -> None:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix == ".npy":
        np.save(file, labels)
    else:
        cv2.imwrite(str(file), labels)


def halves(size: tuple[int, int]) -> np.ndarray:
    labels = np.full(size, 2, np.uint8)
    labels[size[0] // 2 :] = 5
    return labels


def test_maps_have_the_size_of_the_stored_image_or_of_the_network(tmp_path: Path) -> None:
    write(tmp_path, "a.png", halves((40, 20)))
    write(tmp_path, "b.jpg.npy", halves((64, 32)).astype(np.int64))
    write(tmp_path, "person/c.npy", halves((40, 20)))
    found = LabelMaps(tmp_path)(images("a.jpg", "b.jpg", "person/c.png"))
    assert found.shape == (3, 64, 32)
    assert found.dtype == np.uint8
    for labels in found:
        assert (labels == halves((64, 32))).all()  # nearest: nothing between 2 and 5


def test_a_region_with_no_pixels_is_allowed(tmp_path: Path) -> None:
    write(tmp_path, "a.png", np.zeros((40, 20), np.uint8))
    assert not LabelMaps(tmp_path)(images("a.jpg")).any()


def test_a_missing_map_is_named(tmp_path: Path) -> None:
    write(tmp_path, "a.png", halves((40, 20)))
    with pytest.raises(
        DataError, match=r"every image must have a label map, b\.jpg has none in .*; parse these images"
    ):
        LabelMaps(tmp_path)(images("a.jpg", "b.jpg"))
    many = tuple(f"m{number}.jpg" for number in range(7))
    with pytest.raises(DataError, match=r"m0\.jpg has none .* m4\.jpg has none .*; and 2 more; "):
        LabelMaps(tmp_path)(images(*many))
    with pytest.raises(DataError, match=r"data\.regions must be a folder of label maps, .* does not exist"):
        LabelMaps(tmp_path / "none")


def test_a_map_of_another_size_is_named(tmp_path: Path) -> None:
    write(tmp_path, "a.png", halves((48, 20)))
    with pytest.raises(
        DataError,
        match=r"map of a\.jpg must have the size of its image or of the network's input, 40x20 or 64x32, got 48x20",
    ):
        LabelMaps(tmp_path)(images("a.jpg"))


@pytest.mark.parametrize(
    ("labels", "fault"),
    [
        (np.full((40, 20), 8, np.uint8), "labels must be 0 to 7, .* has 8 to 8"),
        (np.full((40, 20), -1, np.int32), "labels must be 0 to 7, .* has -1 to -1"),
        (np.zeros((40, 20, 3), np.uint8), r"\(h, w\) whole numbers, .* is \(40, 20, 3\) uint8"),
        (np.zeros((40, 20), np.float32), r"\(h, w\) whole numbers, .* is \(40, 20\) float32"),
    ],
)
def test_what_are_no_labels_is_named(tmp_path: Path, labels: np.ndarray, fault: str) -> None:
    write(tmp_path, "a.npy", labels)
    with pytest.raises(DataError, match=fault):
        LabelMaps(tmp_path)(images("a.jpg"))


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("no image")
    (tmp_path / "b.npy").write_text("no array")
    with pytest.raises(DataError, match=r"readable, .*a\.png: is no image; a label map must be readable, .*b\.npy"):
        LabelMaps(tmp_path)(images("a.jpg", "b.jpg"))


def network(path: Path, classes: int, of_colour: dict[int, tuple[float, float, float]], size: int = 8) -> Path:
    """Write a network of images (b, 3, 2 size, size): one logit for each class, a weighted sum of the colours."""
    weights = np.zeros((classes, 3, 1, 1), np.float32)
    for index, colour in of_colour.items():
        weights[index, :, 0, 0] = colour
    graph = helper.make_graph(
        [helper.make_node("Conv", ["images", "weights"], ["logits"], kernel_shape=[1, 1])],
        "drawn",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["b", 3, 2 * size, size])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["b", classes, 2 * size, size])],
        [numpy_helper.from_array(weights, "weights")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_a_parser_is_run_and_its_classes_are_translated(tmp_path: Path) -> None:
    """Of LIP's classes, red is the face (13), blue trousers (9), the rest upper clothes (5) at 0."""
    file = network(tmp_path / "parser.onnx", 20, {13: (9.0, -9.0, -9.0), 9: (-9.0, -9.0, 9.0), 0: (-9.0, -9.0, -9.0)})
    crop = np.zeros((64, 32, 3), np.uint8)
    crop[:16] = (255, 0, 0)
    crop[32:] = (0, 0, 255)
    data = cv2.imencode(".png", crop[..., ::-1])[1].tobytes()
    shown = assemble([StoredCrop("a.png", "1", "1", "drawn", data)], 64, 32)
    labels = build_provider("parser", file, 1)(shown)
    assert labels.shape == (1, 64, 32)
    assert (labels[0, :14] == HEAD).all()
    assert (labels[0, 34:] == THIGHS).all()


def test_a_network_of_other_classes_and_a_file_that_is_none_are_named(tmp_path: Path) -> None:
    file = network(tmp_path / "other.onnx", 5, {})
    with pytest.raises(DataError, match=r"must give \(n, 20 or 8, h, w\) logits, got \(1, 5, 16, 8\)"):
        build_provider("parser", file, 1)(images("a.jpg"))
    with pytest.raises(DataError, match=r"must give \(n, 17, h, w\) heatmaps, got \(1, 5, 16, 8\)"):
        build_provider("pose", file, 1)(images("a.jpg"))
    with pytest.raises(DataError, match=r"data\.regions must be a network, .*none\.onnx"):
        build_provider("pose", tmp_path / "none.onnx")


def heatmaps(points: dict[int, tuple[int, int]], size: tuple[int, int] = (64, 32)) -> np.ndarray:
    heat = np.zeros((1, 17, *size), np.float32)
    for index, (x, y) in points.items():
        heat[0, index, y, x] = 1.0
    return heat


STANDING = {
    0: (16, 6), 1: (17, 5), 2: (15, 5), 5: (22, 14), 6: (10, 14), 7: (25, 22), 8: (7, 22), 9: (26, 30), 10: (6, 30),
    11: (20, 32), 12: (12, 32), 13: (20, 45), 14: (12, 45), 15: (20, 58), 16: (12, 58),
}  # fmt: skip


def test_a_pose_is_drawn_as_regions() -> None:
    (labels,) = from_keypoints(heatmaps(STANDING))
    places = {(16, 6): HEAD, (16, 20): TORSO, (25, 24): LEFT_ARM, (6, 26): RIGHT_ARM, (20, 40): THIGHS, (12, 50): SHINS,
              (12, 58): FEET, (1, 1): 0, (31, 60): 0}  # fmt: skip
    assert {place: int(labels[place[1], place[0]]) for place in places} == places
    assert set(np.unique(labels)) == set(range(8))


def test_what_a_pose_does_not_see_is_not_drawn() -> None:
    upper = {index: point for index, point in STANDING.items() if index < 13}
    assert not set(np.unique(from_keypoints(heatmaps(upper)))) & {THIGHS, SHINS, FEET}
    assert not from_keypoints(heatmaps({})).any()


def test_a_run_without_regions_asks_for_none(tmp_path: Path) -> None:
    shown = images("a.jpg")
    assert region_labels(recipe("strong"), shown) is None
    assert region_labels(recipe("magnifier"), shown) is None
    write(tmp_path, "a.png", halves((40, 20)))
    settings = recipe("magnifier", ("model.regions=labels", f"data.regions={tmp_path}"))
    labels = region_labels(settings, shown)
    assert labels is not None
    assert labels.shape == (1, 64, 32)
