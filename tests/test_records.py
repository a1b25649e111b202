"""Records are checked at construction, and survive encoding."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from reid_stream.records import (
    CameraId,
    Detections,
    Frame,
    Observation,
    TrackEnded,
    TrackId,
    Tracks,
    decode,
    encode,
    pack_vector,
    unpack_vector,
)

finite = st.floats(0, 4e9, allow_nan=False)
names = st.text(min_size=1, max_size=20)
corners = st.tuples(*[st.floats(-100, 4000, allow_nan=False)] * 2, *[st.floats(1, 500, allow_nan=False)] * 2)


@st.composite
def observations(draw: st.DrawFn) -> Observation:
    x, y, width, height = draw(corners)
    return Observation(
        run=draw(names),
        camera=CameraId(draw(names)),
        track=TrackId(draw(st.integers(0, 2**40))),
        sequence=draw(st.integers(0, 2**40)),
        seen_at=draw(finite),
        clock=draw(st.sampled_from(["rtcp", "arrival", "file"])),
        box=(x, y, x + width, y + height),
        frame_size=(draw(st.integers(1, 9999)), draw(st.integers(1, 9999))),
        score=draw(st.floats(0, 1)),
        quality=draw(st.floats(0, 1)),
        vector=draw(st.none() | st.binary(min_size=2, max_size=64).filter(lambda data: len(data) % 2 == 0)),
        model=draw(names),
    )


@given(observations())
def test_an_observation_survives_the_wire(record: Observation) -> None:
    assert decode(encode(record)) == record


def test_a_track_end_survives_the_wire() -> None:
    ended = TrackEnded(run="r", camera=CameraId("door"), track=TrackId(3), sequence=9, seen_at=1.5)
    assert decode(encode(ended)) == ended


@given(st.binary(max_size=200))
def test_bytes_that_are_no_observation_are_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError, match="observation"):
        decode(data)


def test_an_observation_of_a_later_schema_is_refused_by_number() -> None:
    ended = TrackEnded(run="r", camera=CameraId("door"), track=TrackId(3), sequence=9, seen_at=1.5, schema=2)
    with pytest.raises(ValueError, match="schema 1, got 2"):
        decode(encode(ended))


@given(arrays(np.float32, 16, elements=st.floats(-1, 1, width=32)).filter(lambda v: np.linalg.norm(v) > 0.1))
def test_a_vector_comes_back_at_unit_length_within_half_precision(vector: np.ndarray) -> None:
    unit = (vector / np.linalg.norm(vector)).astype(np.float32)
    back = unpack_vector(pack_vector(unit))
    assert np.linalg.norm(back) == pytest.approx(1, abs=1e-6)
    assert float(back @ unit) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("bad", [np.zeros(8), np.full(8, np.nan), np.full(8, np.inf)])
def test_a_vector_without_length_is_refused(bad: np.ndarray) -> None:
    with pytest.raises(ValueError, match="finite and not zero"):
        unpack_vector(bad.astype("<f2").tobytes())


def test_records_name_the_shape_that_must_hold_and_the_one_found() -> None:
    with pytest.raises(ValueError, match=r"\(n, 4\) float32, got \(3, 5\)"):
        Detections(np.zeros((3, 5), np.float32), np.zeros(3, np.float32))
    with pytest.raises(ValueError, match="unique"):
        Tracks(
            camera=CameraId("a"),
            seen_at=0.0,
            boxes=np.zeros((2, 4), np.float32),
            scores=np.zeros(2, np.float32),
            ids=np.array([1, 1]),
            unassigned=0,
            ended=(),
        )
    with pytest.raises(ValueError, match="uint8"):
        Frame(CameraId("a"), 0, 0.0, "file", np.zeros((2, 2, 3), np.float32))
