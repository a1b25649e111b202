"""Rendered worlds repeat by their seed and show the right people."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.accuracy import sets
from trainer.data.sets import split_market1501
from trainer.data.worlds import WORLDS, WorldSpec, is_there, main, render
from trainer.errors import DataError

DATA = os.environ.get("REID_STREAM_DATA")
needs_data = pytest.mark.skipif(DATA is None, reason="$REID_STREAM_DATA with Market-1501 is needed")
SMALL = WorldSpec("small", "validation", (1, 3), people=3, seconds=20, fps=2, size="160x120", seed=7)


@pytest.mark.slow
@needs_data
def test_the_same_seed_gives_the_same_files(tmp_path: Path) -> None:
    assert DATA is not None
    one, two = (render(SMALL, Path(DATA), tmp_path / name / "worlds") for name in ("one", "two"))
    names = {path.name for path in one.iterdir()}
    assert names == {"cam_1.mp4", "cam_3.mp4", "gt_1.txt", "gt_3.txt", "meta.json", "world.json"}
    assert all((one / name).read_bytes() == (two / name).read_bytes() for name in names)

    found = sets.find([tmp_path / "one"])
    assert [footage.name for footage in found] == ["worlds/small"]
    assert sum(len(boxes) for boxes in found[0].truth().values()) > 0

    (one / "cam_1.mp4").write_bytes(b"")
    assert render(SMALL, Path(DATA), tmp_path / "one" / "worlds") == one
    assert (one / "cam_1.mp4").read_bytes() == b"", "what lies there as described is left alone"
    assert not is_there(replace(SMALL, seed=8), one), "another seed is rendered again"


@needs_data
def test_worlds_for_tuning_show_no_person_of_the_reported_sets() -> None:
    assert DATA is not None
    split = split_market1501(Path(DATA))
    assert not set(split.validation) & set(split.test)
    assert {world.split for world in WORLDS if world.name.startswith(sets.TUNING)} == {"validation"}
    reported = [world for world in WORLDS if not world.name.startswith(sets.TUNING)]
    assert {world.split for world in reported} == {"test"}
    assert len(reported) >= 2
    assert all(world.people >= 60 for world in reported)
    plaza = json.loads((Path(DATA) / "worlds" / "plaza" / "meta.json").read_text(encoding="utf-8"))
    assert plaza["seed"] not in {world.seed for world in WORLDS}


def test_what_a_world_needs_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REID_STREAM_DATA", raising=False)
    with pytest.raises(DataError, match="neither is given"):
        main([])
    with pytest.raises(DataError, match="one of market-6cam.*got nowhere"):
        main(["nowhere", "--data", str(tmp_path)])
    with pytest.raises(DataError, match="which is not there"):
        main(["rush", "--data", str(tmp_path), "--out", str(tmp_path)])
