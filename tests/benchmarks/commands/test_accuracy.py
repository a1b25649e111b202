"""`python -m benchmarks accuracy` on a small set with truth."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.rtsp.clips import draw_clip
from tests.integration.program import tiny_models

ROOT = Path(__file__).parents[3]
DATA = os.environ.get("REID_STREAM_DATA")

pytestmark = pytest.mark.timeout(300)


class Place:
    """A working folder with a set of two cameras on which one person stands for a second."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        world = folder / "data" / "worlds" / "tiny"
        world.mkdir(parents=True)
        for camera in (1, 2):
            draw_clip(world / f"cam_{camera}.mp4", seconds=1)
            # Where the tiny detector sees a person: 20 x 40 in the middle of 64 x 64, in pixels of 320 x 240.
            truth = "".join(f"{frame},1,110,20,100,200,1,1,1\n" for frame in range(1, 11))
            (world / f"gt_{camera}.txt").write_text(truth)
        self.models = tiny_models(folder / "models")

    def call(self, *arguments: str, with_models: bool = True) -> subprocess.CompletedProcess[str]:
        bundles = ["--detector", str(self.models / "detector"), "--embedder", str(self.models / "embedder")]
        samples = {"REID_STREAM_SAMPLES": str(Path(DATA) / "video")} if DATA else {}
        environment = {**os.environ, **samples, "REID_STREAM_DATA": str(self.folder / "data"), "COLUMNS": "120"}
        return subprocess.run(
            [sys.executable, "-m", "benchmarks", "accuracy", *arguments, *(bundles if with_models else [])],
            capture_output=True,
            text=True,
            cwd=self.folder,
            env={**environment, "PYTHONPATH": str(ROOT), "NO_COLOR": "1"},
            check=False,
        )


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_a_set_is_recorded_and_its_links_are_compared(place: Place) -> None:
    recorded = place.call("record", "tiny")
    assert recorded.returncode == 0, recorded.stderr
    assert (place.folder / ".recordings" / "worlds-tiny.rec").is_file()
    compared = place.call("compare", ".recordings/worlds-tiny.rec", "--json", "out.json", with_models=False)
    assert compared.returncode == 0, compared.stderr
    (found,) = json.loads((place.folder / "out.json").read_text())
    idf1 = {row["way"]: row["score"]["idf1"] for row in found["rows"]}
    assert (found["tracks"], found["people"]) == (2, 1)
    assert idf1["ours"] == idf1["(c) average linkage"] == idf1["oracle"] > idf1["(a) unlinked tracks"]
    settled = place.call("settle", ".recordings/worlds-tiny.rec", "--json", "settled.json", with_models=False)
    assert settled.returncode == 0, settled.stderr
    (found,) = json.loads((place.folder / "settled.json").read_text())
    assert found["wrong_merges"] == 0
    assert found["stream"]["in_the_end"]["across"]["idf1"] >= found["stream"]["at_once"]["across"]["idf1"]


@pytest.mark.skipif(DATA is None, reason="$REID_STREAM_DATA with the clip of the speed measurement is needed")
def test_a_score_is_kept_and_the_next_one_shows_what_has_changed(place: Place) -> None:
    first = place.call("score", "--kept", "recordings")
    assert first.returncode == 0, first.stderr
    assert "change" not in first.stdout
    (kept,) = (place.folder / "scores").glob("*.json")
    card = json.loads(kept.read_text())
    assert card["figures"]["share of the oracle"]["worlds/tiny"] == pytest.approx(1)
    assert 0 < card["figures"]["share of the speed ceiling"]["4 cameras"] < 1.5

    card["figures"]["single-camera HOTA"]["mean"] -= 0.25
    kept.write_text(json.dumps(card))
    second = place.call("score", "--kept", "recordings")
    assert second.returncode == 0, second.stderr
    assert "+0.250" in second.stdout
    assert "frames of 2 cameras" in first.stdout
    assert "frames of 2 cameras" not in second.stdout, "the recording is used again"


def test_no_set_at_all_is_reported_in_one_line(place: Place) -> None:
    ended = place.call("record", "nowhere")
    assert ended.returncode == 2
    assert "none is called nowhere; known: worlds/tiny" in ended.stderr
    assert "Traceback" not in ended.stderr
