"""The budget names the stage that costs most."""

import msgspec
import pytest

from reid_stream.config.settings import Match
from reid_stream.evaluation.budget import BudgetRecordings, budget, linked
from reid_stream.evaluation.recording import RecordedBatch, Recording, TrueBoxes
from reid_stream.evaluation.stream import boxes_of
from reid_stream.evaluation.summary import summarize
from reid_stream.records import Observation
from tests.evaluation.rows import FPS, TIMELINES, boxes
from tests.evaluation.test_delay import published
from tests.evaluation.test_recording import recorded
from tests.worlds import World


def with_truth(world: World) -> Recording:
    """A perfect perceive of a world, and that world's truth."""
    made = recorded(world)
    truth: dict[str, TrueBoxes] = {camera: TrueBoxes([], [], []) for camera in made.cameras}
    for batch in made.batches:
        for seen in batch.records:
            if isinstance(seen, Observation):
                here = truth[seen.camera]
                here.frames.append(made.cameras[seen.camera].frame(seen.seen_at))
                here.people.append(world.owner[seen.camera, seen.track])
                here.boxes.append(seen.box)
    return msgspec.structs.replace(made, truth=truth)


def test_links_by_truth_join_the_tracks_of_a_person_and_leave_ghosts_alone() -> None:
    truth = boxes([("door", 1, 1, 20, 0), ("till", 1, 31, 50, 0), ("till", 2, 31, 50, 100)])
    events = [
        *published("a", "door", range(1, 11), track=1),
        *published("b", "door", range(11, 21), track=2),
        *published("c", "till", range(31, 51), track=1),
        *published("c", "till", range(60, 64), track=9, place=400),
        *published("d", "till", range(31, 51), track=2, place=100),
    ]
    named = linked(truth, boxes_of(events, TIMELINES))
    assert set(named["door"].people) == {1}
    assert set(named["till"].people) == {1, 2, ("till", 9)}
    people = summarize(truth, named, FPS).people
    assert (people.purity, people.missed_links, people.ghosts) == (1.0, 0, 1)


def without(made: Recording, world: World, people: set[int]) -> Recording:
    """Output of a perception that never sees some people."""
    batches = [
        RecordedBatch(batch.now, [each for each in batch.records if world.owner[each.camera, each.track] not in people])
        for batch in made.batches
    ]
    return msgspec.structs.replace(made, batches=[batch for batch in batches if batch.records])


def test_where_vectors_say_little_links_are_the_largest_loss() -> None:
    made = with_truth(World(people=4, cameras=3, seed=5, noise=6.0))
    found = budget(BudgetRecordings(made, made, made, made), Match(similarity=0.6))
    assert (found.losses[0].stage, found.losses[0].idf1 > 0.3) == ("links", True)
    lines = {line.what: line.across for line in found.lines}
    assert lines["true links"] == lines["all true, as published"]
    assert lines["true links"].ass_pr == pytest.approx(1.0)
    # Boxes and tracks were perfect all along, so making them perfect brings nothing.
    assert {loss.stage: (loss.idf1, loss.hota) for loss in found.losses}["boxes"] == (0, 0)
    assert {loss.stage: (loss.idf1, loss.hota) for loss in found.losses}["tracks"] == (0, 0)


def test_where_people_are_overlooked_boxes_are_the_largest_loss() -> None:
    world = World(people=4, cameras=3, seed=5, noise=0.3)
    made = with_truth(world)
    blind = without(made, world, {0, 1, 2})
    found = budget(
        BudgetRecordings(ours=blind, true_boxes=made, true_tracks=blind, true_both=made), Match(similarity=0.6)
    )
    assert found.losses[0].stage == "boxes"
    lines = {line.what: line.across for line in found.lines}
    assert lines["true links"].det_re < 0.5 < 0.9 < lines["true boxes"].det_re
