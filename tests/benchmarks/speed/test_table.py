"""`make bench` writes its table between the marks of docs/benchmarks/speed.md, and nowhere else."""

from pathlib import Path

import pytest

from benchmarks.speed import table
from benchmarks.speed.stages import Stage
from reid_stream.bench.live import LiveLoad
from reid_stream.bench.pipeline import PipelineFigures
from reid_stream.errors import ConfigError

STAGE = Stage(
    stage="decode", unit="frames", engine="ffmpeg", batch=1, floor=100, achieved=90, share=0.9, p50_ms=1, p95_ms=2,
    p99_ms=3, cores=1, rss_mb=50,
)  # fmt: skip
PIPELINE = PipelineFigures(
    cameras=4, frames=100, footage_s=10, size=(768, 576), detector="d", embedder="e", frames_per_s=80, ceiling=100,
    share_of_ceiling=0.8, share_of_detector=0.7, decode_ms=1, detect_ms=1, embed_ms=1, crops_per_frame=0.5, people=5,
    first_event_s=2, rss_mb=500, stages_ms={},
)  # fmt: skip
LOADS = [
    LiveLoad(cameras=n, fps=10, used=1, p50_ms=1, p95_ms=2, p99_ms=3, cores=1, memory_mb=1, is_held=n < 8)
    for n in (4, 7, 8)
]
WHOLE = table.SpeedTable(
    machine="2 cores, some", stages=[STAGE], pipelines=[PIPELINE, PIPELINE], held=LOADS, matcher=[]
)


def test_every_row_has_floor_achieved_and_share() -> None:
    head, rule, decode, alone, crowd, held = table.markdown(WHOLE).splitlines()
    assert {line.count("|") for line in (head, rule, decode, alone, crowd, held)} == {6}
    assert "| 100.0/s | 90.0/s | 0.90 |" in decode
    assert "10 people in every image" in crowd
    assert "| 10.0 | 7 | 0.70 |" in held


def test_the_table_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n")
    table.write(WHOLE, readme)
    table.write(WHOLE, readme)
    assert readme.read_text() == f"before\n{table.BEGIN}\n{table.markdown(WHOLE)}\n{table.END}\nafter\n"


def test_a_file_without_marks_is_left_alone(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("text\n")
    with pytest.raises(ConfigError, match="must have <!-- bench -->"):
        table.write(WHOLE, readme)
    assert readme.read_text() == "text\n"


def test_the_speed_page_has_the_marks() -> None:
    text = (Path(__file__).parents[3] / "docs/benchmarks/speed.md").read_text(encoding="utf-8")
    assert text.count(table.BEGIN) == text.count(table.END) == 1
