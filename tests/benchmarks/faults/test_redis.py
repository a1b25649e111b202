"""A slice of the Redis drill, and that it would find faults."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from benchmarks.faults import redis_subscriber as subscriber
from benchmarks.faults.redis import CASES, Pace, Run, default_settings, judge, run
from benchmarks.faults.redis_compare import StoredEvents, but_for_liveness, differences, doubled, reported_dropped
from benchmarks.faults.report import all_hold, faults
from reid_stream.config.settings import Models, Observe
from reid_stream.errors import ConfigError
from reid_stream.events import DaemonDropped, Event
from reid_stream.observe import logs
from reid_stream.publish.cloudevents import encode
from tests.integration.program import tiny_models
from tests.integration.rtsp import draw_clip
from tests.publish.shop import entered, left, seen


@pytest.fixture
def quiet() -> Iterator[None]:
    """Daemons and Redis servers of a drill fail on purpose."""
    logs.configure(Observe(log_level="critical"))
    yield
    structlog.reset_defaults()


def bodies(*events: Event, first: int = 0) -> list[bytes]:
    return [encode(event, site="shop", run="r", sequence=first + n) for n, event in enumerate(events)]


VISIT = bodies(entered("shop-1"), seen("shop-1"), left("shop-1"))


def changed(body: bytes, **fields: Any) -> bytes:
    event = json.loads(body)
    event["data"] |= fields
    return json.dumps(event).encode()


def test_a_field_that_differs_is_named_with_both_values() -> None:
    found = differences(StoredEvents([VISIT[0], changed(VISIT[1], track=9)]), StoredEvents(VISIT[:2]))
    assert found == ["entry 1, data.track: 9, not 3"]


def test_a_missing_event_and_a_live_key_that_differs_are_named() -> None:
    ours, wanted = StoredEvents(VISIT[:2], {"reid:shop:present:door": {b"shop-1"}}), StoredEvents(VISIT, {})
    assert differences(ours, wanted) == ["2 entries, not 3", "reid:shop:present:door: {b'shop-1'}, not None"]


def test_an_event_that_is_there_twice_is_counted() -> None:
    assert doubled(StoredEvents([*VISIT, VISIT[0]])) == 1


def test_what_was_given_up_by_rank_leaves_the_rest_the_same() -> None:
    dropped = DaemonDropped(run="r", told_at=1.0, reason="full", liveness=1, operation=0, identity=0)
    ours = StoredEvents(bodies(entered("shop-1"), dropped) + bodies(left("shop-1"), first=9))
    assert not differences(but_for_liveness(ours), but_for_liveness(StoredEvents(VISIT)))
    assert reported_dropped(ours) == Counter(liveness=1)


def a_run(**changes: Any) -> Run:
    given = {
        "left": StoredEvents(VISIT),
        "received": ["r-0", "r-1", "r-2"],
        "back_s": 0.1,
        "waited": 0,
        "longest_s": 0.01,
    }
    return Run(**{**given, "faults": {}, "dropped": Counter(), **changes})


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"left": StoredEvents(VISIT[:2]), "received": ["r-0", "r-1"]}, "differences in events and live keys"),
        ({"received": ["r-0", "r-1", "r-1", "r-2"]}, "differences of the subscriber's lines, killed and started again"),
        ({"back_s": 60.0}, "all events there after Redis was back"),
        ({"longest_s": 5.0}, "the daemon waits for its sink, p99"),
    ],
)
def test_what_is_wrong_fails_under_its_name(changes: dict[str, Any], what: str) -> None:
    assert all_hold(judge("killed", a_run(), a_run()))
    assert [finding.what for finding in judge("killed", a_run(**changes), a_run()) if not finding.holds] == [what]


def test_a_subscriber_that_was_killed_in_a_line_takes_that_event_again(tmp_path: Path) -> None:
    file = tmp_path / "received.txt"
    file.write_text("1-0 r-0\n2-0 r-")
    assert subscriber.received(file) == ["r-0"]


def test_an_unknown_case_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="spool-full, got molten"):
        run(default_settings(tmp_path / "none.mp4"), ("molten",), Pace(1, 1, 1, 1), lambda _: None)


@pytest.mark.slow
def test_a_daemon_gets_through_an_outage_beside_one_that_has_none(tmp_path: Path, quiet: None) -> None:
    models = tiny_models(tmp_path / "models")
    named = Models(detector=str(models / "detector"), embedder=str(models / "embedder"))
    clip = draw_clip(tmp_path / "a.mp4", seconds=6)
    settings = default_settings(clip).model_copy(update={"models": named})
    lines: list[str] = []
    findings = run(settings, ("killed",), Pace(6, 0.5, 1, 1.5, timeout_s=0.5), lines.append)
    assert {finding.drill for finding in findings} == {"undisturbed", "killed"} < set(CASES)
    assert not faults(findings)
    assert len(lines) == 2
