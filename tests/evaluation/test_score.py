"""The score: wrong merges and missed links are seen, over cameras."""

from collections.abc import Hashable
from pathlib import Path

import numpy as np
import pytest

from reid_stream.evaluation.score import Boxes, read_mot, score

BOX = (10.0, 10.0, 50.0, 90.0)


def camera(*people: Hashable) -> Boxes:
    return Boxes(np.arange(len(people)), people, np.asarray([BOX] * len(people)))


def test_names_do_not_matter_when_everybody_has_one() -> None:
    result = score({"a": camera(1, 1, 2), "b": camera(1)}, {"a": camera("x", "x", "y"), "b": camera("x")})
    assert (result.hota, result.idf1, result.ass_pr, result.ass_re) == pytest.approx((1, 1, 1, 1))


def test_a_missed_link_between_cameras_costs_recall_and_no_precision() -> None:
    result = score({"a": camera(1, 1), "b": camera(1, 1)}, {"a": camera("x", "x"), "b": camera("y", "y")})
    assert (result.ass_pr, result.ass_re, result.idf1) == pytest.approx((1.0, 0.5, 0.5))


def test_a_wrong_merge_costs_precision_and_no_recall() -> None:
    result = score({"a": camera(1, 1), "b": camera(2, 2)}, {"a": camera("x", "x"), "b": camera("x", "x")})
    assert (result.ass_pr, result.ass_re, result.idf1) == pytest.approx((0.5, 1.0, 0.5))


def test_a_camera_nobody_predicted_counts_as_missed() -> None:
    assert score({"a": camera(1), "b": camera(1)}, {"a": camera("x")}).idr == pytest.approx(0.5)


def test_a_predicted_camera_without_truth_is_refused() -> None:
    with pytest.raises(ValueError, match="every camera needs its truth"):
        score({"a": camera(1)}, {"z": camera(1)})


def test_one_person_twice_in_a_frame_is_refused() -> None:
    twice = Boxes(np.asarray([1, 1]), ("x", "x"), np.asarray([BOX, BOX]))
    with pytest.raises(ValueError, match="once a frame"):
        score({"a": camera(1)}, {"a": twice})


def test_mot_text_is_read_without_what_is_not_counted(tmp_path: Path) -> None:
    path = tmp_path / "gt.txt"
    path.write_text("1,7,10,20,30,40,1,1,1\n2,7,10,20,30,40,0,1,1\n\n")
    boxes = read_mot(path)
    assert (boxes.frames.tolist(), boxes.people, boxes.boxes.tolist()) == ([1], (7,), [[10, 20, 40, 60]])
    path.write_text("1,7,ten\n")
    with pytest.raises(ValueError, match="line 1"):
        read_mot(path)
