"""A slice of the crash drill, and that it would find faults."""

import msgspec
import pytest

from benchmarks.faults.crash import CASES, PublishedEvents, _differences, _wrong_numbers, run
from benchmarks.faults.crash_feed import made_up
from benchmarks.faults.report import DrillResult, faults
from reid_stream.evaluation.recording import save


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[DrillResult]]:
    folder = tmp_path_factory.mktemp("crash")
    save(made_up(8), folder / "feed.rec")
    findings = run(folder / "feed.rec", folder, tuple(CASES), points=5, kills=2, lasts_s=1.0, seed=3, progress=print)
    return {name: [finding for finding in findings if finding.drill == name] for name in CASES}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_whatever_ends_a_daemon_no_person_changes_the_id(case: str, found: dict[str, list[DrillResult]]) -> None:
    assert len(found[case]) == 3
    assert not faults(found[case])


PUBLISHED = PublishedEvents(
    [("entered", "t", {"person": "a-1"}), ("left", "t", {"person": "a-1"})], [0, 1, 2], {"key": {"a": "1"}}
)


@pytest.mark.parametrize(
    ("wrong", "count"),
    [
        (PUBLISHED, 0),
        (msgspec.structs.replace(PUBLISHED, people=PUBLISHED.people[:1]), 1),
        (msgspec.structs.replace(PUBLISHED, people=PUBLISHED.people[::-1]), 2),
        (msgspec.structs.replace(PUBLISHED, live={}), 1),
    ],
)
def test_what_differs_is_counted(wrong: PublishedEvents, count: int) -> None:
    assert _differences(wrong, PUBLISHED) == count


@pytest.mark.parametrize(("numbers", "count"), [([0, 1, 2], 0), ([0, 1, 1], 1), ([0, 2], 1), ([0, 2, 1], 2)])
def test_a_number_that_is_missing_or_doubled_is_counted(numbers: list[int], count: int) -> None:
    assert _wrong_numbers(msgspec.structs.replace(PUBLISHED, numbers=numbers)) == count
