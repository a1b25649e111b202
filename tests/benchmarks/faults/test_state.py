"""A slice of the drill of far IDs, takeovers and a Redis that lost its data."""

from pathlib import Path

import pytest
import structlog

from benchmarks.faults.crash_feed import feed, made_up
from benchmarks.faults.redis_feed import RecordedFeed
from benchmarks.faults.report import faults
from benchmarks.faults.state import CASES, run, run_case
from reid_stream.config.settings import Observe
from reid_stream.errors import ConfigError
from reid_stream.evaluation.recording import save
from reid_stream.observe import logs


@pytest.fixture(scope="module")
def fed(tmp_path_factory: pytest.TempPathFactory) -> RecordedFeed:
    file = tmp_path_factory.mktemp("state") / "feed.rec"
    save(made_up(12), file)
    return feed(file)


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=[pytest.mark.slow] if case == "fenced-twice" else []) for case in CASES]
)
def test_nothing_is_lost_without_a_word_and_no_number_is_given_twice(
    case: str, fed: RecordedFeed, tmp_path: Path
) -> None:
    logs.configure(Observe(log_level="critical"))
    try:
        findings = run_case(case, fed, tmp_path)
    finally:
        structlog.reset_defaults()
    assert len(findings) >= 3
    assert not faults(findings)


def test_a_case_that_does_not_exist_is_an_error_with_the_cases() -> None:
    with pytest.raises(ConfigError, match="far-id, takeover, fenced-twice, emptied, restored, numbers, got lost"):
        run(("lost",), people=12, progress=print)
