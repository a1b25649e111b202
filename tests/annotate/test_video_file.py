from pathlib import Path

import av
import numpy as np
import pytest

from reid_stream.annotate.drawing import Annotator
from reid_stream.annotate.video_file import VideoFile
from reid_stream.errors import ConfigError
from reid_stream.records import GlobalId


def _gray(width: int, height: int, level: int = 128) -> np.ndarray:
    return np.full((height, width, 3), level, np.uint8)


def test_frames_come_back_at_their_times_with_even_sides(tmp_path: Path) -> None:
    times = [0.0, 0.1, 0.35, 0.35, 2.0]  # the fourth is moved behind the third
    with VideoFile(tmp_path / "new" / "a.mp4", 10) as video:
        for number, at in enumerate(times):
            video.add(_gray(65, 49, 40 * number), at)
    with av.open(str(tmp_path / "new" / "a.mp4")) as reader:
        frames = list(reader.decode(video=0))
    assert [(frame.width, frame.height) for frame in frames] == [(64, 48)] * 5
    assert [frame.time for frame in frames] == pytest.approx(times, abs=1e-3)
    assert [frame.to_ndarray(format="gray").mean() for frame in frames] == pytest.approx([0, 40, 80, 120, 160], abs=4)


def test_a_size_that_changes_is_scaled_to_the_first(tmp_path: Path) -> None:
    with VideoFile(tmp_path / "a.mp4", 10) as video:
        video.add(_gray(64, 48), 0.0)
        video.add(_gray(128, 96), 0.1)
    with av.open(str(tmp_path / "a.mp4")) as reader:
        assert [(frame.width, frame.height) for frame in reader.decode(video=0)] == [(64, 48)] * 2


def test_a_video_that_was_interrupted_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> None:
        with VideoFile(tmp_path / "a.mp4", 10) as video:
            video.add(_gray(64, 48), 0.0)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_a_file_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="can be written"):
        VideoFile(tmp_path / "file" / "a.mp4", 10)


def test_a_person_has_the_same_colour_on_every_camera() -> None:
    def corner(person: str, size: tuple[int, int]) -> tuple[int, ...]:
        annotator = Annotator(size, 10, trail_s=0)
        drawn = annotator.draw(_gray(*size), [((20.0, 40.0, 60.0, 120.0), GlobalId(person), "")])
        return tuple(int(value) for value in drawn[80, 20])

    assert corner("shop-7", (200, 150)) == corner("shop-7", (320, 240)) != (128, 128, 128)
    assert corner("shop-7", (200, 150)) != corner("shop-8", (200, 150))
