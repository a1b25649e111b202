"""Data sets are read whole, splits never share a person, and damaged files are named."""

import io
import os
import tarfile
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest

from reid_stream.records import CameraId, GlobalId, TrackId
from reid_stream.store import StoredTrack
from trainer.data.crops import StoredCrop, assemble, decode
from trainer.data.sets import check_disjoint, hold_out, read, split_market1501
from trainer.errors import DataError

DATA = os.environ.get("REID_STREAM_DATA")
needs_data = pytest.mark.skipif(DATA is None, reason="REID_STREAM_DATA names no folder with people/")


def picture(shade: int = 100) -> bytes:
    return bytes(cv2.imencode(".jpg", np.full((40, 20, 3), shade, np.uint8))[1].tobytes())


def crop(name: str, person: str, camera: str, data: bytes | None = None) -> StoredCrop:
    return StoredCrop(name, person, camera, "made", picture() if data is None else data)


@needs_data
def test_the_splits_of_market1501_never_share_a_person() -> None:
    split = split_market1501(Path(str(DATA)))
    assert (len(split.train), len(split.validation), len(split.test)) == (541, 60, 150)
    assert len({*split.train, *split.validation, *split.test}) == 751
    assert {name[:4] for name in (*split.query, *split.gallery)} == set(split.test)


@needs_data
@pytest.mark.parametrize(
    ("source", "images", "persons", "cameras"), [("cuhk01", 3884, 971, 2), ("market1501", 12936, 751, 6)]
)
def test_an_archive_is_read_whole(source: str, images: int, persons: int, cameras: int) -> None:
    crops = list(read(source, Path(str(DATA))))
    assert len(crops) == images
    assert len({crop.person for crop in crops}) == persons
    assert len({crop.camera for crop in crops}) == cameras


def test_a_person_in_two_splits_is_refused() -> None:
    with pytest.raises(DataError, match="one split only, 7 is in train and in test"):
        check_disjoint({"train": ["1", "7"], "test": ["7"]})


def test_the_held_out_persons_do_not_depend_on_the_order_of_reading() -> None:
    persons = [f"{number:04d}" for number in range(50)]
    assert hold_out(persons, 10, 3) == hold_out(persons[::-1], 10, 3)
    kept, held = hold_out(persons, 10, 3)
    assert len(held) == 10
    assert not set(kept) & set(held)


def test_one_identity_is_not_enough() -> None:
    with pytest.raises(DataError, match="at least 3 persons, .* got 1"):
        hold_out(["only"], 1, 0)


def test_a_truncated_image_is_named_with_what_to_do() -> None:
    crops = [crop("good.jpg", "1", "1"), crop("torn.jpg", "1", "2", picture()[:200])]
    with pytest.raises(DataError, match=r"torn.jpg ends too early .*skip_broken"):
        assemble(crops, 16, 8)
    assert assemble(crops, 16, 8, skip_broken=True).names == ("good.jpg",)


@pytest.mark.parametrize(("data", "state"), [(b"", "is empty"), (b"hello", "is no image")])
def test_what_is_no_image_is_named(data: bytes, state: str) -> None:
    with pytest.raises(DataError, match=state):
        decode(data, "x.jpg")


def test_an_empty_identity_is_named(tmp_path: Path) -> None:
    (tmp_path / "anna").mkdir()
    (tmp_path / "anna" / "c1_01.jpg").write_bytes(picture())
    (tmp_path / "bert").mkdir()
    with pytest.raises(DataError, match=r"bert has none"):
        list(read(f"folder:{tmp_path}"))


def test_a_wrong_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        list(read(f"folder:{tmp_path / 'nowhere'}"))
    with pytest.raises(DataError, match="holds neither"):
        list(read(f"folder:{tmp_path}"))
    with pytest.raises(DataError, match="cuhk03_pair1_labeled"):
        list(read("cuhk03", tmp_path))
    with pytest.raises(DataError, match="a set must be"):
        read("duke")


def test_folders_of_both_kinds_give_person_and_camera(tmp_path: Path) -> None:
    (tmp_path / "anna").mkdir()
    (tmp_path / "anna" / "door_c2_01.jpg").write_bytes(picture())
    (tmp_path / "0007_c3s1_000001_01.jpg").write_bytes(picture())
    found = {(crop.person, crop.camera) for crop in read(f"folder:{tmp_path}")}
    assert found == {("anna", "2"), ("0007", "3")}


def test_a_tracklet_store_gives_the_tracks_with_a_global_id(tmp_path: Path) -> None:
    for name, person in (("run-1", "site-4"), ("run-2", None)):
        folder = tmp_path / "door" / "20260101" / name
        folder.mkdir(parents=True)
        track = StoredTrack(
            camera=CameraId("door"), run="run", track=TrackId(1), times=[1.0], boxes=[(0, 0, 8, 16)], qualities=[1.0],
            clock="file", global_id=GlobalId(person) if person else None, bundle="b",
        )  # fmt: skip
        (folder / "track.json").write_bytes(msgspec.json.encode(track))
        (folder / "000001.jpg").write_bytes(picture())
    assert [(crop.person, crop.camera) for crop in read(f"tracklets:{tmp_path}")] == [("site-4", "door")]
    (tmp_path / "door" / "20260101" / "run-1" / "track.json").write_text("{}")
    with pytest.raises(DataError, match="must be a stored track"):
        list(read(f"tracklets:{tmp_path}"))


def test_a_broken_archive_is_named(tmp_path: Path) -> None:
    (tmp_path / "people").mkdir()
    file = tmp_path / "people" / "cuhk01.tar.gz"
    file.write_bytes(b"no tar")
    with pytest.raises(DataError, match=r"readable tar file, .*cuhk01"):
        list(read("cuhk01", tmp_path))
    with tarfile.open(file, "w:gz") as archive:
        info = tarfile.TarInfo("cuhk01/unknown.jpg")
        info.size = 3
        archive.addfile(info, io.BytesIO(b"abc"))
    with pytest.raises(DataError, match="must start with PPPP_cC"):
        list(read("cuhk01", tmp_path))


def test_persons_are_numbered_domain_after_domain() -> None:
    rows = [("a", "9", "1", "one"), ("b", "1", "1", "two"), ("c", "3", "2", "one")]
    crops = [StoredCrop(*row, picture()) for row in rows]
    images = assemble(crops, 16, 8)
    assert images.person_names == ("one:3", "one:9", "two:1")
    assert images.persons.tolist() == [1, 2, 0]
    assert images.persons_per_domain == (2, 1)
    assert len(images.camera_names) == 3
