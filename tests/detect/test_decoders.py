"""Every detector family decodes to the same two persons."""

import numpy as np
import pytest

from reid_stream.detect.decoders import decode, fits, suppress

BOXES = np.array([[10, 20, 30, 80], [100, 40, 140, 120]], dtype=np.float32)
SCORES = np.array([0.9, 0.6], dtype=np.float32)


def _yolo(classes: int) -> np.ndarray:
    output = np.zeros((4 + classes, 50), dtype=np.float32)
    for column, (box, score) in zip((7, 31), zip(BOXES, SCORES, strict=True), strict=True):
        output[:4, column] = (*(box[:2] + box[2:]) / 2, *(box[2:] - box[:2]))
        output[4, column] = score
    return output


@pytest.mark.parametrize("classes", [1, 80])
def test_yolo_gives_persons_in_corners(classes: int) -> None:
    boxes, scores = decode("yolo", _yolo(classes), 0, 0.25, (640, 640))
    np.testing.assert_allclose(boxes, BOXES)
    np.testing.assert_allclose(scores, SCORES)


def test_what_is_rather_another_class_is_no_person() -> None:
    output = _yolo(80)
    output[4 + 16, 31] = 0.7  # a dog, more than a person
    boxes, _ = decode("yolo", output, 0, 0.25, (640, 640))
    np.testing.assert_allclose(boxes, BOXES[:1])


def test_end_to_end_yolo_gives_persons_best_first() -> None:
    output = np.zeros((300, 6), dtype=np.float32)
    output[4], output[9], output[11] = (*BOXES[1], 0.6, 0), (*BOXES[0], 0.9, 0), (1, 1, 2, 2, 0.99, 16)
    boxes, scores = decode("yolo_end2end", output, 0, 0.25, (640, 640))
    np.testing.assert_allclose(boxes, BOXES)
    np.testing.assert_allclose(scores, SCORES)


def test_yolox_gives_persons_from_their_grid_cells() -> None:
    size = (96, 64)
    cells = 12 * 8 + 6 * 4 + 3 * 2
    output = np.zeros((cells, 85), dtype=np.float32)
    row = 12 * 8 + 2 * 6 + 3  # grid of stride 16: column 3, row 2
    output[row, :4] = 0.5, 0.25, np.log(2), np.log(3)
    output[row, 4:6] = 0.9, 0.8
    boxes, scores = decode("yolox", output, 0, 0.25, size)
    np.testing.assert_allclose(boxes, [[3.5 * 16 - 16, 2.25 * 16 - 24, 3.5 * 16 + 16, 2.25 * 16 + 24]], rtol=1e-5)
    np.testing.assert_allclose(scores, [0.72], rtol=1e-5)


def test_of_boxes_on_one_person_the_best_stays() -> None:
    boxes = np.concatenate([BOXES, BOXES + 1])
    kept, scores = suppress((boxes, np.array([0.5, 0.6, 0.9, 0.3], dtype=np.float32)), 0.7)
    np.testing.assert_allclose(kept, [BOXES[0] + 1, BOXES[1]])
    np.testing.assert_allclose(scores, [0.9, 0.6], rtol=1e-6)


def test_nothing_found_is_an_empty_answer() -> None:
    found = decode("yolo", np.zeros((84, 50), dtype=np.float32), 0, 0.25, (640, 640))
    boxes, scores = suppress(found, 0.7)
    assert boxes.shape == (0, 4)
    assert scores.shape == (0,)


def test_the_candidates_for_suppression_are_bounded() -> None:
    corners = np.random.default_rng(0).uniform(0, 5000, (8000, 2)).astype(np.float32)
    scores = np.linspace(0.1, 0.9, 8000, dtype=np.float32)
    _, kept = suppress((np.concatenate([corners, corners + 1], axis=1), scores), 0.7)
    assert len(kept) <= 1000
    assert kept.min() > 0.7


def test_an_output_of_another_family_is_seen() -> None:
    assert fits("yolo", (None, 84, None), 80)
    assert fits("yolo", (1, 5, 8400), 1)
    assert fits("yolox", (1, 3549, 85), 80)
    assert fits("yolo_end2end", (1, 300, 6), 80)
    assert not fits("yolo", (1, 300, 6), 80)
    assert not fits("yolox", (1, 84, 8400), 80)
    assert not fits("yolo", (1, 84), 80)
