"""The selector picks crops that matter, and none that shows another person."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reid_stream.config.settings import Embed
from reid_stream.embed.selector import Selector, quality
from reid_stream.records import CameraId, Frame, Pick, TrackId, Tracks

GOOD = (100, 100, 150, 240)
IMAGE = np.zeros((480, 640, 3), dtype=np.uint8)


def _pick(
    selector: Selector,
    at: float,
    people: dict[int, tuple[float, ...]],
    scores: dict[int, float] | None = None,
    ended: tuple[int, ...] = (),
    camera: str = "a",
) -> list[Pick]:
    boxes = np.array(list(people.values()), dtype=np.float32).reshape(-1, 4)
    given = np.array([(scores or {}).get(track, 0.8) for track in people], dtype=np.float32)
    ids = np.array(list(people), dtype=np.int64)
    tracks = Tracks(CameraId(camera), at, boxes, given, ids, 0, tuple(TrackId(track) for track in ended))
    return selector(Frame(CameraId(camera), 0, at, "file", IMAGE), tracks)


def test_a_new_track_is_picked_at_once_then_after_the_interval() -> None:
    selector = Selector(Embed(choose="interval", interval_s=1))
    picked = [at for at in (0.0, 0.4, 0.9, 1.0, 1.5, 2.1) if _pick(selector, at, {1: GOOD})]
    assert picked == [0.0, 1.0, 2.1]


def test_a_much_better_view_is_picked_early_and_a_little_better_one_is_not() -> None:
    selector = Selector(Embed(choose="interval", interval_s=10, better_by=0.15))
    assert _pick(selector, 0, {1: GOOD}, {1: 0.5})
    assert not _pick(selector, 1, {1: GOOD}, {1: 0.6})
    assert _pick(selector, 2, {1: GOOD}, {1: 0.7})
    assert not _pick(selector, 3, {1: GOOD}, {1: 0.7})


@pytest.mark.parametrize(
    ("box", "score", "why"),
    [
        ((100, 100, 150, 130), 0.8, "tiny"),
        ((100, 100, 108, 240), 0.8, "narrow"),
        (GOOD, 0.2, "weak"),
        ((1, 100, 50, 240), 0.8, "cut off on the left"),
        ((600, 100, 639, 240), 0.8, "cut off on the right"),
        ((100, 0, 150, 140), 0.8, "cut off at the top"),
    ],
)
def test_a_poor_view_is_never_picked(box: tuple[float, ...], score: float, why: str) -> None:
    assert not _pick(Selector(Embed()), 0, {1: box}, {1: score}), why


def test_who_is_hidden_is_not_picked_and_who_hides_is() -> None:
    in_front = (110, 120, 160, 300)
    (pick,) = _pick(Selector(Embed()), 0, {1: GOOD, 2: in_front})
    assert pick.index == 1


def test_a_track_hidden_at_birth_is_picked_as_soon_as_it_shows() -> None:
    selector = Selector(Embed())
    assert [pick.index for pick in _pick(selector, 0, {1: GOOD, 2: (110, 120, 160, 300)})] == [1]
    assert [pick.index for pick in _pick(selector, 0.1, {1: GOOD, 2: (300, 120, 350, 300)})] == [0]


def test_an_ended_track_is_forgotten_and_cameras_do_not_mix() -> None:
    selector = Selector(Embed(choose="interval", interval_s=10))
    assert _pick(selector, 0, {1: GOOD})
    assert _pick(selector, 0, {1: GOOD}, camera="b")
    assert not _pick(selector, 1, {1: GOOD})
    _pick(selector, 2, {}, ended=(1,))
    assert sum(len(tracks) for tracks in selector._memory.values()) == 1
    assert _pick(selector, 3, {1: GOOD})


def test_the_crop_is_the_box_and_outlives_the_frame() -> None:
    (pick,) = _pick(Selector(Embed()), 0, {1: (100.4, 100, 149.6, 240)})
    assert pick.crop.shape == (140, 50, 3)
    assert isinstance(pick.crop, np.ndarray)
    assert pick.crop.base is None


unit = st.floats(0, 1, width=32)


@given(st.lists(st.tuples(st.floats(0, 500), st.floats(0, 500), st.floats(0, 300), st.floats(0, 300), unit, unit)))
def test_quality_is_a_share_and_falls_with_what_is_hidden(rows: list[tuple[float, ...]]) -> None:
    table = np.array(rows, dtype=np.float32).reshape(-1, 6)
    boxes = np.concatenate([table[:, :2], table[:, :2] + table[:, 2:4]], axis=1)
    found = quality(boxes, table[:, 4], table[:, 5])
    assert ((found >= 0) & (found <= 1)).all()
    assert (found <= quality(boxes, table[:, 4], np.zeros(len(table), dtype=np.float32))).all()


def _walk(selector: Selector, path: Sequence[tuple[float, ...]], step_s: float = 0.1) -> list[int]:
    """Return the numbers of the frames in which a person on this path is embedded."""
    return [n for n, box in enumerate(path) if _pick(selector, n * step_s, {1: box})]


def test_by_gain_a_person_is_embedded_early_and_then_seldom_while_nothing_new_shows() -> None:
    stands = [GOOD] * 80
    assert _walk(Selector(Embed(choose="gain", interval_s=1)), stands) == [0, 4, 8, 28, 48, 68]


def test_by_gain_a_person_who_turns_is_embedded_soon_and_only_once_for_the_same_side() -> None:
    stands = [GOOD] * 20
    right = [(100.0 + 8 * n, 100, 150 + 8 * n, 240) for n in range(20)]
    left = [(252.0 - 8 * n, 100, 302 - 8 * n, 240) for n in range(20)]
    picked = _walk(Selector(Embed(choose="gain", interval_s=1)), [*stands, *right, *left, *right])
    assert picked[:3] == [0, 4, 8]
    # To the right from frame 20, to the left from 40 on; from 60 on to the right again, which is known.
    assert [n for n in picked if 20 <= n < 27]
    assert [n for n in picked if 40 <= n < 50]
    assert not [n for n in picked if 60 <= n < 64]
    assert len(picked) < len(
        _walk(Selector(Embed(choose="interval", interval_s=0.5)), [*stands, *right, *left, *right])
    )


def test_by_gain_a_person_who_comes_near_is_embedded_again() -> None:
    near = (80, 80, 180, 300)
    picked = _walk(Selector(Embed(choose="gain", interval_s=1, better_by=1)), [GOOD] * 14 + [near] * 5)
    assert picked == [0, 4, 8, 14]
