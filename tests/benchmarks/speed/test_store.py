"""The benchmark of the tracklet store counts what is on the disk."""

import json
from pathlib import Path

from typer.testing import CliRunner

from benchmarks.__main__ import app
from benchmarks.speed.store import measure
from reid_stream.bundles import catalog


def test_every_crop_is_written_found_again_and_replayed(tmp_path: Path) -> None:
    lines: list[str] = []
    found = measure(tmp_path / "store", catalog.embedder("default")[1], 120, 6, 600, lines.append)
    tracks = {path.parent for path in (tmp_path / "store").rglob("track.json")}
    on_disk = sum(path.stat().st_blocks * 512 for track in tracks for path in [track, *track.rglob("*")])
    assert (found.crops, found.tracks, found.lost) == (120, 20, 0)
    assert len(list((tmp_path / "store").rglob("*.jpg"))) == 120
    assert found.disk_mb * 1e6 == on_disk
    assert 2000 < found.bytes_per_crop < 20_000
    assert found.people >= 1
    assert 100 < found.span_s < 600
    assert len(lines) == 3


def test_the_command_leaves_nothing_behind(tmp_path: Path) -> None:
    kept, place = tmp_path / "figures.json", tmp_path / "disk"
    place.mkdir()
    words = ["speed", "store", "--crops", "100", "--folder", str(place), "--json", str(kept)]
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert json.loads(kept.read_text())["crops"] == 104  # whole tracks
    assert "times real time" in done.output
    assert list(place.iterdir()) == []
