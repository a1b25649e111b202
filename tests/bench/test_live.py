"""`bench pipeline --find-max` finds the largest number of cameras that is held, in few tries."""

from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from benchmarks.rtsp.clips import draw_clip
from reid_stream.bench.live import LiveLoad, find_max
from reid_stream.commands.bench import app


def load(cameras: int, *, is_held: bool) -> LiveLoad:
    return LiveLoad(
        cameras=cameras, fps=10, used=1, p50_ms=1, p95_ms=1, p99_ms=1, cores=1, memory_mb=1, is_held=is_held
    )


@pytest.mark.parametrize("most", [0, 1, 3, 4, 7, 8, 9, 31])
def test_the_most_that_is_held_and_one_more_are_tried(most: int) -> None:
    tried = find_max(lambda cameras: load(cameras, is_held=cameras <= most), most=32)
    numbers = [one.cameras for one in tried]
    assert max((one.cameras for one in tried if one.is_held), default=0) == most
    assert most + 1 in numbers
    assert len(numbers) == len(set(numbers)) <= 9


def test_it_ends_at_the_limit_it_was_given() -> None:
    tried = find_max(lambda cameras: load(cameras, is_held=True), first=4, most=6)
    assert [one.cameras for one in tried] == [4, 5, 6]


@pytest.mark.slow
def test_the_command_measures_one_camera_and_writes_its_figures(tmp_path: Path) -> None:
    clip = draw_clip(tmp_path / "a.mp4", seconds=4)
    file = tmp_path / "loads.json"
    given = ["--clip", str(clip), "--cameras", "1", "--seconds", "1", "--max-fps", "1", "--json", str(file)]
    ended = CliRunner().invoke(app, ["live", *given])
    assert ended.exit_code == 0, ended.output
    (found,) = msgspec.json.decode(file.read_bytes(), type=list[LiveLoad])
    assert found.cameras == 1
    assert found.used > 0.5
