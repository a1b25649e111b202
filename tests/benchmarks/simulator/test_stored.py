"""A simulated site's store: whole tracks, each image once, with the truth."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from benchmarks.__main__ import app
from benchmarks.simulator.crops import PersonCrop
from benchmarks.simulator.scenario import load
from benchmarks.simulator.stored import ALL_AT_ONCE, STILL, build, draw
from reid_stream import store
from reid_stream.errors import ConfigError
from reid_stream.offline.rematch import agreement

PEOPLE, EACH = 9, 3


def crops() -> list[PersonCrop]:
    """Pictures of people on two cameras; each has a shade of its own."""
    found, shade = [], 0
    for person in range(PEOPLE):
        for camera in "12":
            for _ in range(EACH):
                shade += 4
                picture = np.full((32, 16, 3), shade, np.uint8)
                found.append(PersonCrop(f"{person:04}", camera, cv2.imencode(".jpg", picture)[1].tobytes()))
    return found


def site(out: Path, seed: int = 3, **changes: Any) -> dict[str, str]:
    return build(crops(), load(None, **{**ALL_AT_ONCE, **STILL, "people": PEOPLE, **changes}), seed, out)


def test_every_image_is_shown_once_and_of_its_own_person_and_camera(tmp_path: Path) -> None:
    people = site(tmp_path / "store", swaps_per_min=0)
    whose = {crop.data: (crop.person, f"cam{crop.camera}") for crop in crops()}
    shown = []
    for folder in store.tracks(tmp_path / "store"):
        track, pictures = store.read(folder)
        assert track.times == sorted(track.times)
        assert track.global_id is None
        for picture in pictures:
            shown.append(picture.read_bytes())
            assert whose[shown[-1]] == (people[str(folder.relative_to(tmp_path / "store"))], track.camera)
    assert len(shown) == len(set(shown)) > PEOPLE
    assert store.read_truth(tmp_path / "store" / store.TRUTH_FILE) == people
    assert len(set(people.values())) == PEOPLE


def test_tracks_are_named_truly_where_that_is_asked_for(tmp_path: Path) -> None:
    out = tmp_path / "store"
    people = build(crops(), load(None, **{**ALL_AT_ONCE, **STILL, "people": PEOPLE}), 3, out, named=True)
    names = {str(folder.relative_to(out)): store.read(folder)[0].global_id for folder in store.tracks(out)}
    assert agreement(people, names) == (1, 1)


def test_the_same_seed_makes_the_same_site_and_another_one_another(tmp_path: Path) -> None:
    assert site(tmp_path / "a") == site(tmp_path / "b")
    times = [[store.read(f)[0].times for f in store.tracks(tmp_path / name)] for name in "ab"]
    assert times[0] == times[1]
    site(tmp_path / "c", seed=4)
    assert times[0] != [store.read(f)[0].times for f in store.tracks(tmp_path / "c")]


def test_parts_of_the_people_have_no_person_in_common() -> None:
    first, second = ({crop.person for crop in draw(crops(), *part)} for part in ((0, 4), (4, 9)))
    assert (len(first), len(second)) == (4, 5)
    assert not first & second
    with pytest.raises(ConfigError, match=r"within 0:9, got 5:12"):
        draw(crops(), 5, 12)


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"look_alikes": 0.5}, "look_alikes must be 0.0"), ({"people": PEOPLE + 1}, "at most the 9 that the crops show")],
)
def test_what_images_cannot_show_is_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        site(tmp_path / "store", **changes)


def test_a_store_that_is_there_is_left_alone(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="new folder"):
        site(tmp_path)


def test_the_command_makes_a_site_of_a_folder(tmp_path: Path) -> None:
    pictures, out = tmp_path / "crops", str(tmp_path / "store")
    pictures.mkdir()
    for number, crop in enumerate(crops()):
        (pictures / f"{crop.person}_c{crop.camera}s1_{number:06}.jpg").write_bytes(crop.data)
    words = ["simulate", "store", out, "--crops", str(pictures), "--persons"]
    done = CliRunner().invoke(app, [*words, "2:8", "--set", "cameras_passed=3"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "tracks of 6 people" in done.output
    with pytest.raises(ConfigError, match="BEGIN:END, got '5'"):
        CliRunner().invoke(app, [*words, "5"], catch_exceptions=False)


@pytest.mark.parametrize(("content", "message"), [(None, "readable file"), ("[1]", "must be JSON")])
def test_truth_must_be_tracks_and_people(content: str | None, message: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "truth.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        store.read_truth(tmp_path / "truth.json")
