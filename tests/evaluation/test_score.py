"""Scores over cameras show wrong merges and missed links."""

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reid_stream.evaluation.align import Boxes, align
from reid_stream.evaluation.score import mean, score, score_cameras
from reid_stream.evaluation.truth import read_mot

BOX = (10.0, 10.0, 50.0, 90.0)


def camera(*people: Hashable) -> Boxes:
    return Boxes(np.arange(len(people)), people, np.asarray([BOX] * len(people)).reshape(-1, 4))


def test_names_do_not_matter_when_everybody_has_one() -> None:
    result = score({"a": camera(1, 1, 2), "b": camera(1)}, {"a": camera("x", "x", "y"), "b": camera("x")})
    assert (result.hota, result.idf1, result.ass_pr, result.ass_re) == pytest.approx((1, 1, 1, 1))


def test_a_missed_link_between_cameras_costs_recall_and_no_precision() -> None:
    result = score({"a": camera(1, 1), "b": camera(1, 1)}, {"a": camera("x", "x"), "b": camera("y", "y")})
    assert (result.ass_pr, result.ass_re, result.idf1) == pytest.approx((1.0, 0.5, 0.5))


def test_a_wrong_merge_costs_precision_and_no_recall() -> None:
    result = score({"a": camera(1, 1), "b": camera(2, 2)}, {"a": camera("x", "x"), "b": camera("x", "x")})
    assert (result.ass_pr, result.ass_re, result.idf1) == pytest.approx((0.5, 1.0, 0.5))


def test_a_camera_without_predictions_counts_as_missed() -> None:
    assert score({"a": camera(1), "b": camera(1)}, {"a": camera("x")}).idr == pytest.approx(0.5)


def test_a_predicted_camera_without_truth_is_refused() -> None:
    with pytest.raises(ValueError, match="every predicted camera must have truth"):
        score({"a": camera(1)}, {"z": camera(1)})


def test_one_person_twice_in_a_frame_is_refused() -> None:
    twice = Boxes(np.asarray([1, 1]), ("x", "x"), np.asarray([BOX, BOX]))
    with pytest.raises(ValueError, match="in a frame once"):
        score({"a": camera(1)}, {"a": twice})


def test_a_camera_by_itself_knows_no_links() -> None:
    truth = {"a": camera(1, 1), "b": camera(1, 1), "c": camera()}
    cameras = score_cameras(align(truth, {"a": camera("x", "x"), "b": camera("y", "z")}))
    assert set(cameras) == {"a", "b"}
    assert (cameras["a"].idf1, cameras["b"].idf1) == pytest.approx((1.0, 0.5))
    assert mean(list(cameras.values())).idf1 == pytest.approx(0.75)


TRUTH_WITH_IGNORED = """\
1,1,10,20,30,60,1,1,1
1,2,100,20,30,60,0,1,1
1,3,200,20,30,60,1,3,1
2,1,12,20,30,60,1,1,1
2,2,102,20,30,60,0,1,1
2,3,202,20,30,60,1,7,1
"""
COUNTED = [(1, 1, 10), (2, 1, 12)]
IGNORED = [(1, 2, 101), (1, 3, 200), (2, 2, 102), (2, 3, 203)]


def predicted(rows: list[tuple[int, int, int]]) -> dict[str, Boxes]:
    corners = np.asarray([(left, 20, left + 30, 80) for _, _, left in rows], dtype=np.float64).reshape(-1, 4)
    return {"a": Boxes(np.asarray([frame for frame, _, _ in rows]), tuple(who for _, who, _ in rows), corners)}


@pytest.mark.parametrize("seen", [[], IGNORED, IGNORED[:1], IGNORED[1:3]])
def test_what_the_truth_ignores_neither_helps_nor_hurts(tmp_path: Path, seen: list[tuple[int, int, int]]) -> None:
    (tmp_path / "gt.txt").write_text(TRUTH_WITH_IGNORED)
    truth = {"a": read_mot(tmp_path / "gt.txt")}
    result = score(truth, predicted(COUNTED + seen))
    assert (result.hota, result.idf1, result.det_pr) == pytest.approx((1, 1, 1))
    missed = score(truth, predicted(COUNTED[:1] + seen))
    assert missed == score(truth, predicted(COUNTED[:1]))


def test_a_second_box_on_an_ignored_one_and_a_box_beside_it_are_false(tmp_path: Path) -> None:
    (tmp_path / "gt.txt").write_text(TRUTH_WITH_IGNORED)
    truth = {"a": read_mot(tmp_path / "gt.txt")}
    for extra in ((1, 9, 103), (1, 9, 119)):
        assert score(truth, predicted([*COUNTED, *IGNORED, extra])).idp == pytest.approx(2 / 3)


def test_a_box_on_a_person_at_the_place_of_an_ignored_one_counts_for_the_person(tmp_path: Path) -> None:
    (tmp_path / "gt.txt").write_text("1,1,10,20,30,60,1,1,1\n1,2,10,20,30,60,0,1,1\n")
    truth = {"a": read_mot(tmp_path / "gt.txt")}
    assert score(truth, predicted([(1, 5, 10)])).idf1 == pytest.approx(1)


def test_another_library_finds_the_same() -> None:
    """`reid-hota` (NIST) pairs IDs once for all, as IDF1 does; its IDF1 at an overlap of a half must be ours."""
    hota = pytest.importorskip("reid_hota", reason="the `eval` extra brings reid-hota, for a second opinion")
    pandas = pytest.importorskip("pandas")
    chance = np.random.default_rng(5)
    frames = np.repeat(np.arange(60), 4)
    people = np.tile(np.arange(4), 60)
    corners = np.asarray([(p * 60.0 + f, 10.0, p * 60.0 + f + 40, 90.0) for p, f in zip(people, frames, strict=True)])
    truth, published = {}, {}
    for number, name in enumerate("ab"):
        truth[name] = Boxes(frames, tuple(people.tolist()), corners)
        kept = chance.random(len(frames)) < 0.9
        names = np.where((frames > 30) & (people < 2), 1 - people, people) + 10 * number * (people == 3)
        published[name] = Boxes(
            frames[kept], tuple(names[kept].tolist()), (corners + chance.normal(0, 5, corners.shape))[kept]
        )

    def tables(cameras: dict[str, Boxes]) -> dict[str, Any]:
        return {
            name: pandas.DataFrame({"frame": boxes.frames, "id": boxes.people}
                                   | {edge: boxes.boxes[:, n] for n, edge in enumerate(("x1", "y1", "x2", "y2"))})
            for name, boxes in cameras.items()
        }  # fmt: skip

    evaluator = hota.HOTAReIDEvaluator(
        config=hota.HOTAConfig(
            iou_thresholds=np.asarray([0.5]), reference_contains_dense_annotations=True, suppress_print_statements=True
        )
    )
    evaluator.evaluate(tables(truth), tables(published))
    other = evaluator.get_global_hota_data()
    ours = score(truth, published)
    assert 0.5 < ours.idf1 < 0.9
    assert ours.idf1 == pytest.approx(float(np.ravel(other["IDF1"])[0]), abs=1e-9)
