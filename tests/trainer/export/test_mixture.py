"""Weights of two networks of one architecture are interpolated, and the origin is recorded."""

from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from reid_stream.bundles.bundle import load_embedder
from tests.trainer.checkpoints import small_settings, write_checkpoint
from trainer.cli import app
from trainer.errors import CheckpointError, TrainerError
from trainer.evaluate.network import open_network
from trainer.export.bundle import export
from trainer.export.mixture import mix
from trainer.model.siamese import Siamese, load_branch


def checkpoint(folder: Path, seed: int, domain: str, dim: int = 32, height: int = 64) -> Path:
    """A small network with random weights, as `fit` would have kept it."""
    torch.manual_seed(seed)
    settings = small_settings(height, dim=dim)
    command = f"reid-train fit --config {domain}.yaml"
    folder.mkdir()
    siamese = Siamese(settings.model, (5,))
    write_checkpoint(folder / "best.pt", settings, siamese, seconds=36.0, seed=seed, domains=[domain], command=command)
    return folder


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    return checkpoint(tmp_path / "a", 1, "market1501"), checkpoint(tmp_path / "b", 2, "cuhk03")


def test_every_weight_lies_between_the_two_by_the_share(two: tuple[Path, Path], tmp_path: Path) -> None:
    first, second = (load_branch(side) for side in two)
    mixed = load_branch(mix(*two, 0.65, tmp_path / "mixed"))
    for name, value in mixed.branch.state_dict().items():
        expected = 0.65 * first.branch.state_dict()[name] + 0.35 * second.branch.state_dict()[name]
        torch.testing.assert_close(value.float(), expected.float(), msg=name)
    torch.testing.assert_close(mixed.verifier.v, 0.65 * first.verifier.v + 0.35 * second.verifier.v)


def test_a_share_of_one_is_the_first_network(two: tuple[Path, Path], tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 64, 32, 3)).astype(np.uint8)
    file = mix(*two, 1.0, tmp_path / "mixed.pt")
    np.testing.assert_allclose(open_network(file).embed(images, False), open_network(two[0]).embed(images, False))


def test_a_mixtures_bundle_and_card_name_both_networks_shares_and_the_paper(
    two: tuple[Path, Path], tmp_path: Path
) -> None:
    bundle, _ = export(two[0], tmp_path / "bundle", "f16")
    done = CliRunner().invoke(
        app, ["mix", str(tmp_path / "bundle"), str(two[1]), str(tmp_path / "m"), "--share", "0.65"]
    )
    assert done.exit_code == 0, done.output
    made, _ = export(tmp_path / "m", tmp_path / "mixed", "f16")
    for part in (f"0.65 x the bundle bundle {bundle.hash[:12]}", "0.35 x [reid-train fit, run b", "WiSE-FT",
                 "2109.01903", "command `reid-train fit --config cuhk03.yaml`", "0.01 hours"):  # fmt: skip
        assert part in made.source
    assert made.data == ["market1501", "cuhk03"]
    assert made.metrics == {}  # neither network's validation is the mixture's
    assert made.source in (tmp_path / "mixed" / "MODEL_CARD.md").read_text()
    assert load_embedder(tmp_path / "mixed") == made


@pytest.mark.parametrize(
    ("other", "message"),
    [({"dim": 16}, r"weights differ in shape, branch.* is .* and"), ({"height": 96}, "data.height is 64 and 96")],
)
def test_networks_that_differ_are_refused(tmp_path: Path, other: dict[str, int], message: str) -> None:
    one, two = checkpoint(tmp_path / "a", 1, "x"), checkpoint(tmp_path / "b", 2, "y", **other)
    with pytest.raises(TrainerError, match=message):
        mix(one, two, 0.5, tmp_path / "mixed")
    assert not (tmp_path / "mixed").exists()


def test_what_cannot_be_mixed_is_refused_by_name(two: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(TrainerError, match=r"--share must be in \[0, 1\], got 1.5"):
        mix(*two, 1.5, tmp_path / "mixed")
    with pytest.raises(CheckpointError, match=r"must be readable, .*nothing"):
        mix(two[0], tmp_path / "nothing", 0.5, tmp_path / "mixed")
    with pytest.raises(TrainerError, match="OUT must be new"):
        mix(*two, 0.5, two[0])
