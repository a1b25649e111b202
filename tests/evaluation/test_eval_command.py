"""`reid-stream eval` from cams.yaml to figures, and its errors."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from typer.testing import CliRunner

from benchmarks.rtsp.clips import draw_clip
from reid_stream.cli import app
from reid_stream.config import cams_yaml
from reid_stream.config.settings import Settings
from reid_stream.errors import ConfigError
from reid_stream.evaluation import recording
from reid_stream.evaluation.footage import truth_for
from reid_stream.records import Observation
from tests.evaluation.test_stored import put
from tests.integration.program import tiny_models, write_cams


class Scene(NamedTuple):
    """Two cameras that each see one person, always at one place, and the truth of it."""

    cams: Path
    truth: list[str]

    def run(self, *words: str | Path) -> tuple[str, dict[str, Any]]:
        """Run `eval`; give what it printed and what it wrote."""
        file = self.cams.with_name("figures.json")
        done = CliRunner().invoke(app, ["eval", *map(str, words), "--json", str(file)], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output, json.loads(file.read_text())


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    folder = tmp_path_factory.mktemp("eval")
    tiny = tiny_models(folder / "tiny")
    clip = draw_clip(folder / "clip.mp4", seconds=2)
    models = f"models: {{detector: {tiny / 'detector'}, embedder: {tiny / 'embedder'}}}\nobserve: {{port: null}}"
    cams = write_cams(folder, {"east": clip, "west": clip}, more=models)
    made = recording.record(cams_yaml.load(cams))
    truth = {name: recording.TrueBoxes([1], [7], [(0, 0, 9, 9)]) for name in ("east", "west")}
    recording.save(made, folder / "bare.rec")
    recording.save(msgspec.structs.replace(made, truth=truth), folder / "a.rec")
    frames = list(range(1, 21))
    recording.save(msgspec.structs.replace(made, used={"east": frames, "west": frames}), folder / "kept.rec")
    (folder / "long.txt").write_text("21,7,1,1,9,9\n")
    first = next(each for batch in made.batches for each in batch.records if isinstance(each, Observation))
    left, top, right, bottom = first.box
    lines = [f"{frame},7,{left},{top},{right - left},{bottom - top},1,1,1\n" for frame in range(1, 21)]
    (folder / "gt.txt").write_text("".join(lines))
    return Scene(cams, [word for name in ("east", "west") for word in ("--truth", f"{name}={folder / 'gt.txt'}")])


def test_cameras_are_scored_through_the_daemon(scene: Scene) -> None:
    output, figures = scene.run("--cameras", scene.cams, *scene.truth)
    assert "across cameras" in output
    assert (figures["frames"], figures["in_the_end"]["people"]["visits"]) == (40, 2)
    # Every published person is at the right place; the first frames pass before a track is confirmed.
    assert figures["in_the_end"]["single"]["det_pr"] == pytest.approx(1.0)
    assert 0.5 < figures["in_the_end"]["single"]["idf1"] <= 1
    assert figures["delay"]["untold"] == 0


def test_what_was_kept_is_scored_as_the_cameras_were(scene: Scene, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the `eval` extra draws")
    kept, lanes, plot = tmp_path / "a.rec", tmp_path / "lanes.png", tmp_path / "sweep.png"
    output, first = scene.run("--cameras", scene.cams, *scene.truth, "--budget", "--keep", kept, "--lanes", lanes)
    assert "largest loss: " in output
    assert lanes.stat().st_size > 1000
    lines = {line["what"]: line["across"] for line in first["budget"]["lines"]}
    assert lines["all true, as published"]["idf1"] >= lines["ours"]["idf1"] == first["in_the_end"]["across"]["idf1"]
    output, again = scene.run("--recording", kept, "--budget", "--sweep", "match.similarity=0.2,0.9", "--plot", plot)
    assert again["budget"] == first["budget"]
    assert {name: again[name] for name in ("at_once", "in_the_end", "delay")} == {
        name: first[name] for name in ("at_once", "in_the_end", "delay")
    }
    assert "match.similarity:" in output
    assert [point["value"] for point in again["sweep"]["points"]] == ["0.2", "0.9"]
    assert plot.stat().st_size > 1000


def test_a_store_is_scored_as_it_lies(scene: Scene, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the `eval` extra draws")
    put(tmp_path / "store", "door", 1, [1, 11, 20], "s-1")
    gt = tmp_path / "gt.txt"
    gt.write_text("".join(f"{frame},7,0,10,40,80,1,1,1\n" for frame in range(1, 21)))
    lanes = tmp_path / "lanes.png"
    words: list[str | Path] = [
        "--store",
        tmp_path / "store",
        "--truth",
        f"door={gt}",
        "--begin",
        "door=100@10",
        "--lanes",
        lanes,
    ]
    output, figures = scene.run(*words)
    assert "as stored" in output
    assert figures["as_stored"]["across"]["hota"] == pytest.approx(1.0)
    assert lanes.stat().st_size > 1000


def test_frames_that_a_slow_rate_leaves_out_are_not_scored(scene: Scene, tmp_path: Path) -> None:
    slow = tmp_path / "cams.yaml"
    slow.write_text(scene.cams.read_text().replace(", }", ", max_fps: 2}"))
    assert "max_fps: 2" in slow.read_text()
    _, figures = scene.run("--cameras", slow, *scene.truth, "--keep", tmp_path / "a.rec")
    _, again = scene.run("--recording", tmp_path / "a.rec", *scene.truth)
    assert again["in_the_end"] == figures["in_the_end"]
    assert figures["frames"] == 10
    assert figures["in_the_end"]["across"]["det_re"] > 0.5, "ten frames of forty would be 0.25 at most"


def test_what_is_decided_before_matching_is_looked_at_again_for_each_value(scene: Scene) -> None:
    output, figures = scene.run("--cameras", scene.cams, *scene.truth, "--sweep", "track.birth_score=0.7,0.95")
    seeing, blind = (point["figures"]["in_the_end"] for point in figures["sweep"]["points"])
    assert [point["is_default"] for point in figures["sweep"]["points"]] == [True, False]
    assert (seeing["people"]["found"], blind["people"]["found"]) == (1, 0), "the detector is sure to 0.9"
    assert "track.birth_score:" in output


def test_truth_is_seen_as_the_camera_sees_it(scene: Scene) -> None:
    clip = str(scene.cams.with_name("clip.mp4"))
    seeing: dict[str, dict[str, Any]] = {
        "whole": {},
        "half": {"resize": [160, 120]},
        "left": {"region": [[0, 0], [0.5, 0], [0.5, 1], [0, 1]]},
        "masked": {"ignore": [[[0.5, 0.5], [1, 0.5], [1, 1], [0.5, 1]]]},
    }
    cameras = [{"id": name, "url": clip, **how} for name, how in seeing.items()]
    gt = scene.cams.with_name("two.txt")
    gt.write_text("1,1,20,40,40,80,1,1,1\n1,2,240,100,40,100,1,1,1\n")
    seen = truth_for(Settings.model_validate({"cameras": cameras}), dict.fromkeys(seeing, gt))
    assert [boxes.people for boxes in seen.values()] == [(1, 2), (1, 2), (1,), (1,)]
    assert seen["half"].boxes.tolist() == [[10, 20, 30, 60], [120, 50, 140, 100]]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--truth", "east=x"], "one of --cameras, --recording or --store"),
        (["--cameras", "CAMS", "--store", "."], "one of --cameras, --recording or --store"),
        (["--cameras", "CAMS", "--truth", "east"], "must be CAMERA=FILE"),
        (["--cameras", "CAMS", "--truth", "east=GT", "--truth", "east=GT"], "once a camera, got east twice"),
        (["--cameras", "CAMS", "--truth", "est=GT", "--truth", "west=GT"], "of a camera of east, west, got 'est'"),
        (["--cameras", "CAMS", "--truth", "east=GT", "--truth", "west=missing.txt"], "missing.txt: No such file"),
        (
            ["--cameras", "CAMS", "--truth", "east=GT", "--truth", "west=LONG"],
            "camera west has 20 frames, got 1 frames",
        ),
        (["--recording", "REC", "--lanes", "lanes.xyz"], "a plot must be a .png"),
        (["--recording", "REC", "--json", "REC/a.json"], "must be in a folder that can be made"),
        (["--recording", "REC", "--json", "."], "found a folder"),
        (["--cameras", "CAMS", "--plot", "a.png"], "--plot needs --sweep"),
        (["--cameras", "CAMS", "--begin", "east=0@10"], "--begin needs --store"),
        (["--recording", "REC", "--budget"], "an error budget needs a.true-boxes.rec"),
        (["--recording", "REC", "--sweep", "track.lost_s=1,2"], "track.lost_s cannot be swept over a recording"),
        (
            ["--recording", "KEPT", "--truth", "east=GT", "--truth", "west=LONG"],
            "last frame of camera west is 20, got frame 21",
        ),
        (["--recording", "BARE"], "has none; give --truth"),
        (["--store", ".", "--truth", "east=GT"], "--store needs --truth and --begin of the same cameras"),
        (
            ["--store", ".", "--truth", "east=GT", "--begin", "east=0@10", "--keep", "a"],
            "--keep, --sweep and --budget need --cameras",
        ),
    ],
)
def test_options_that_contradict_are_refused(scene: Scene, words: list[str], message: str) -> None:
    files = {
        "CAMS": "cams.yaml",
        "REC": "a.rec",
        "BARE": "bare.rec",
        "KEPT": "kept.rec",
        "GT": "gt.txt",
        "LONG": "long.txt",
    }
    for short, name in files.items():
        words = [word.replace(short, str(scene.cams.with_name(name))) for word in words]
    with pytest.raises(ConfigError) as caught:
        CliRunner().invoke(app, ["eval", *words], catch_exceptions=False)
    assert message in str(caught.value)
