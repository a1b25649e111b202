"""A sample of each format is loaded, so that a change of format is noticed."""

import json
import shutil
from pathlib import Path

import pytest

from reid_stream import store
from reid_stream.evaluation.truth import read_mot
from reid_stream.records import Observation, decode, unpack_vector
from trainer.data.sets import read_tracklets

SAMPLES = Path(__file__).parent / "samples"
TRACK = SAMPLES / "store" / "door" / "20261121" / "20261121T100000-7"


def test_the_sample_observation_reads_as_it_was_written() -> None:
    record = decode((SAMPLES / "observation.msgpack").read_bytes())
    assert isinstance(record, Observation)
    assert (record.camera, record.track, record.sequence, record.frame_size) == ("door", 7, 12, (1920, 1080))
    assert record.vector is not None
    assert unpack_vector(record.vector).tolist() == pytest.approx([0.5] * 4)


def test_the_sample_store_has_one_track_with_two_crops() -> None:
    assert list(store.tracks(SAMPLES / "store")) == [TRACK]
    track, crops = store.read(TRACK)
    assert (track.global_id, track.revision, len(crops)) == ("shop-42", 1, 2)
    assert [crop.name for crop in crops] == [store.crop_name(1), store.crop_name(2)]


def test_the_trainer_reads_the_same_store() -> None:
    crops = list(read_tracklets(SAMPLES / "store"))
    assert [(crop.person, crop.camera) for crop in crops] == [("shop-42", "door")] * 2


def test_a_store_with_a_crop_too_few_reports_it(tmp_path: Path) -> None:
    folder = shutil.copytree(TRACK, tmp_path / "track")
    (folder / store.crop_name(2)).unlink()
    with pytest.raises(ValueError, match="must have 2 crops .* found 1"):
        store.read(folder)


def test_a_track_of_another_schema_is_refused(tmp_path: Path) -> None:
    document = json.loads((TRACK / store.TRACK_FILE).read_text(encoding="utf-8"))
    (tmp_path / store.TRACK_FILE).write_text(json.dumps({**document, "schema": 2}), encoding="utf-8")
    with pytest.raises(ValueError, match="schema 1, got 2"):
        store.read(tmp_path)


def test_the_sample_truth_shares_ids_and_leaves_out_what_does_not_count() -> None:
    boxes = read_mot(SAMPLES / "truth" / "gt_door.txt")
    assert boxes.people == (42, 42)
    assert boxes.boxes[0].tolist() == [10, 20, 42, 84]
