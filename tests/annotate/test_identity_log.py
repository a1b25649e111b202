from reid_stream.annotate.identity_log import IdentityLog
from reid_stream.records import CameraId, Erasing, GlobalId, Merge, Naming, Observation, Sighting, Split, TrackId

DOOR = CameraId("door")
A, B, C = GlobalId("shop-1"), GlobalId("shop-2"), GlobalId("shop-3")


def _seen(at: float, person: GlobalId, track: int = 1, left: float = 0.0) -> Sighting:
    observation = Observation(
        run="r", camera=DOOR, track=TrackId(track), sequence=round(at * 100), seen_at=at, clock="file",
        box=(left, 0.0, left + 10.0, 20.0), frame_size=(100, 50), score=0.9, quality=0.0, vector=None, model="m",
    )  # fmt: skip
    return Sighting(person, "confirmed", None, None, 1, observation)


def _log(*decisions: object) -> IdentityLog:
    log = IdentityLog({A: "Anna"})
    log.note(decisions, 0.0)  # type: ignore[arg-type]
    return log


def test_boxes_between_two_sightings_lie_between_them() -> None:
    log = _log(_seen(1.0, A, left=0.0), _seen(1.5, A, left=50.0))
    assert log.at(DOOR, 1.0) == [((0.0, 0.0, 10.0, 20.0), A, "Anna")]
    assert log.at(DOOR, 1.25) == [((25.0, 0.0, 35.0, 20.0), A, "Anna")]
    assert log.at(CameraId("till"), 1.25) == []


def test_nothing_is_drawn_in_a_long_gap_or_outside_the_track() -> None:
    log = _log(_seen(1.0, A), _seen(3.0, A))
    assert log.at(DOOR, 2.0) == log.at(DOOR, 0.9) == log.at(DOOR, 3.3) == []


def test_the_last_box_stays_until_the_next_frame_would_be_used() -> None:
    assert _log(_seen(1.0, A, left=7.0)).at(DOOR, 1.15)[0][0][0] == 7.0


def test_a_merge_and_a_name_reach_back_to_the_first_frame() -> None:
    merge = Merge(B, A, 2, 0.9, 0.99, 2.0)
    log = _log(_seen(1.0, B), _seen(1.5, B), merge, Naming(A, "Ann", 2, "op", 2.5))
    assert log.at(DOOR, 1.0)[0][1:] == (A, "Ann")
    assert log.people() == {A: {DOOR}}


def test_a_split_moves_only_its_part_of_a_track() -> None:
    split = Split(A, C, ((DOOR, "r", TrackId(1)),), 2, 3.0, spans=((1.2, 1.6),))
    log = _log(*(_seen(1 + k / 10, A) for k in range(10)), split)
    assert [log.at(DOOR, 1 + k / 10)[0][1] for k in range(10)] == [A, A, C, C, C, C, A, A, A, A]


def test_an_identity_is_drawn_once_and_not_after_its_erasure() -> None:
    twice = [_seen(1.0, A, 1), _seen(1.0, A, 2), _seen(1.0, B, 3)]
    assert len(_log(*twice).at(DOOR, 1.0)) == 2
    assert [one[1] for one in _log(*twice, Erasing(A, "1-0", 2.0)).at(DOOR, 1.0)] == [B]


def test_a_late_sighting_finds_its_place_in_time() -> None:
    log = _log(_seen(1.0, A, left=0.0), _seen(1.4, A, left=40.0), _seen(1.2, A, left=90.0))
    assert log.at(DOOR, 1.2)[0][0][0] == 90.0
