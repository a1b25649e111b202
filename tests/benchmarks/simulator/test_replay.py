"""Worlds through the real matcher: published identities and the counts made of them."""

import numpy as np
import pytest

from benchmarks.simulator.experiments import _wilson
from benchmarks.simulator.figures import WorldFigures, figures
from benchmarks.simulator.recorded import recording
from benchmarks.simulator.replay import MatcherSpec, replay
from benchmarks.simulator.world import SimulatedWorld, simulate
from reid_stream.bundles.bundle import Calibration, EmbedderBundle, EmbedderInput, Probe, Verifier
from reid_stream.config.settings import Match
from reid_stream.evaluation import recording as recordings
from reid_stream.evaluation.score import score
from reid_stream.evaluation.stream import boxes_of
from tests.benchmarks.simulator.people import calm, looks


def play(world: SimulatedWorld, **options: object) -> WorldFigures:
    return figures(world, replay(world, MatcherSpec(Match.model_validate(options))))


@pytest.fixture(scope="module")
def plain() -> SimulatedWorld:
    return simulate(calm(), looks(12), 1)


def test_people_who_look_unlike_all_others_are_followed_without_fault(plain: SimulatedWorld) -> None:
    found = play(plain, similarity=0.6)
    assert (found.idf1, found.hota, found.purity, found.links) == (1, 1, 1, 1)
    assert (found.false_matches, found.wrong_merges, found.missed_links) == (0, 0, 0)
    assert found.identities == found.people
    assert found.newcomers == found.people
    assert found.comparisons == sum(range(found.people))


def test_no_person_is_linked_where_nothing_is_alike_enough(plain: SimulatedWorld) -> None:
    strict = MatcherSpec(
        Match(settle_s=0), Verifier(d=[1.0] * 32, b=-20.0, train_prior=0.5), Calibration(kind="none", parameters={})
    )
    found = figures(plain, replay(plain, strict))
    assert found.identities == found.tracks
    assert found.missed_links == found.links_to_make == found.tracks - found.people
    assert (found.links, found.false_matches) == (0, 0)


def test_everybody_but_the_first_is_a_false_match_where_anything_is_alike_enough(plain: SimulatedWorld) -> None:
    found = play(plain, similarity=0.0)
    assert found.false_arrivals > 0.5
    assert found.false_match_rate == pytest.approx(found.false_matches / found.comparisons)
    assert found.purity < 0.8
    assert found.wrong_merges >= 1


def test_final_identities_are_kept_apart_from_first_ones() -> None:
    # Two crops in three are noise, so that first answers are often a new identity, which a merge then corrects.
    world = simulate(calm(people=20, mixed_share=0.6, mixed_weight=0.5), looks(20), 2)
    published = replay(world, MatcherSpec(Match(similarity=0.75)))
    assert published.merges > 0
    assert (published.at_once != published.in_the_end).any()
    found = figures(world, published)
    assert found.idf1 != found.idf1_at_once


def test_a_world_without_people_in_view_scores_nothing_and_crashes_nothing() -> None:
    people = looks(2)
    people.count[:] = 0
    world = simulate(calm(people=2), people, 1)
    assert world.observations == 0
    assert list(world.batches()) == []


def test_a_world_kept_as_a_recording_is_matched_alike(plain: SimulatedWorld) -> None:
    bundle = EmbedderBundle(
        name="toy",
        hash=plain.looks.model,
        created="2026-01-01T00:00:00Z",
        licence="none",
        data=[],
        source="here",
        probe=Probe(seed=0, shape=[1, 32], output=[0.0] * 32, tolerance=0.1),
        input=EmbedderInput(height=8, width=4),
        dim=32,
        verifier=Verifier(d=[1.0] * 32, b=1.0, train_prior=0.5),
        calibration=Calibration(kind="none", parameters={}),
    )
    kept = recording(plain, bundle, "plain")
    events = recordings.replay(kept, Match(similarity=0.6))
    assert score(kept.true_boxes(), boxes_of(events, kept.cameras).in_the_end).idf1 == pytest.approx(1, abs=1e-6)


def test_an_interval_of_a_rate_holds_it_and_knows_zero_from_one_in_many() -> None:
    assert _wilson(0, 100)[0] == 0
    assert 0.02 < _wilson(0, 100)[2] < 0.05
    low, high = _wilson(10, 1000)[1:]
    assert low < 0.01 < high
    assert np.isnan(_wilson(0, 0)[0])
