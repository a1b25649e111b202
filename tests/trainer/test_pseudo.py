"""Tracks are put together by likeness, never against a known fact."""

import numpy as np
import pytest

from trainer.pseudo import NOBODY, centred, cluster, side_by_side
from trainer.retrieval import Floats, Ints


def people(count: int, tracks: int, noise: float = 0.05, seed: int = 0) -> tuple[Floats, Ints]:
    """Vectors (count * tracks, 32) and who each is."""
    random = np.random.default_rng(seed)
    centres = random.normal(size=(count, 32))
    who = np.repeat(np.arange(count), tracks)
    vectors = centres[who] + noise * random.normal(size=(len(who), 32))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), who


def test_tracks_of_one_person_become_one_cluster() -> None:
    vectors, who = people(12, 5)
    labels = cluster(vectors, np.zeros(len(who), np.int64), [], {})
    assert len(np.unique(labels)) == 12
    for person in range(12):
        assert len(set(labels[who == person].tolist())) == 1


def test_a_track_that_nobody_resembles_is_nobodys() -> None:
    vectors, _ = people(6, 8)
    stranger = np.random.default_rng(9).normal(size=(1, 32)).astype(np.float32)
    labels = cluster(np.concatenate([vectors, stranger / np.linalg.norm(stranger)]), np.zeros(49, np.int64), [], {})
    assert labels[48] == NOBODY


def test_tracks_seen_side_by_side_are_never_one() -> None:
    vectors, who = people(8, 6)
    apart = [(0, 1), (1, 2), (0, 2)]
    labels = cluster(vectors, np.zeros(len(who), np.int64), apart, {})
    for first, second in apart:
        assert labels[first] != labels[second] or labels[first] == NOBODY


def test_what_was_reviewed_holds_against_likeness() -> None:
    vectors, who = people(8, 6)
    named = {0: "anna", 1: "anna", 6: "anna", 2: "bert"}  # 6 looks like another person
    labels = cluster(vectors, np.zeros(len(who), np.int64), [], named)
    assert labels[0] == labels[1] == labels[6] != NOBODY
    assert labels[2] not in (NOBODY, labels[0])


def test_numbers_have_no_gaps() -> None:
    vectors, who = people(5, 4)
    labels = cluster(vectors, np.zeros(len(who), np.int64), [(0, 1)], {3: "anna", 19: "anna"})
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
def test_too_few_tracks_are_nobody(count: int) -> None:
    assert cluster(np.ones((count, 4), np.float32), np.zeros(count, np.int64), [], {}).tolist() == [NOBODY] * count
