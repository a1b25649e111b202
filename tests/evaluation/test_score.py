"""The score: wrong merges and missed links are seen, over cameras."""

from collections.abc import Hashable
from typing import Any

import numpy as np
import pytest

from reid_stream.evaluation.align import Boxes, align
from reid_stream.evaluation.score import mean, score, score_cameras

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


def test_a_camera_nobody_predicted_counts_as_missed() -> None:
    assert score({"a": camera(1), "b": camera(1)}, {"a": camera("x")}).idr == pytest.approx(0.5)


def test_a_predicted_camera_without_truth_is_refused() -> None:
    with pytest.raises(ValueError, match="every camera needs its truth"):
        score({"a": camera(1)}, {"z": camera(1)})


def test_one_person_twice_in_a_frame_is_refused() -> None:
    twice = Boxes(np.asarray([1, 1]), ("x", "x"), np.asarray([BOX, BOX]))
    with pytest.raises(ValueError, match="once a frame"):
        score({"a": camera(1)}, {"a": twice})


def test_a_camera_by_itself_knows_no_links() -> None:
    truth = {"a": camera(1, 1), "b": camera(1, 1), "c": camera()}
    cameras = score_cameras(align(truth, {"a": camera("x", "x"), "b": camera("y", "z")}))
    assert set(cameras) == {"a", "b"}
    assert (cameras["a"].idf1, cameras["b"].idf1) == pytest.approx((1.0, 0.5))
    assert mean(list(cameras.values())).idf1 == pytest.approx(0.75)


def test_another_library_finds_the_same() -> None:
    """`reid-hota` (NIST) pairs IDs once for all, as IDF1 does; its IDF1 at an overlap of a half must be ours."""
    hota = pytest.importorskip("reid_hota", reason="the `eval` extra brings reid-hota, for a second opinion")
    pandas = pytest.importorskip("pandas")
    chance = np.random.default_rng(5)
    frames = np.repeat(np.arange(60), 4)
    people = np.tile(np.arange(4), 60)
    corners = np.asarray([(p * 60.0 + f, 10.0, p * 60.0 + f + 40, 90.0) for p, f in zip(people, frames, strict=True)])
    truth, told = {}, {}
    for number, name in enumerate("ab"):
        truth[name] = Boxes(frames, tuple(people.tolist()), corners)
        kept = chance.random(len(frames)) < 0.9
        names = np.where((frames > 30) & (people < 2), 1 - people, people) + 10 * number * (people == 3)
        told[name] = Boxes(
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
    evaluator.evaluate(tables(truth), tables(told))
    other = evaluator.get_global_hota_data()
    ours = score(truth, told)
    assert 0.5 < ours.idf1 < 0.9
    assert ours.idf1 == pytest.approx(float(np.ravel(other["IDF1"])[0]), abs=1e-9)
