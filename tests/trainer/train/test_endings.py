"""Early ends of a run: divergence, a full disk, a wrong folder; earlier files stay whole."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from tests.full_disk import files_of_at_most
from trainer.config import TrainSettings, load
from trainer.errors import CheckpointError, DataError, DivergedError, TrainerError
from trainer.train import checkpoint
from trainer.train.loop import load_images, train

CONFIG = Path(__file__).parents[3] / "configs" / "train-tiny.yaml"
QUICK = (
    "data.sets=['synthetic:12']", "data.validation_ids=4", "data.height=32", "data.width=16", "sampler.persons=4",
    "sampler.images=2", "run.checkpoint_every=5", "run.validate_every=10", "run.log_every=5",
)  # fmt: skip


def quick(*changes: str) -> TrainSettings:
    return load(CONFIG, (*QUICK, *changes))


@pytest.fixture(scope="module")
def began(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a run of five steps."""
    run = tmp_path_factory.mktemp("runs") / "began"
    train(quick("optimiser.steps=5"), run)
    return {name: (run / name).read_bytes() for name in ("last.pt", "best.pt", "losses.jsonl")}


@pytest.fixture
def run(began: dict[str, bytes], tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    for name, content in began.items():
        (folder / name).write_bytes(content)
    return folder


def test_a_loss_of_nan_stops_the_run_and_leaves_the_checkpoint_untouched(run: Path) -> None:
    state = checkpoint.load(run / "last.pt")
    state["model"]["verifier.b"] = torch.tensor(float("nan"))
    checkpoint.save(run / "last.pt", state)
    before = (run / "last.pt").read_bytes()
    with pytest.raises(DivergedError, match=r"loss must be finite, got nan at step 5; lower .*last.pt is intact"):
        train(quick("optimiser.steps=9"), run, resume=True)
    assert (run / "last.pt").read_bytes() == before


def test_a_run_that_explodes_never_saves_weights_that_are_not_finite(tmp_path: Path) -> None:
    changes = ("optimiser.kind=sgd", "optimiser.lr=1e30", "run.checkpoint_every=1", "optimiser.steps=200")
    with pytest.raises(DivergedError, match=r"must be finite.*lower optimiser.lr.*"):
        train(quick(*changes), tmp_path)
    for file in tmp_path.glob("*.pt"):
        state = torch.load(file, weights_only=True)
        assert all(bool(torch.isfinite(value).all()) for value in state["averaged"].values())


def test_a_full_disk_stops_the_run_and_room_lets_it_go_on(run: Path) -> None:
    before = (run / "last.pt").read_bytes()
    with (
        files_of_at_most(50_000),
        pytest.raises(CheckpointError, match=r"MiB in .*is intact; make room, then --resume"),
    ):
        train(quick("optimiser.steps=10", "run.checkpoint_every=100"), run, resume=True)
    assert (run / "last.pt").read_bytes() == before
    assert not list(run.glob("*.part"))
    train(quick("optimiser.steps=10"), run, resume=True)
    losses = [json.loads(line)["step"] for line in (run / "losses.jsonl").read_text().splitlines()]
    assert losses == list(range(1, 11))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full to stand for a full disk")
def test_a_full_disk_is_named_when_a_loss_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "losses.jsonl").symlink_to("/dev/full")
    with pytest.raises(TrainerError, match=r"must have room, .*: No space left on device; no checkpoint was written"):
        train(quick(), tmp_path)


def test_a_run_does_not_go_on_with_another_network_seed_or_file(run: Path) -> None:
    with pytest.raises(CheckpointError, match=r"model.dim 64 -> 32, run.seed 1 -> 2; take a new --out"):
        train(quick("model.dim=32", "run.seed=2"), run, resume=True)
    (run / "last.pt").write_bytes((run / "best.pt").read_bytes())
    with pytest.raises(CheckpointError, match=r"must be a last.pt of reid-train fit"):
        train(quick(), run, resume=True)


def test_cameras_missing_from_the_names_must_be_given(tmp_path: Path) -> None:
    for person in range(6):
        (tmp_path / f"person{person}").mkdir()
        picture = cv2.imencode(".png", np.full((32, 16, 3), person * 30, np.uint8))[1].tobytes()
        for shot in range(2):
            (tmp_path / f"person{person}" / f"{shot}.png").write_bytes(picture)
    settings = quick(f"data.sets=['folder:{tmp_path}']", "data.validation_ids=2")
    with pytest.raises(
        DataError, match=r"must show persons by at least 2 cameras, found 2 persons and .* name the camera"
    ):
        load_images(settings, None)


def test_a_set_named_twice_is_refused() -> None:
    with pytest.raises(DataError, match="named once, synthetic:12 comes twice"):
        load_images(quick("data.sets=['synthetic:12', 'synthetic:12']"), None)
