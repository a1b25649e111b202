"""The commands from a network to a measured bundle, on images drawn here."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from reid_stream.bundles.bundle import load_embedder
from reid_stream.embed.preprocess import InputSpec
from trainer.cli import app
from trainer.data.test_sets import read_test_set
from trainer.errors import DataError, TrainerError

SAMPLE = Path(__file__).parents[2] / "samples" / "embedder-tiny"


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve persons of one colour each, three images by each of two cameras."""
    folder, random = tmp_path_factory.mktemp("people"), np.random.default_rng(0)
    for person in range(12):
        colour = random.integers(0, 256, 3)
        for camera in (1, 2):
            for image in range(3):
                noise = random.normal(0, 25, (32, 16, 3))
                crop = np.clip(colour + noise + 10 * camera, 0, 255).astype(np.uint8)
                cv2.imwrite(str(folder / f"{person:04d}_c{camera}_{image:02d}.png"), crop)
    return folder


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A copy of the sample bundle, to be changed."""
    return Path(shutil.copytree(SAMPLE, tmp_path / "bundle"))


def run(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)


def test_eval_writes_numbers_and_plots_and_keeps_them_in_the_bundle(people: Path, bundle: Path, tmp_path: Path) -> None:
    before = load_embedder(bundle).hash
    result = run("eval", bundle, "--set", f"folder:{people}", "--rerank", "--out", tmp_path / "report", "--record")
    assert result.exit_code == 0, result.output
    rows = [line.split() for line in result.output.splitlines() if line.startswith(f"folder:{people} ")]
    assert [row[1] for row in rows] == ["cosine", "cosine+rerank"]  # one line each, however wide
    reports = json.loads((tmp_path / "report" / "report.json").read_text())
    assert [report["ranking"] for report in reports] == ["cosine", "cosine+rerank"]
    assert (reports[0]["queries"], reports[0]["gallery"]) == (24, 48)
    assert 0 < reports[0]["mean_ap_triangular"] <= reports[0]["mean_ap"] <= 1
    assert (tmp_path / "report" / "evaluation.png").stat().st_size > 1000
    kept = load_embedder(bundle)
    assert kept.hash == before
    assert kept.metrics[f"folder:{people}.cosine.mAP"] == pytest.approx(reports[0]["mean_ap"], abs=1e-4)
    assert (bundle / "MODEL_CARD.md").is_file()


def test_calibrate_puts_probabilities_in_the_bundle(people: Path, bundle: Path) -> None:
    result = run("calibrate", bundle, "--set", f"folder:{people}", "--test", f"folder:{people}", "--precision", "f32")
    assert result.exit_code == 0, result.output
    calibration = load_embedder(bundle).calibration
    assert (calibration.kind, calibration.at_precision) == ("platt", "f32")
    assert "12 persons, 108 same-person" in calibration.fitted_on
    assert (bundle / "reliability.png").stat().st_size > 1000


@pytest.mark.parametrize("order", [(), ("--worst",)])
def test_rank_draws_queries_with_their_answers(people: Path, tmp_path: Path, order: tuple[str, ...]) -> None:
    result = run("rank", SAMPLE, tmp_path / "rank.png", "--set", f"folder:{people}", "--queries", 3, *order)
    assert result.exit_code == 0, result.output
    picture = cv2.imread(str(tmp_path / "rank.png"))
    assert picture is not None
    assert picture.shape[1] > 1000


def test_bench_prints_the_seconds() -> None:
    assert "20 queries x 300 gallery images" in run("bench", "--queries", 20, "--gallery", 300, "--dim", 8).output


def test_export_names_the_precisions_there_are(tmp_path: Path) -> None:
    with pytest.raises(TrainerError, match="f32, f16, int8-weights, got 'int4'"):
        run("export", tmp_path, tmp_path / "out", "--precision", "int4")


def test_recording_needs_a_bundle(people: Path, tmp_path: Path) -> None:
    shutil.copy(SAMPLE / "model.onnx", tmp_path / "net.onnx")
    with pytest.raises(TrainerError, match="--record needs a bundle"):
        run("eval", tmp_path / "net.onnx", "--set", f"folder:{people}", "--record")


def test_cameras_without_a_common_person_are_reported_before_anything_is_computed(
    people: Path, bundle: Path, tmp_path: Path
) -> None:
    apart = tmp_path / "apart"
    apart.mkdir()
    for file in people.glob("*.png"):
        shutil.copy(file, apart / file.name.replace("_c2_", "0_c2_"))
    before, good, bad = load_embedder(bundle).hash, f"folder:{people}", f"folder:{apart}"
    for words in (
        ("eval", bundle, "--set", good, "--set", bad, "--out", tmp_path / "report"),
        ("calibrate", bundle, "--set", good, "--test", "none", "--strangers", bad),
        ("calibrate", bundle, "--set", good, "--test", bad),
        ("quantise", bundle, tmp_path / "int8", "--source", good, "--evaluate", bad),
    ):
        ended = CliRunner().invoke(app, [str(word) for word in words])
        assert isinstance(ended.exception, DataError), words
        assert "without a common person" in str(ended.exception)
        assert not ended.output
    assert load_embedder(bundle).hash == before


def test_one_camera_cannot_be_measured(people: Path, tmp_path: Path) -> None:
    for file in people.glob("*_c1_*"):
        shutil.copy(file, tmp_path)
    with pytest.raises(DataError, match="at least 2 cameras, found .* persons and 1 camera"):
        read_test_set(f"folder:{tmp_path}", None, InputSpec(32, 16))
