"""Distillation end to end: a small student learns from a bundle and from an OpenVINO network."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.trainer.checkpoints import losses
from trainer.config import TrainSettings, dump, load
from trainer.data.cuhk03 import PAIRS
from trainer.data.sets import read
from trainer.distill.settings import Teacher
from trainer.distill.teacher import open_teacher
from trainer.distill.views import change, mix
from trainer.errors import TrainerError
from trainer.export.bundle import export
from trainer.train.loop import train

ROOT = Path(__file__).parents[3]
DATA = os.environ.get("REID_STREAM_DATA")
EMBEDDER = ROOT / "reid_stream" / "models" / "embedder"
needs_data = pytest.mark.skipif(DATA is None, reason="needs REID_STREAM_DATA")


def settings(*changes: str) -> TrainSettings:
    return load(
        ROOT / "configs" / "train-tiny.yaml",
        (
            "data.sets=['synthetic:12']", "data.validation_ids=4", "data.height=32", "data.width=16",
            "sampler.persons=4", "sampler.images=2", "run.checkpoint_every=4", "run.validate_every=8",
            "run.log_every=4", "optimiser.steps=8", "distill.free=8", "distill.repeat=2",
            f"distill.teachers=[{{path: {EMBEDDER}}}]", *changes,
        ),
    )  # fmt: skip


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "distilled"
    train(settings(), run)
    return run


@pytest.mark.timeout(240)
def test_a_student_learns_by_vectors_pairs_and_labels(undisturbed: Path) -> None:
    first = json.loads((undisturbed / "losses.jsonl").read_text().splitlines()[0])
    assert {"pairs", "vectors", "identification", "verification"} <= set(first)
    assert len(list((undisturbed / "teachers").glob("*/*.npy"))) == 1


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_run_killed_midway_resumes_to_the_same_losses(undisturbed: Path, tmp_path: Path) -> None:
    run, config = tmp_path / "killed", tmp_path / "config.yaml"
    config.write_text(dump(settings()))
    command = [sys.executable, "-m", "trainer", "fit", "--config", str(config), "--out", str(run)]
    with subprocess.Popen(command, cwd=ROOT) as process:
        deadline = time.monotonic() + 200
        while not (run / "last.pt").exists() and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    train(settings(), run, resume=True)
    assert losses(run) == losses(undisturbed)


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_an_exported_student_names_teachers_data_hours_images_command_and_start(
    undisturbed: Path, tmp_path: Path
) -> None:
    bundle, _ = export(undisturbed, tmp_path / "student", "f16", note="with thanks")
    assert bundle.data == ["synthetic", "teacher embedder (weight 1)"]
    for part in (
        "teachers embedder (weight 1)", "images of 8 persons in synthetic:12",
        "8 steps of 16 images, 128 images seen",
        " hours; ", "command `reid-train", "started from random weights", "; with thanks",
    ):  # fmt: skip
        assert part in bundle.source
    assert bundle.source in (tmp_path / "student" / "MODEL_CARD.md").read_text()
    assert str(ROOT).encode() not in (tmp_path / "student" / "model.onnx").read_bytes()
    train(settings(f"model.weights={tmp_path / 'student'}", "optimiser.steps=1"), tmp_path / "further")
    further, _ = export(tmp_path / "further", tmp_path / "second", "f16")
    assert f"started from the bundle student {bundle.hash[:12]} ({bundle.source})" in further.source


@pytest.mark.slow
@needs_data
@pytest.mark.timeout(240)
def test_two_teachers_of_different_kinds_teach_at_once(tmp_path: Path) -> None:
    network = Path(str(DATA)) / "reid" / "intel" / "person-reidentification-retail-0287.xml"
    teachers = f"distill.teachers=[{{path: {EMBEDDER}, weight: 0.5}}, {{path: {network}}}]"
    train(settings(teachers, "optimiser.steps=2"), tmp_path / "run")
    assert {np.load(file).shape[1] for file in (tmp_path / "run" / "teachers").glob("*/*.npy")} == {256, 512}


@needs_data
def test_a_truncated_weights_file_is_named(tmp_path: Path) -> None:
    folder = Path(str(DATA)) / "reid" / "intel"
    for suffix in (".xml", ".bin"):
        shutil.copy(folder / f"person-reidentification-retail-0287{suffix}", tmp_path / f"net{suffix}")
    weights = tmp_path / "net.bin"
    weights.chmod(0o644)
    os.truncate(weights, weights.stat().st_size // 2)
    with pytest.raises(TrainerError, match=r"must be readable, .*net\.xml.*net\.bin has \d+ bytes"):
        open_teacher(Teacher(path=tmp_path / "net.xml"), "f32")


def test_a_network_without_its_weights_is_named(tmp_path: Path) -> None:
    (tmp_path / "net.xml").write_text("<net/>")
    with pytest.raises(TrainerError, match=r"net\.bin is missing"):
        open_teacher(Teacher(path=tmp_path / "net.xml"), "f32")


def test_views_are_repeatable_and_differ_from_their_crop() -> None:
    crops = np.random.default_rng(3).integers(0, 256, (20, 64, 32, 3), dtype=np.uint8)
    one, other = (
        mix(np.stack([change(crop, chance) for crop in crops]), 4, 0.5, 0.5, chance)
        for chance in (np.random.default_rng(5), np.random.default_rng(5))
    )
    assert np.array_equal(one, other)
    assert (one != crops).any(axis=(1, 2, 3)).all()


def test_labelled_views_are_not_mixed() -> None:
    views = np.random.default_rng(3).integers(0, 256, (12, 64, 32, 3), dtype=np.uint8)
    mixed = mix(views, 4, 0.5, 0.5, np.random.default_rng(5))
    assert np.array_equal(mixed[:4], views[:4])
    assert (mixed[4:] != views[4:]).any()


@pytest.mark.slow
@needs_data
def test_each_pair_of_cuhk03_is_a_set_of_its_own() -> None:
    sizes = {}
    for source, cameras in PAIRS.items():
        crops = list(read(source, Path(str(DATA))))
        assert {crop.camera for crop in crops} == set(cameras)
        assert {crop.domain for crop in crops} == {source}
        sizes[source] = len({crop.person for crop in crops})
    assert sizes == {"cuhk03-pair2": 440, "cuhk03-pair3": 77, "cuhk03-pair4": 58, "cuhk03-pair5": 49}


@needs_data
def test_both_boxes_of_cuhk03_are_one_set_of_the_same_people() -> None:
    crops = list(read("cuhk03+detected", Path(str(DATA))))
    assert len(crops) == 2 * 8177
    assert len({(crop.domain, crop.person) for crop in crops}) == 843
    assert len({crop.name for crop in crops}) == len(crops)
