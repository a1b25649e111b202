"""The tracker: identity by time, whatever the order of detections."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reid_stream.config.settings import Track
from reid_stream.records import CameraId, Detections, Tracks
from reid_stream.track.tracker import Tracker
from tests.worlds import walk

DOOR = CameraId("door")
ALGORITHMS = ("bytetrack", "botsort", "ocsort")


def follow(frames: list[tuple[float, Detections]], **options: object) -> list[Tracks]:
    tracker = Tracker(Track.model_validate(options))
    return [tracker.update(DOOR, at, found) for at, found in frames]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("fps", [2, 5, 10, 30])
def test_people_who_walk_side_by_side_keep_their_tracks(algorithm: str, fps: int) -> None:
    tracks = follow(walk(frames=6 * fps, people=3, fps=fps), algorithm=algorithm)
    later = [frame for frame in tracks if frame.seen_at > tracks[0].seen_at + 3]
    assert all(len(frame) == 3 for frame in later)
    for lane in range(3):
        ids = {int(frame.ids[np.argsort(frame.boxes[:, 1])[lane]]) for frame in later}
        assert len(ids) == 1


@given(seed=st.integers(0, 2**16))
@settings(max_examples=25, deadline=None)
def test_the_order_of_detections_changes_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    frames = walk(frames=12, people=4, fps=5, seed=seed)
    shuffled = []
    for at, found in frames:
        order = rng.permutation(len(found))
        shuffled.append((at, Detections(found.boxes[order], found.scores[order])))
    for one, other in zip(follow(frames), follow(shuffled), strict=True):
        assert one.unassigned == other.unassigned
        assert dict(zip(one.ids.tolist(), one.boxes.tolist(), strict=True)) == dict(
            zip(other.ids.tolist(), other.boxes.tolist(), strict=True)
        )


def test_boxes_come_back_in_the_order_of_the_detections() -> None:
    frames = walk(frames=10, people=4, fps=10)
    for (_, found), tracks in zip(frames, follow(frames), strict=True):
        places = [found.boxes.tolist().index(box) for box in tracks.boxes.tolist()]
        assert places == sorted(places)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_box_is_assigned_or_counted_as_unassigned(algorithm: str) -> None:
    frames = walk(frames=10, people=4, fps=10)
    for (_, found), tracks in zip(frames, follow(frames, algorithm=algorithm), strict=True):
        assert len(tracks) + tracks.unassigned == len(found)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_track_ends_once_by_time_and_its_number_never_returns(algorithm: str) -> None:
    first = walk(frames=20, people=2, fps=5)
    ended_at = first[-1][0]
    no_people = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32))
    gap = [(ended_at + 1.0, no_people), (ended_at + 1.9, no_people), (ended_at + 2.5, no_people)]
    again = [(at + 60, found) for at, found in walk(frames=20, people=2, fps=5)]
    tracks = follow([*first, *gap, *again], algorithm=algorithm)
    before = {int(i) for frame in tracks[:20] for i in frame.ids}
    after = {int(i) for frame in tracks[23:] for i in frame.ids}
    assert before
    assert after
    assert not before & after
    ended_tracks = [number for frame in tracks for number in frame.ended]
    assert sorted(ended_tracks) == sorted(before)
    assert {frame.seen_at for frame in tracks if frame.ended} == {ended_at + 2.5}


def test_dropped_frames_cost_no_track() -> None:
    frames = walk(frames=100, people=3, fps=10)
    kept = [frame for index, frame in enumerate(frames) if index < 10 or index % 7 == 0]
    ids = {int(i) for tracks in follow(kept) for i in tracks.ids}
    assert len(ids) == 3


def test_two_trackers_share_nothing() -> None:
    frames = walk(frames=20, people=3, fps=10)
    alone = follow(frames)
    one, other = Tracker(Track()), Tracker(Track())
    for index, (at, found) in enumerate(frames):
        tracks = one.update(DOOR, at, found)
        other.update(CameraId("yard"), at, walk(frames=20, people=2, fps=10, seed=9)[index][1])
        assert tracks.ids.tolist() == alone[index].ids.tolist()


def test_a_frame_that_is_not_newer_is_not_used() -> None:
    frames = walk(frames=10, people=2, fps=10)
    tracker = Tracker(Track())
    for at, found in frames:
        tracker.update(DOOR, at, found)
    late = tracker.update(DOOR, frames[-1][0] - 0.5, frames[-1][1])
    assert (len(late), late.unassigned, late.ended) == (0, 2, ())


def test_a_clock_that_jumps_back_ends_all_tracks_and_never_reuses_a_number() -> None:
    frames = walk(frames=10, people=2, fps=10)
    tracker = Tracker(Track())
    before = {int(i) for at, found in frames for i in tracker.update(DOOR, at, found).ids}
    jumped = [tracker.update(DOOR, at - 3600, found) for at, found in frames]
    assert set(jumped[0].ended) == before
    after = {int(i) for tracks in jumped for i in tracks.ids}
    assert after
    assert not before & after


def test_a_time_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        Tracker(Track()).update(DOOR, float("nan"), walk(frames=1, people=1, fps=1)[0][1])


def person_then_still_box(
    fps: float, weak_s: float, *, score: float = 0.3, moves: bool = False
) -> list[tuple[float, Detections]]:
    """One person who walks for 3 s and stops at a spot where the detector then finds only a weak box."""
    frames = []
    for number in range(round((3 + weak_s) * fps)):
        at = number / fps
        x = 100 + 60 * (at if moves else min(at, 3.0))
        found = Detections(
            np.array([[x, 100, x + 60, 280]], np.float32), np.array([0.9 if at <= 3 else score], np.float32)
        )
        frames.append((1000 + at, found))
    return frames


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("fps", [2, 10, 30])
def test_a_track_left_behind_on_a_weak_still_box_ends(algorithm: str, fps: int) -> None:
    tracks = follow(person_then_still_box(fps, 20), algorithm=algorithm)
    seen = [frame.seen_at for frame in tracks if len(frame)]
    assert 1003 <= seen[-1] <= 1003.5 + 1 / fps
    ended = [frame.seen_at for frame in tracks if frame.ended]
    assert len(ended) == 1
    assert ended[0] <= 1003 + Track().lost_s + 2 / fps


def test_a_weak_box_that_moves_stays_followed() -> None:
    tracks = follow(person_then_still_box(10, 10, moves=True))
    assert all(len(frame) == 1 for frame in tracks[5:])
    assert not any(frame.ended for frame in tracks)


def test_a_strong_box_within_the_lost_time_continues_the_track() -> None:
    frames = person_then_still_box(10, 1.5)
    at, found = frames[-1]
    back = [(at + 0.1 * (k + 1), Detections(found.boxes, np.array([0.8], np.float32))) for k in range(20)]
    tracks = follow([*frames, *back])
    assert {int(i) for frame in tracks for i in frame.ids} == {0}
    assert len(tracks[-1]) == 1
    assert not any(frame.ended for frame in tracks)


def test_still_boxes_are_followed_where_the_setting_is_off_or_the_detector_scores_low() -> None:
    frames = person_then_still_box(10, 20)
    assert len(follow(frames, still_score=0)[-1]) == 1
    assert len(follow(frames, birth_score=0.25, high_score=0.25)[-1]) == 1


def test_an_unknown_algorithm_is_refused_with_the_known_ones() -> None:
    settings = Track().model_copy(update={"algorithm": "sort"})
    with pytest.raises(ValueError, match=r"track\.algorithm must be one of bytetrack, botsort, ocsort, got 'sort'"):
        Tracker(settings)
