"""Invalid truth is refused, with what was found and where."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reid_stream.errors import ConfigError
from reid_stream.evaluation.truth import check_cameras, read_mot, read_truth


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    return tmp_path / "gt.txt"


def test_mot_text_is_read_without_what_is_not_counted(truth: Path) -> None:
    truth.write_text("1,7,10,20,30,40,1,1,1\n2,7,10,20,30,40,0,1,1\n\n")
    boxes = read_mot(truth)
    assert (boxes.frames.tolist(), boxes.people, boxes.boxes.tolist()) == ([1], (7,), [[10, 20, 40, 60]])


def test_what_is_flagged_0_or_of_another_class_is_ignored(truth: Path) -> None:
    truth.write_text("1,7,10,20,30,40,1,1,1\n1,8,50,20,30,40,0,1,1\n1,9,90,20,30,40,1,3,1\n2,7,10,20,30,40,1,1,1\n")
    boxes = read_mot(truth)
    assert (boxes.frames.tolist(), boxes.people) == ([1, 2], (7, 7))
    assert boxes.ignored_frames.tolist() == [1, 1]
    assert boxes.ignored.tolist() == [[50, 20, 80, 60], [90, 20, 120, 60]]


@pytest.mark.parametrize(
    ("first", "second"),
    [("1,-1,-1,-1", "1,-1,-1,-1"), ("1,1,-4.5,0", "1,-7.3,2,0"), ("1,1,0,0", "1,250,0,0"), ("1,0,1", "1,0,1"),
     ("1", "1"), ("1,1,1", "1")],
)  # fmt: skip
def test_a_column_of_other_numbers_is_no_class(truth: Path, first: str, second: str) -> None:
    """MOT15's -1 and world coordinates, sets that number people from 0, and lines without the column."""
    truth.write_text(f"1,7,10,20,30,40,{first}\n1,8,50,20,30,40,{second}\n")
    assert read_mot(truth).people == (7, 8)


def test_trailing_commas_empty_lines_and_ignored_boxes_without_an_area_are_skipped(truth: Path) -> None:
    truth.write_text(
        "1,7,10,20,30,40,1,1,1,\n1,8,50,20,0,40,0,1,1\n,,,\n1,9,50,20,0,0,1,7,1,, \n2,7,10,20,30,40,1,1,1\n"
    )
    boxes = read_mot(truth)
    assert (boxes.frames.tolist(), len(boxes.ignored)) == ([1, 2], 0)


ROWS = "1,7,10,20,30,40,1,1,1\n2,7,12,20,30,40,1,1,1\n2,8,90,20,30,40,0,1,1\n"


@pytest.mark.parametrize(
    "content",
    [
        ("\ufeff" + ROWS.replace("\n", "\r\n")).encode(),
        ROWS.replace(",", ";").encode(),
        ROWS.replace(",", ",0;").replace(",0;20", ",00;20").encode(),
        ROWS.replace(",", "\t").encode(),
        ROWS.replace(",", "   ").encode(),
        "".join(",".join(f'"{field}"' for field in line.split(",")) + "\n" for line in ROWS.split()).encode(),
        b"frame,id,bb_left,bb_top,bb_width,bb_height,conf,class,vis\n" + ROWS.encode(),
        b'"Frame";"ID";"X";"Y";"W";"H"\n' + ROWS.replace(",", ";").encode(),
        b"# annotated by hand\n" + ROWS.encode(),
        ROWS.encode("utf-16"),
    ],
)
def test_text_as_other_tools_write_it_is_read_alike(truth: Path, content: bytes) -> None:
    truth.write_bytes(content)
    boxes = read_mot(truth)
    assert (boxes.frames.tolist(), boxes.people, len(boxes.ignored)) == ([1, 2], (7, 7), 1)
    assert boxes.boxes.tolist() == [[10, 20, 40, 60], [12, 20, 42, 60]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("frame,id,x,y,w,h\n", "at least one counted person, got none"),
        ("1,7,10,20,30,40\nframe,id,x,y,w,h\n", r"at least 6 numbers a line, got 'frame,id,.* line 2"),
        ("nan,nan,nan,nan,nan,nan\n", "frames from 1"),
        ("1,7,10,20,30,40\n1,7,ten\n", r"at least 6 numbers a line, got '1,7,ten' .*line 2"),
        ("0,7,10,20,30,40\n", "frames from 1"),
        ("1.5,7,10,20,30,40\n", "frames from 1"),
        ("1e30,7,10,20,30,40\n", "frames from 1"),
        ("1,7,10,nan,30,40\n", "a width and a height"),
        ("1,7,10,20,9e307,9e307\n", "a width and a height"),
        ("1,inf,10,20,30,40\n", "people by whole numbers"),
        ("1,7,10,20,0,40\n", "a width and a height"),
        ("1,7,10,20,nan,40\n", "a width and a height"),
        ("1,7,10,20,30,40\n1,7,90,20,30,40\n", "got id 7 2 times in frame 1"),
        ("3,7,10,20,30,40\n3,8,10,20,30,41\n", "got ids 7 and 8 in frame 3 with an overlap of 0.98"),
        ("1,7,10,20,30,40\n9,7,10,20,30,40\n", "camera door has 8 frames, got 1 frames beyond, 9 to 9"),
        ("1,7,10,20,30,40,0,1,1\n", "at least one counted person, got none"),
        ("", "at least one counted person, got none"),
    ],
)
def test_what_is_wrong_is_reported(truth: Path, text: str, message: str) -> None:
    truth.write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_truth({"door": truth}, {"door": 8})


@given(st.binary(max_size=200) | st.text(alphabet="0123456789.,-+einfa\n ", max_size=200).map(str.encode))
def test_any_content_of_a_file_is_truth_or_a_fault_that_is_reported(content: bytes) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "gt.txt"
        path.write_bytes(content)
        try:
            boxes = read_truth({"door": path})["door"]
        except ConfigError as error:
            assert str(error)
        else:
            assert len(boxes) > 0


def test_text_that_is_no_truth_is_reported(truth: Path) -> None:
    truth.write_bytes(b"1,7,10,20,30,40\n\xff\xfe")
    with pytest.raises(ConfigError, match="must be text, got bytes that are none .*byte 16"):
        read_truth({"door": truth})


def test_all_files_are_read_before_any_fault_is_reported(truth: Path, tmp_path: Path) -> None:
    truth.write_text("nonsense")
    with pytest.raises(ConfigError) as caught:
        read_truth({"door": truth, "till": tmp_path / "missing.txt"})
    assert "got 'nonsense'" in str(caught.value)
    assert "missing.txt: No such file" in str(caught.value)


def test_a_camera_without_people_may_be_empty(truth: Path, tmp_path: Path) -> None:
    truth.write_text("1,7,10,20,30,40\n")
    (tmp_path / "empty.txt").touch()
    assert len(read_truth({"door": truth, "till": tmp_path / "empty.txt"})["till"]) == 0


def test_people_who_stand_close_are_two() -> None:
    # The nearest pair of real footage overlaps by 0.91.
    assert read_truth({"door": Path(__file__).parents[1] / "samples" / "truth" / "gt_door.txt"})["door"].people == (
        42,
        42,
    )


def test_names_of_cameras_must_agree() -> None:
    check_cameras(["door", "till"], ["till", "door"])
    with pytest.raises(ConfigError, match="got 'dor'") as caught:
        check_cameras(["dor"], ["door", "till"])
    assert "missing for door, till" in str(caught.value)


def test_two_people_at_one_place_for_a_moment_pass_one_another(truth: Path) -> None:
    """As where one walks past the other at the picture's edge, which cuts both off."""
    truth.write_text("".join(f"{frame},7,10,20,30,40\n{frame},8,{8 + frame},20,30,40\n" for frame in range(1, 9)))
    assert len(read_truth({"door": truth})["door"]) == 16
    truth.write_text("".join(f"{frame},7,10,20,30,40\n{frame},8,10,20,30,{40 + frame % 3}\n" for frame in range(1, 9)))
    with pytest.raises(ConfigError, match="got ids 7 and 8 in frame 1"):
        read_truth({"door": truth})
