"""Explaining people of a tracklet store: which two crops are asked about."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from reid_stream.errors import ModelError
from reid_stream.explain import Explainer, explain_stored
from reid_stream.explain.stored import best_crops
from reid_stream.records import CameraId, GlobalId, TrackId
from reid_stream.store import StoredTrack, write

TINY = Path(__file__).parents[1] / "samples" / "embedder-tiny"
Colour = tuple[int, int, int]


@pytest.fixture(scope="module")
def explainer() -> Explainer:
    return Explainer(TINY, threads=1)


def store_track(store: Path, person: str, camera: str, number: int, colours: list[Colour], best: int = 0) -> None:
    """Store a track of plain crops, of which number `best` has the highest quality."""
    jpegs = [cv2.imencode(".jpg", np.full((32, 16, 3), colour[::-1], np.uint8))[1].tobytes() for colour in colours]
    track = StoredTrack(
        camera=CameraId(camera), run="r", track=TrackId(number),
        times=[1e9 + 100 * number + place for place in range(len(colours))],
        boxes=[(0.0, 0.0, 16.0, 32.0)] * len(colours),
        qualities=[0.9 if place == best else 0.1 for place in range(len(colours))],
        clock="file", global_id=GlobalId(person), bundle="any",
    )  # fmt: skip
    write(store, track, jpegs, None)


def test_the_best_crop_of_each_track_is_taken(tmp_path: Path) -> None:
    store_track(tmp_path, "site-1", "a", 2, [(250, 0, 0), (0, 250, 0)], best=1)
    store_track(tmp_path, "site-1", "b", 1, [(0, 0, 250)])
    store_track(tmp_path, "site-2", "a", 3, [(0, 0, 0)])
    crops = best_crops(tmp_path, "site-1")
    assert [crop.camera for crop in crops] == ["b", "a"]  # the oldest first
    assert crops[1].pixels[5, 5, 1] > 200
    assert crops[1].name.endswith("r-2/000002.jpg")


def test_of_one_person_the_least_alike_of_two_cameras_are_explained(tmp_path: Path, explainer: Explainer) -> None:
    store_track(tmp_path, "site-1", "a", 1, [(200, 60, 60)])
    store_track(tmp_path, "site-1", "a", 2, [(10, 10, 240)])
    store_track(tmp_path, "site-1", "b", 3, [(190, 60, 70)])
    found, (one, two) = explain_stored(explainer, tmp_path, "site-1")
    assert (one.camera, two.camera) == ("a", "b")
    assert "r-2" in one.name  # the blue one, not the red one
    assert one.title == "a, 2001-09-09 01:50:00"
    assert found.cosine < 1


def test_of_one_person_on_one_camera_its_tracks_are_compared(tmp_path: Path, explainer: Explainer) -> None:
    store_track(tmp_path, "site-1", "a", 1, [(200, 60, 60)])
    store_track(tmp_path, "site-1", "a", 2, [(10, 10, 240)])
    _, shown = explain_stored(explainer, tmp_path, "site-1")
    assert [one.name.split("/")[-2] for one in shown] == ["r-1", "r-2"]


def test_of_two_people_the_most_alike_are_explained(tmp_path: Path, explainer: Explainer) -> None:
    store_track(tmp_path, "site-1", "a", 1, [(200, 60, 60)])
    store_track(tmp_path, "site-1", "a", 2, [(10, 10, 240)])
    store_track(tmp_path, "site-2", "a", 3, [(12, 10, 236)])
    store_track(tmp_path, "site-2", "b", 4, [(20, 220, 20)])
    found, shown = explain_stored(explainer, tmp_path, "site-1", "site-2")
    assert [one.name.split("/")[-2] for one in shown] == ["r-2", "r-3"]
    assert found.cosine > 0.99


def test_too_few_tracks_and_broken_crops_are_named(tmp_path: Path, explainer: Explainer) -> None:
    store_track(tmp_path, "site-1", "a", 1, [(200, 60, 60)])
    with pytest.raises(ModelError, match="must hold two tracks of site-1 to compare, found 1; tracks are stored when"):
        explain_stored(explainer, tmp_path, "site-1")
    with pytest.raises(ModelError, match="must hold a track of site-9 to compare, found 0"):
        explain_stored(explainer, tmp_path, "site-1", "site-9")
    store_track(tmp_path, "site-3", "a", 5, [(1, 2, 3)])
    (crop,) = tmp_path.glob("a/*/r-5/000001.jpg")
    crop.write_bytes(b"no image")
    with pytest.raises(ModelError, match=r"a stored crop must be an image, .*r-5/000001\.jpg is no image"):
        best_crops(tmp_path, "site-3")
