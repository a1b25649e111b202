"""Class names are read in every usual notation; those that cannot be read are asked for, never taken for people."""

from pathlib import Path

import onnx
import pytest
from onnx import helper

from reid_stream.bundles.class_names import listed
from reid_stream.bundles.wrap import wrap_detector
from reid_stream.errors import ModelError
from tests.bundles.test_wrap import CELLS, network, person_found, rows_of

COCO_LIKE = ",".join("person" if index == 5 else f"class{index}" for index in range(80))


@pytest.mark.parametrize(
    "text",
    [
        "{0: 'car', 1: 'person'}",
        "{1: 'person', 0: 'car'}",
        '{"0": "car", "1": "person"}',
        "{'0': 'car', '1': 'person'}",
        '["car", "person"]',
        "('car', 'person')",
        "{'car': 0, 'person': 1}",
        '[{"id": 1, "name": "person"}, {"id": 0, "name": "car"}]',
        '[{"name": "car"}, {"name": "person"}]',
        '{"0": {"name": "car"}, "1": {"name": "person"}}',
        "car,person",
        "car; person",
        "car\nperson\n",
        "0: car\n1: person",
        "0 = car, 1 = person",
        "0 car\n1 person",
        "0\tcar\n1\tperson\n",
        "names:\n  0: car\n  1: person\n",
        "- car\n- person",
        "{0: car, 1: person}",
        "[car, person]",
        '{"names": {"0": "car", "1": "person"}, "nc": 2}',
        "[[0, 'car'], [1, 'person']]",
    ],
)
def test_every_notation_gives_the_names_in_the_networks_order(text: str) -> None:
    assert listed(text) == ["car", "person"]


@pytest.mark.parametrize("text", ["", "  ", "{}", "[]", "None", "null", "80"])
def test_a_text_without_names_states_none(text: str) -> None:
    assert listed(text) == []


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "???{{",
        "{1: 'car', 2: 'person'}",
        '{"0": null, "1": "person"}',
        "[0, 1]",
        "__import__('os')[0]",
        "[[], []]",
    ],
)
def test_names_that_cannot_be_read_are_no_names(text: str) -> None:
    assert listed(text) is None


def with_metadata(path: Path, classes: int, person: int, key: str, text: str) -> Path:
    model = onnx.load(network(path, rows_of("yolo", classes, person, CELLS).T))
    helper.set_model_props(model, {key: text})
    onnx.save(model, path)
    return path


@pytest.mark.parametrize(
    ("key", "classes", "text"),
    [
        ("names", 1, "car"),
        ("names", 1, '{"0": "car"}'),
        ("id2label", 1, '{"0": "car"}'),
        ("labels", 1, "car"),
        ("names", 80, "{1: 'car'"),
    ],
)
def test_cars_named_in_any_notation_do_not_become_people(tmp_path: Path, key: str, classes: int, text: str) -> None:
    with pytest.raises(ModelError, match="--person|--classes"):
        wrap_detector(with_metadata(tmp_path / "m.onnx", classes, 0, key, text), tmp_path / "out")


@pytest.mark.parametrize("key", ["names", "class_names", "CLASSES", "Labels"])
def test_eighty_classes_in_an_order_of_their_own_keep_it(tmp_path: Path, key: str) -> None:
    made = wrap_detector(with_metadata(tmp_path / "m.onnx", 80, 5, key, COCO_LIKE), tmp_path / "out")
    assert (made.person, len(person_found(made, tmp_path / "out"))) == (5, 1)
