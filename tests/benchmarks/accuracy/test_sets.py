"""Sets with truth are found on disk by their names."""

from pathlib import Path

import pytest

from benchmarks.accuracy import sets
from reid_stream.errors import ConfigError


def footage(root: Path, name: str, *cameras: str) -> None:
    folder = root / name
    folder.mkdir(parents=True)
    for camera in cameras:
        (folder / f"cam_{camera}.mp4").touch()
        (folder / f"gt_{camera}.txt").write_text("1,7,10,20,30,40,1,1,1\n")


def test_sets_of_all_folders_are_found_with_their_cameras(tmp_path: Path) -> None:
    footage(tmp_path / "a", "worlds/plaza", "1", "2")
    footage(tmp_path / "b", "worlds/tuning-hall", "1")
    footage(tmp_path / "b", "mot/pair", "a", "b")
    (tmp_path / "b" / "mot" / "no-video").mkdir()
    (tmp_path / "b" / "mot" / "no-video" / "gt_1.txt").touch()
    found = {each.name: each for each in sets.find([tmp_path / "a", tmp_path / "b", tmp_path / "nowhere"])}
    assert list(found) == ["mot/pair", "worlds/plaza", "worlds/tuning-hall"]
    assert [name for name, each in found.items() if each.is_for_tuning] == ["worlds/tuning-hall"]
    assert [camera.id for camera in found["mot/pair"].settings().cameras] == ["cam_a", "cam_b"]
    assert found["worlds/plaza"].truth()["cam_2"].people == (7,)


def test_parts_of_names_choose(tmp_path: Path) -> None:
    for name in ("worlds/plaza", "worlds/rush", "mot/pair"):
        footage(tmp_path, name, "1")
    assert [each.name for each in sets.find([tmp_path], ["rush", "mot/"])] == ["mot/pair", "worlds/rush"]


def test_no_set_at_all_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="none is there; set REID_STREAM_DATA"):
        sets.find([tmp_path])
    footage(tmp_path, "worlds/plaza", "1")
    with pytest.raises(ConfigError, match=r"none is called rush; known: worlds/plaza"):
        sets.find([tmp_path], ["rush"])


def test_a_single_camera_is_found_as_motchallenge_lays_it_out(tmp_path: Path) -> None:
    for truth in ("mot/street/gt/gt.txt", "mot/campus/gt.txt", "mot/PETS09-S2L1/gt.txt"):
        (tmp_path / truth).parent.mkdir(parents=True)
        (tmp_path / truth).write_text("1,7,10,20,30,40,1,1,1\n")
    for video in ("mot/street/street.mp4", "mot/campus/campus.mp4", "video/vtest.avi"):
        (tmp_path / video).parent.mkdir(exist_ok=True)
        (tmp_path / video).touch()
    found = {each.name: each for each in sets.find([tmp_path])}
    assert set(found) == {"mot/street", "mot/campus", "mot/PETS09-S2L1"}
    assert not any(each.has_links for each in found.values())
    assert found["mot/PETS09-S2L1"].videos["cam"] == tmp_path / "video" / "vtest.avi"
    assert len(found["mot/street"].truth()["cam"]) == 1


def test_who_comes_back_under_another_number_is_one_person(tmp_path: Path) -> None:
    for name in ("PETS09-S2L1", "street"):
        footage(tmp_path, f"mot/{name}", "1")
        rows = [f"{frame},{person},10,20,30,40,1,1,1" for frame, person in enumerate((15, 14, 18, 8, 16), start=1)]
        (tmp_path / "mot" / name / "gt_1.txt").write_text("\n".join(rows))
    pets, street = sets.find([tmp_path])
    assert pets.truth()["cam_1"].people == (15, 15, 15, 15, 16)
    assert pets.published()["cam_1"].people == street.truth()["cam_1"].people == (15, 14, 18, 8, 16)
    known = sets.RETURNERS["mot/PETS09-S2L1"]
    assert not set(known) & set(known.values()), "the first number of each is its own"
