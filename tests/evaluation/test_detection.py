"""Average precision of detectors: right answers count, ignored people do not."""

from pathlib import Path

import numpy as np
import pytest

from reid_stream.evaluation.detection import FrameTruth, average_precision, read_truth
from reid_stream.records import Detections

BOXES = np.array([[10, 20, 30, 80], [100, 40, 140, 120]], dtype=np.float32)
SCORES = np.array([0.9, 0.6], dtype=np.float32)


def _people(*ignored: bool) -> FrameTruth:
    return FrameTruth(BOXES, np.array(ignored, dtype=bool))


def test_finding_everyone_and_nothing_else_is_perfect() -> None:
    result = average_precision([Detections(BOXES, SCORES)], [_people(False, False)])
    assert result.ap50 == pytest.approx(1)
    assert result.ap == pytest.approx(1)


def test_a_missed_person_costs_and_an_ignored_one_does_not() -> None:
    first = Detections(BOXES[:1], SCORES[:1])
    assert average_precision([first], [_people(False, False)]).ap50 == pytest.approx(0.5, abs=0.01)
    assert average_precision([first], [_people(False, True)]).ap50 == pytest.approx(1)


def test_finding_an_ignored_person_is_no_mistake() -> None:
    reversed_scores = Detections(BOXES, SCORES[::-1].copy())
    assert average_precision([reversed_scores], [_people(False, True)]).ap50 == pytest.approx(1)


def test_mot_text_is_read_by_frame(tmp_path: Path) -> None:
    path = tmp_path / "gt.txt"
    path.write_text("1,7,10,20,20,60,1,-1,-1,-1\n3,7,11,20,20,60,0,-1,-1,-1\n")
    truth = read_truth(path)
    assert sorted(truth) == [1, 3]
    np.testing.assert_allclose(truth[1].boxes, BOXES[:1])
    assert truth[3].is_ignored.tolist() == [True]
