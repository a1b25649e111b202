"""A tracklet store on disk is scored."""

from pathlib import Path

import msgspec
import pytest

from reid_stream import store
from reid_stream.errors import ConfigError
from reid_stream.evaluation.stored import parse_timeline, read_store
from reid_stream.evaluation.summary import summarize
from reid_stream.records import CameraId, GlobalId, TrackId
from reid_stream.store import StoredTrack
from tests.evaluation.rows import FPS, TIMELINES, box, boxes


def put(folder: Path, camera: str, track: int, frames: list[int], person: str | None, step: float = 0) -> None:
    """Keep a track with crops of some frames; it moves by `step` pixels a frame."""
    place = store.folder_of(folder, camera, "19700101", "run", track)
    place.mkdir(parents=True)
    for number in range(1, len(frames) + 1):
        (place / store.crop_name(number)).write_bytes(b"a crop")
    kept = StoredTrack(
        camera=CameraId(camera),
        run="run",
        track=TrackId(track),
        times=[TIMELINES[camera].at(frame) for frame in frames],
        boxes=[box(step * frame) for frame in frames],
        qualities=[0.9] * len(frames),
        clock="file",
        global_id=None if person is None else GlobalId(person),
        bundle="b",
    )
    (place / store.TRACK_FILE).write_bytes(msgspec.json.encode(kept))


def test_boxes_move_straight_between_crops_and_stop_at_long_gaps(tmp_path: Path) -> None:
    put(tmp_path, "door", 1, [1, 11, 50, 52], "s-1", step=2)
    put(tmp_path, "till", 1, [5], None)
    published = read_store(tmp_path, TIMELINES)
    assert published["door"].frames.tolist() == [*range(1, 12), 50, 51, 52]
    assert published["door"].boxes[5].tolist() == pytest.approx(list(box(12)))
    assert set(published["door"].people) == {"s-1"}
    assert published["till"].frames.tolist() == [5]


def test_tracks_without_an_id_are_people_of_their_own(tmp_path: Path) -> None:
    put(tmp_path, "door", 1, [1, 10], "s-1")
    put(tmp_path, "till", 1, [31, 40], "s-1")
    put(tmp_path, "till", 2, [61, 70], None)
    truth = boxes([("door", 1, 1, 10, 0), ("till", 1, 31, 40, 0), ("till", 1, 71, 71, 300), ("till", 2, 61, 70, 0)])
    found = summarize(truth, read_store(tmp_path, TIMELINES), FPS)
    assert (found.people.identities, found.people.missed_links, found.people.visits_unseen) == (2, 0, 1)
    assert found.across.ass_pr == pytest.approx(1.0)


def test_what_is_no_store_of_these_cameras_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="tracks of door, till, .* has no tracks at all"):
        read_store(tmp_path, TIMELINES)
    put(tmp_path, "door", 1, [1], "s-1")
    with pytest.raises(ConfigError, match="tracks of till, .* has door"):
        read_store(tmp_path, TIMELINES)
    next(tmp_path.glob("door/*/*/*.jpg")).unlink()
    with pytest.raises(ConfigError, match="1 crops"):
        read_store(tmp_path, TIMELINES)


@pytest.mark.parametrize("text", ["door=100@10", "door=1970-01-01T00:01:40Z@10", "door=1970-01-01T00:01:40@10"])
def test_times_are_seconds_or_utc(text: str) -> None:
    assert parse_timeline(text) == ("door", TIMELINES["door"])


@pytest.mark.parametrize("text", ["door", "door=100", "door=100@0", "=100@10", "door=noon@10"])
def test_what_is_no_time_is_reported(text: str) -> None:
    with pytest.raises(ConfigError, match="must be CAMERA=TIME@FPS"):
        parse_timeline(text)
