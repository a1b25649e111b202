"""The scorecard: figures of the bundles' cards, means over sets, changes since the last one."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.accuracy import scorecard
from benchmarks.accuracy.compare import ORACLE, OURS, Comparison, LinkingResult
from benchmarks.accuracy.scorecard import Groups, ScoreCard
from reid_stream.evaluation.score import Score


def row(way: str, idf1: float) -> LinkingResult:
    return LinkingResult(way, None, Score(0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, idf1, 0.5, 0.5), 3)


def comparison(name: str, ours: float, oracle: float) -> Comparison:
    return Comparison(name, people=3, tracks=9, vectors=20, rows=(row(OURS, ours), row(ORACLE, oracle)))


def card(figures: Groups, commit: str = "abc", at: float = 1.0) -> ScoreCard:
    return ScoreCard(
        commit=commit, at=at, embedder="e", detector="d", figures=figures, compared={"a": comparison("a", 0.6, 0.8)}
    )


def drawn(figures: Groups, before: scorecard.EarlierCard | None) -> list[list[str]]:
    out = io.StringIO()
    Console(file=out, width=160).print(scorecard.table(figures, before))
    return [line.split() for line in out.getvalue().splitlines()]


def test_the_card_of_a_bundle_gives_retrieval_and_calibration() -> None:
    metrics = {
        "market.cosine.rank1": 0.7,
        "market.verification.rank1": 0.75,
        "market.cosine.mAP": 0.6,
        "market.ECE@1:1": 0.01,
        "market.ECE@1:100": 0.001,
        "market.cosine.DIR@FAR0.01": 0.2,
        "market:validation.P@FMR0.01": 0.9,
        "checkpoint.validation.mAP": 0.73,
    }
    assert scorecard.of_embedder(metrics) == {
        "retrieval": {"market Rank-1": 0.75, "market mAP": 0.6},
        "calibration": {"market ECE": 0.01},
    }


def test_sets_have_a_mean_and_single_cameras_no_links() -> None:
    compared = {"a": comparison("a", 0.6, 0.8), "b": comparison("b", 0.9, 0.9)}
    groups = scorecard.of_sets({"a": 0.5, "b": 0.7, "one": 0.3}, compared)
    assert groups[scorecard.SINGLE] == pytest.approx({"mean": 0.5, "a": 0.5, "b": 0.7, "one": 0.3})
    assert groups[scorecard.ACROSS] == pytest.approx({"mean": 0.75, "a": 0.6, "b": 0.9})
    assert groups[scorecard.SHARE] == pytest.approx({"mean": 0.875, "a": 0.75, "b": 1.0})
    assert list(scorecard.of_sets({"one": 0.3}, {})) == [scorecard.SINGLE]


def test_the_newest_score_is_compared_with_and_other_files_are_passed_over(tmp_path: Path) -> None:
    assert scorecard.latest(tmp_path) is None
    scorecard.keep(card({"retrieval": {"x": 0.1}}, "old", at=5.0), tmp_path)
    scorecard.keep(card({"retrieval": {"x": 0.2}}, "new", at=9.0), tmp_path)
    (tmp_path / "first-format.json").write_text('{"worlds/plaza": {"at_once": {}}}')
    (tmp_path / "broken.json").write_text("{")
    before = scorecard.latest(tmp_path)
    assert before is not None
    assert (before.commit, before.figures) == ("new", {"retrieval": {"x": 0.2}})


def test_a_change_is_shown_beside_what_it_was(tmp_path: Path) -> None:
    scorecard.keep(card({"retrieval": {"x": 0.5, "same": 0.4}, "calibration": {"ECE": 0.02}}, "old"), tmp_path)
    figures = {"retrieval": {"x": 0.6, "same": 0.4001, "fresh": 0.3}, "calibration": {"ECE": 0.01}}
    lines = drawn(figures, scorecard.latest(tmp_path))
    assert ["retrieval", "x", "0.600", "0.500", "+0.100"] in lines
    assert ["same", "0.400", "0.400"] in lines
    assert ["fresh", "0.300"] in lines
    assert ["calibration", "ECE", "0.010", "0.020", "-0.010"] in lines
    assert ["retrieval", "x", "0.600"] in drawn(figures, None)


def test_means_over_other_sets_are_not_compared(tmp_path: Path) -> None:
    scorecard.keep(card({scorecard.SHARE: {"mean": 0.8, "a": 0.8}}), tmp_path)
    before = scorecard.latest(tmp_path)
    lines = drawn({scorecard.SHARE: {"mean": 0.7, "a": 0.85, "b": 0.55}}, before)
    assert [*scorecard.SHARE.split(), "mean", "0.700"] in lines
    assert ["a", "0.850", "0.800", "+0.050"] in lines
    assert [*scorecard.SHARE.split(), "mean", "0.810", "0.800", "+0.010"] in drawn(
        {scorecard.SHARE: {"mean": 0.81, "a": 0.81}}, before
    )


@pytest.mark.parametrize(("group", "by", "colour"), [("retrieval", 0.1, "green"), ("calibration", 0.1, "red")])
def test_a_calibration_error_is_better_when_it_falls(tmp_path: Path, group: str, by: float, colour: str) -> None:
    scorecard.keep(card({group: {"x": 0.5}}), tmp_path)
    cells = scorecard.table({group: {"x": 0.5 + by}}, scorecard.latest(tmp_path)).columns[-1].cells
    assert list(cells) == [f"[{colour}]+0.100[/]"]
