"""The training loop: it learns, resumes after a kill to the same losses, and stops with a clear message.

The golden losses are rewritten by `REID_STREAM_WRITE_GOLDEN=1 pytest tests/trainer/train/test_loop.py -k golden`.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.full_disk import files_of_at_most
from tests.trainer.checkpoints import losses
from trainer.config import TrainSettings, dump, load, parse
from trainer.data.sets import read
from trainer.errors import CheckpointError, DataError, DivergedError, TrainerError
from trainer.model.siamese import load_branch
from trainer.train import checkpoint
from trainer.train.loop import load_images, train
from trainer.train.run_state import RunState

ROOT = Path(__file__).parents[3]
CONFIG = ROOT / "configs" / "train-tiny.yaml"
GOLDEN = ROOT / "tests" / "golden" / "losses_cpu.json"
QUICK = (
    "data.sets=['synthetic:12']", "data.validation_ids=4", "data.height=32", "data.width=16", "sampler.persons=4",
    "sampler.images=2", "run.checkpoint_every=5", "run.validate_every=10", "run.log_every=5",
)  # fmt: skip


def tiny(*changes: str) -> TrainSettings:
    return load(CONFIG, changes)


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the tiny recipe."""
    run = tmp_path_factory.mktemp("runs") / "tiny"
    train(tiny(), run)
    return run


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_the_tiny_recipe_learns_from_random_weights(learnt: Path) -> None:
    report = json.loads((learnt / "report.json").read_text())
    assert report["best_validation_mAP"] > 0.5  # chance is about 0.06: 8 right ones among 284
    assert np.mean(losses(learnt)[-10:]) < 0.7 * np.mean(losses(learnt)[:10])
    for name in ("last.pt", "best.pt", "report.md", "tensorboard"):
        assert (learnt / name).exists()
    assert load(learnt / "settings.yaml") == tiny()


@pytest.mark.timeout(240)
def test_a_trained_branch_loads_with_all_that_belongs_to_it(learnt: Path) -> None:
    loaded = load_branch(learnt)
    assert (loaded.dim, loaded.train_prior) == (64, 0.2)
    assert (loaded.spec.height, loaded.spec.width) == (64, 32)
    assert loaded.verifier.v.shape == (64,)
    assert loaded.branch(torch.zeros(2, 3, 64, 32)).shape == (2, 64)


@pytest.mark.timeout(120)
def test_the_first_twenty_losses_are_the_golden_ones(tmp_path: Path) -> None:
    train(tiny("optimiser.steps=20"), tmp_path)
    found = losses(tmp_path)
    if os.environ.get("REID_STREAM_WRITE_GOLDEN"):
        GOLDEN.write_text(json.dumps(found, indent=1) + "\n")
    assert found == pytest.approx(json.loads(GOLDEN.read_text()), rel=0.02)  # other CPUs round differently


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_killed_run_continues_to_the_same_losses(tmp_path: Path) -> None:
    settings = tiny(*QUICK, "optimiser.steps=60")
    whole, killed, config = tmp_path / "whole", tmp_path / "killed", tmp_path / "settings.yaml"
    train(settings, whole)
    config.write_text(dump(settings))
    command = [sys.executable, "-m", "trainer", "fit", "--config", str(config), "--out", str(killed)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=CONFIG.parents[1]) as process:
        record, until = killed / "losses.jsonl", time.monotonic() + 120
        while process.poll() is None and time.monotonic() < until:
            if record.exists() and len(record.read_text().splitlines()) >= 12:
                break
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert len(losses(killed)) < 60
    train(settings, killed, resume=True)
    assert losses(killed) == losses(whole)


def test_a_checkpoint_stores_the_state_as_plain_facts_and_one_of_an_older_version_resumes(tmp_path: Path) -> None:
    train(tiny(*QUICK, "optimiser.steps=5"), tmp_path)
    saved = checkpoint.load(tmp_path / "last.pt")
    facts = saved["facts"]
    assert type(facts) is dict
    first = {"step", "seconds", "best", "stale", "curve", "seed", "persons_per_domain", "domains", "images",
             "validation_persons", "stopped"}  # fmt: skip
    assert first <= set(facts)
    assert RunState.of(facts, "last.pt").facts() == facts
    saved["facts"] = {key: value for key, value in facts.items() if key in first} | {"of_a_later_version": 1}
    checkpoint.save(tmp_path / "last.pt", saved)
    report = train(tiny(*QUICK, "optimiser.steps=10"), tmp_path, resume=True)
    assert [point["step"] for point in report["curve"]] == [5, 10]
    assert isinstance(report["curve"][0]["step"], int)


def test_facts_that_are_no_state_are_refused_by_name(tmp_path: Path) -> None:
    train(tiny(*QUICK, "optimiser.steps=2"), tmp_path)
    saved = checkpoint.load(tmp_path / "last.pt")
    checkpoint.save(tmp_path / "last.pt", saved | {"facts": {"step": "two"}})
    with pytest.raises(CheckpointError, match=r"last.pt must be a checkpoint .*Expected `int`, got `str`"):
        train(tiny(*QUICK, "optimiser.steps=4"), tmp_path, resume=True)


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_checkpoint(tmp_path: Path) -> None:
    train(tiny(*QUICK, "optimiser.steps=5"), tmp_path)
    state = checkpoint.load(tmp_path / "last.pt")
    state["model"]["verifier.b"] = torch.tensor(float("nan"))
    checkpoint.save(tmp_path / "last.pt", state)
    with pytest.raises(DivergedError, match=r"must be finite, got nan at step 5; .*last.pt is intact"):
        train(tiny(*QUICK, "optimiser.steps=30", "run.checkpoint_every=1"), tmp_path, resume=True)
    assert checkpoint.load(tmp_path / "last.pt")["facts"]["step"] == 5


def test_a_run_on_a_full_disk_reports_it(tmp_path: Path) -> None:
    with pytest.raises(TrainerError, match=r"MiB in .*make room, then --resume"), files_of_at_most(50_000):
        train(tiny(*QUICK, "optimiser.steps=4", "run.checkpoint_every=2"), tmp_path / "run")
    assert not (tmp_path / "run" / "last.pt").exists()


def test_a_full_disk_costs_no_earlier_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    checkpoint.save(path, {"step": 1})
    kept = path.read_bytes()
    with (
        pytest.raises(CheckpointError, match=r"MiB in .*; the earlier .*last.pt is intact; make room"),
        files_of_at_most(100_000),
    ):
        checkpoint.save(path, {"step": 2, "weights": torch.zeros(1_000_000)})
    assert path.read_bytes() == kept
    assert [file.name for file in tmp_path.iterdir()] == ["last.pt"]


def test_a_broken_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="--resume needs a checkpoint"):
        train(tiny(), tmp_path, resume=True)
    (tmp_path / "last.pt").write_bytes(b"half a file")
    with pytest.raises(CheckpointError, match="must be a"):
        train(tiny(), tmp_path, resume=True)


def test_a_run_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "last.pt").write_bytes(b"precious")
    with pytest.raises(TrainerError, match="must be a new folder or --resume be given"):
        train(tiny(), tmp_path)


def test_one_camera_is_refused_with_what_to_do(tmp_path: Path) -> None:
    for crop in read("synthetic:6"):
        if crop.camera == "1":
            (tmp_path / crop.name).write_bytes(crop.data)
    with pytest.raises(DataError, match="by at least 2 cameras"):
        load_images(tiny(f"data.sets=['folder:{tmp_path}']", "data.validation_ids=2"), None)


def test_one_identity_is_refused() -> None:
    with pytest.raises(DataError, match="at least 3 persons, .* got 1"):
        load_images(tiny("data.sets=['synthetic:1']"), None)


def test_a_wrong_setting_is_named_with_its_key() -> None:
    with pytest.raises(TrainerError, match=r"site.yaml: optimiser.lr: .*got -1"):
        parse({"optimiser": {"lr": -1}}, "site.yaml")
    with pytest.raises(TrainerError, match=r"model.depth: extra inputs are not permitted, got 50"):
        parse({"model": {"depth": 50}}, "site.yaml")
    with pytest.raises(TrainerError, match=r"section.key=value"):
        tiny("lr=3")


@pytest.mark.parametrize("name", ["train-tiny", "train-strong", "train-strong-full"])
def test_every_shipped_configuration_is_valid(name: str) -> None:
    assert load(CONFIG.with_name(f"{name}.yaml")).model.dim <= 512
