"""Snapshots of the matcher at any moment, and a matcher that continues from one."""

import msgspec
import numpy as np
import pytest

from reid_stream.config.settings import Match
from reid_stream.match.matcher import Matcher
from reid_stream.match.snapshot import join
from reid_stream.records import Decision, Perceived
from tests.worlds import MODEL, World


def batches() -> list[tuple[float, list[Perceived]]]:
    """A world in which people are hard to distinguish, so that many decisions are corrected later."""
    found: dict[float, list[Perceived]] = {}
    for record in World(people=12, cameras=3, seed=5, dim=16, noise=1.2).observations():
        found.setdefault(record.seen_at, []).append(record)
    return sorted(found.items())


def matcher(**more: object) -> Matcher:
    return Matcher(Match(similarity=0.55), "site", MODEL, **more)  # type: ignore[arg-type]


def test_a_matcher_continues_from_any_moment_with_the_very_same_decisions() -> None:
    world = batches()
    one = matcher()
    moments, decisions = {}, []
    chosen = set(np.random.default_rng(0).choice(len(world), 8, replace=False).tolist())
    for place, (now, records) in enumerate(world):
        if place in chosen:
            moments[place] = list(one.capture().parts())
        decisions.append(one.update(records, now))
    assert {type(decision).__name__ for step in decisions for decision in step} >= {"Merge", "Sighting"}
    for place, parts in moments.items():
        other = matcher(state=join(parts))
        again: list[list[Decision]] = [other.update(records, now) for now, records in world[place:]]
        assert again == decisions[place:]


def test_a_capture_is_of_its_moment_however_late_it_is_written_down() -> None:
    world = batches()
    one = matcher()
    for now, records in world[:100]:
        one.update(records, now)
    capture = one.capture()
    at_once = list(capture.parts())
    for now, records in world[100:]:
        one.update(records, now)
    assert list(capture.parts()) == at_once


def test_what_is_no_capture_is_refused() -> None:
    with pytest.raises(ValueError, match="parts of a snapshot"):
        join([b"\xc1"])
    with pytest.raises(ValueError, match="parts of a snapshot"):
        join([])


def test_the_names_on_disk_stay_so_that_older_snapshots_are_read() -> None:
    assert set(msgspec.msgpack.decode(next(iter(matcher().capture().parts())))) == {
        "model", "next_number", "next_serial", "people", "exemplars", "tracks", "cameras", "topology", "newcomers",
        "redundancy", "said", "gallery", "recent", "turn", "instants", "strangers",
    }  # fmt: skip
