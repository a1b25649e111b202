"""`python -m benchmarks simulate` on a small folder of images, with the shipped network."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from benchmarks.__main__ import app
from benchmarks.simulator import plots
from benchmarks.simulator.experiments import Experiment, MatchVariant
from benchmarks.simulator.figures import WorldFigures
from reid_stream.errors import ConfigError


@pytest.fixture(scope="module")
def crops(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of six people, as bands of colours, on three cameras of different brightness."""
    folder = tmp_path_factory.mktemp("crops")
    rng = np.random.default_rng(1)
    for person in range(6):
        bands = rng.integers(0, 200, (4, 1, 3)).repeat(32, axis=0).repeat(64, axis=1)
        for camera in (1, 2, 3):
            for number in range(2):
                noise = rng.integers(0, 30, (128, 64, 3))
                picture = np.clip(bands * (0.8 + 0.1 * camera) + noise, 0, 255).astype(np.uint8)
                cv2.imwrite(str(folder / f"{person:04}_c{camera}s1_000001_0{number}.png"), picture)
    return folder


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


def call(*words: str) -> str:
    done = CliRunner().invoke(app, ["simulate", *words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


SMALL = ("--calm", "--set", "people=6", "--set", "cameras=3", "--seeds", "1", "--threads", "1")


def test_a_world_of_a_folder_is_scored_and_kept(crops: Path, tmp_path: Path) -> None:
    kept, record = tmp_path / "world.json", tmp_path / "world.rec"
    output = call("world", "--crops", str(crops), *SMALL, "--json", str(kept), "--keep", str(record))
    found = json.loads(kept.read_text())
    (seed,) = found["variants"][0]["seeds"]
    assert (found["scenario"]["people"], seed["people"]) == (6, 6)
    assert 0 <= seed["idf1"] <= 1
    assert "observations simulated" in output
    assert record.stat().st_size > 10_000


def test_the_dial_is_asked_at_every_rate_and_drawn(crops: Path, tmp_path: Path) -> None:
    kept, drawing = tmp_path / "dial.json", tmp_path / "dial.png"
    call(
        "dial", "--crops", str(crops), *SMALL, "--set", "cameras_passed=2", "--json", str(kept), "--plot", str(drawing)
    )
    found = json.loads(kept.read_text())
    assert [variant["requested"] for variant in found["variants"]] == [1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1]
    assert drawing.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--set", "peopl=6"), "peopl: Extra inputs"),
        (("--set", "match.exemplars=0"), "match.exemplars: Input should be greater"),
        (("--set", "people"), "--set must be KEY=VALUE"),
        (("--set", "overlaps=[[0,9]]"), "from 0 to 5, got"),
        (("--part", "train"), "--part must be validation or test"),
        (("--crops", "/nowhere"), "found nothing at /nowhere"),
        (("--crops", "market1501"), "set REID_STREAM_DATA"),
    ],
)
def test_a_wrong_option_is_reported(words: tuple[str, ...], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REID_STREAM_DATA", raising=False)
    with pytest.raises(ConfigError, match=message.replace("[", r"\[")):
        call("world", *words)


def test_a_scenario_is_read_from_yaml(crops: Path, tmp_path: Path) -> None:
    file = tmp_path / "world.yaml"
    file.write_text("people: 6\ncameras: 2\ntransit_s: [4, 2]\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"transit_s: must be \[least, most\]"):
        call("world", "--crops", str(crops), "--world", str(file))


def test_an_ablation_is_drawn(tmp_path: Path) -> None:
    numbers = dict.fromkeys(WorldFigures.__struct_fields__, 1.0)
    seeds = [WorldFigures(**{**numbers, "idf1": value}) for value in (0.5, 0.7)]  # type: ignore[arg-type]
    variants = [MatchVariant("as shipped", 0.001, seeds), MatchVariant("head off", None, seeds)]
    experiment = Experiment(
        name="ablation", model="0" * 64, crops="here", part="", scenario={"cameras": 2}, seeds=[0, 1], variants=variants
    )
    plots.ablation(experiment, tmp_path / "ablation.png")
    assert (tmp_path / "ablation.png").read_bytes().startswith(b"\x89PNG")
    assert (variants[0].mean("idf1"), round(variants[0].spread("idf1"), 3)) == (0.6, 0.141)
