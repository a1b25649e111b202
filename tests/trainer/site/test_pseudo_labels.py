"""Tracks are clustered by similarity, never against a known fact."""

from typing import Any

import numpy as np
import pytest

from trainer.evaluate.retrieval import Doubles, Floats, Ints
from trainer.site.pseudo_labels import UNLINKED, centred, cluster, side_by_side


def people(count: int, tracks: int, noise: float = 0.05, seed: int = 0) -> tuple[Floats, Ints]:
    """Vectors (count * tracks, 32) and who each is."""
    random = np.random.default_rng(seed)
    centres = random.normal(size=(count, 32))
    who = np.repeat(np.arange(count), tracks)
    vectors = centres[who] + noise * random.normal(size=(len(who), 32))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), who


def never(count: int) -> Doubles:
    """Times (count, 2) without evidence: all people on every camera at any time."""
    began = np.random.default_rng(1).uniform(0, 1e5, count)
    return np.stack([began, began + 5], axis=1)


def joined(vectors: Floats, cameras: Ints, spans: Doubles | None = None, **facts: Any) -> Ints:
    spans = never(len(vectors)) if spans is None else spans
    return cluster(vectors, cameras, spans, facts.get("apart", []), facts.get("named", {}))


def test_tracks_of_one_person_become_one_cluster() -> None:
    vectors, who = people(12, 5)
    labels = joined(vectors, np.tile(np.arange(5), 12))
    assert len(np.unique(labels)) == 12
    for person in range(12):
        assert len(set(labels[who == person].tolist())) == 1


def test_a_track_unlike_all_others_gets_no_label() -> None:
    vectors, _ = people(6, 4)
    stranger = np.random.default_rng(9).normal(size=(1, 32)).astype(np.float32)
    every = np.concatenate([vectors, stranger / np.linalg.norm(stranger)])
    assert joined(every, np.append(np.tile(np.arange(4), 6), 4))[24] == UNLINKED


def test_the_time_that_people_take_tells_two_look_alikes_apart() -> None:
    """Everybody takes 30 s from camera 0 to camera 1; twins look the same there, and one of them came at that time."""
    vectors, who = people(40, 2)
    cameras = np.tile([0, 1], 40)
    starts = 50.0 * who + 30.0 * cameras
    spans = np.stack([starts, starts + 5], axis=1)
    twin, other = 2 * 10, 2 * 20
    vectors[other : other + 2] = vectors[twin : twin + 2]
    blind, seeing = joined(vectors, cameras), joined(vectors, cameras, spans)
    assert blind[twin + 1] == UNLINKED  # as like the one as the other
    assert seeing[twin] == seeing[twin + 1] != UNLINKED
    assert seeing[other] == seeing[other + 1] not in (UNLINKED, seeing[twin])


def test_tracks_seen_side_by_side_are_never_one() -> None:
    vectors, _ = people(8, 6)
    apart = [(0, 1), (1, 2), (0, 2)]
    labels = joined(vectors, np.tile(np.arange(6), 8), apart=apart)
    for first, second in apart:
        assert labels[first] != labels[second] or labels[first] == UNLINKED


def test_what_was_reviewed_holds_against_likeness() -> None:
    vectors, _ = people(8, 6)
    named = {0: "anna", 1: "anna", 6: "anna", 2: "bert"}  # 6 looks like another person
    labels = joined(vectors, np.tile(np.arange(6), 8), named=named)
    assert labels[0] == labels[1] == labels[6] != UNLINKED
    assert labels[2] not in (UNLINKED, labels[0])


def test_numbers_have_no_gaps() -> None:
    vectors, _ = people(5, 4)
    labels = joined(vectors, np.tile(np.arange(4), 5), apart=[(0, 1)], named={3: "anna", 19: "anna"})
    named = np.unique(labels[labels >= 0])
    assert named.tolist() == list(range(len(named)))


def test_the_mean_of_a_camera_is_taken_off() -> None:
    vectors, who = people(30, 2, seed=3)
    cameras = np.tile([0, 1], 30)
    tilted = vectors + np.where(cameras[:, None] == 1, 0.8 * vectors[0], 0)
    level = centred(tilted.astype(np.float32), cameras)
    same = np.array([level[who == person] for person in range(30)])
    assert float((same[:, 0] * same[:, 1]).sum(axis=1).mean()) > 0.9
    assert abs(float(level[cameras == 1].mean(axis=0) @ vectors[0])) < 0.1


def test_overlap_in_time_on_one_camera_keeps_tracks_apart() -> None:
    cameras = ["a", "a", "b", "a"]
    times = [[0.0, 5.0], [4.0, 9.0], [0.0, 9.0], [9.5, 12.0]]
    assert side_by_side(cameras, times) == [(0, 1)]


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_tracks_get_no_label(count: int) -> None:
    assert joined(np.ones((count, 4), np.float32), np.zeros(count, np.int64)).tolist() == [UNLINKED] * count
