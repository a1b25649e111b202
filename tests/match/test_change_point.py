"""Tracks that change from one person to another are cut, with events."""

import numpy as np

from reid_stream.config.settings import Match
from reid_stream.match.change_point import find_change
from reid_stream.match.matcher import Matcher
from reid_stream.match.scoring import Scorer
from reid_stream.records import CameraId, Floats, Observation, Sighting, Split, TrackId, pack_vector

_DIM = 256
_FIRST_AT = 1_000_000.0


def _looks(person: int, count: int, noise: float = 0.15) -> Floats:
    """Return vectors (count, d) of a person at unit length."""
    rng = np.random.default_rng(person)
    middle = rng.normal(size=_DIM)
    vectors = middle / np.linalg.norm(middle) + noise * rng.normal(size=(count, _DIM)) / np.sqrt(_DIM)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


def _place(vectors: Floats) -> int | None:
    shares = np.full(len(vectors), 1 / len(vectors), dtype=np.float32)
    return find_change(vectors, shares, Scorer(Match(similarity=0.6), None, None), 0.0)


def test_a_track_is_cut_where_another_person_starts() -> None:
    assert _place(np.concatenate([_looks(1, 5), _looks(2, 4)])) == 5
    assert _place(np.concatenate([_looks(1, 1), _looks(2, 6)])) == 1


def test_a_track_of_one_person_is_left_whole() -> None:
    assert all(_place(_looks(person, count)) is None for person in range(20) for count in (2, 3, 8))


def test_one_odd_vector_needs_more_than_several() -> None:
    one, other = _looks(1, 1, 0.0), _looks(2, 1, 0.0)
    other = other - (other @ one.T) * one
    odd = np.asarray(0.3 * one + np.sqrt(0.91) * other / np.linalg.norm(other), dtype=np.float32)
    assert _place(np.concatenate([_looks(1, 6, 0.0), odd])) is None
    assert _place(np.concatenate([_looks(1, 6, 0.0), np.repeat(odd, 6, axis=0)])) == 6


def _seen(vector: Floats, second: int) -> Observation:
    return Observation(
        run="run", camera=CameraId("door"), track=TrackId(1), sequence=second, seen_at=_FIRST_AT + second, clock="rtcp",
        box=(10.0, 10.0, 60.0, 160.0), frame_size=(640, 480), score=0.9, quality=0.8, vector=pack_vector(vector),
        model="bundle-a",
    )  # fmt: skip


def test_events_of_the_second_person_are_corrected_from_the_cut_on() -> None:
    matcher = Matcher(Match(similarity=0.6), "site", "bundle-a")
    decisions = []
    for second, vector in enumerate(np.concatenate([_looks(1, 5), _looks(2, 5)])):
        decisions += matcher.update([_seen(vector, second)], _FIRST_AT + second)
    identities = {d.observation.sequence: d.person for d in decisions if isinstance(d, Sighting)}
    splits = [decision for decision in decisions if isinstance(decision, Split)]
    assert identities[0] == identities[4] != identities[9]
    assert [(split.person, split.into) for split in splits] == [(identities[0], identities[9])]
    assert splits[0].spans == ((_FIRST_AT + 4.5, None),)
    assert splits[0].last_parts == (("door", "run", 1),)


def test_a_cut_survives_a_restart() -> None:
    vectors = np.concatenate([_looks(1, 5), _looks(2, 8)])
    whole = Matcher(Match(similarity=0.6), "site", "bundle-a")
    began = Matcher(Match(similarity=0.6), "site", "bundle-a")
    for second, vector in enumerate(vectors[:9]):
        for matcher in (whole, began):
            matcher.update([_seen(vector, second)], _FIRST_AT + second)
    restored = Matcher(Match(similarity=0.6), "site", "bundle-a", state=began.state())
    for second, vector in enumerate(vectors[9:], 9):
        records, now = [_seen(vector, second)], _FIRST_AT + second
        assert restored.update(records, now) == whole.update(records, now)
