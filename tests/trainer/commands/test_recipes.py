"""Options of `reid-train fit --recipe` and `ablate`."""

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from trainer.cli import app
from trainer.commands.recipes import ablate
from trainer.errors import TrainerError

SMALL = (
    "data.sets=['synthetic:12']", "data.validation_ids=4", "data.height=32", "data.width=16", "model.backbone=res2net",
    "model.layers=[1, 1, 1, 1]", "model.width=0.125", "sampler.pairs=4", "optimiser.epochs=0.2",
    "run.precision=fp32", "run.accelerator=cpu", "run.threads=1",
)  # fmt: skip


def options(*changes: str) -> list[str]:
    return [word for change in changes for word in ("--set", change)]


def test_a_recipe_is_trained_at_a_budget_and_its_report_reports_it(tmp_path: Path) -> None:
    run = tmp_path / "run"
    asked = ["fit", "--recipe", "paper", "--budget", "0.01", "--out", str(run), *options(*SMALL)]
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 0, done.output
    assert "- paper at budget 0.01: 0.2 of 256 epochs, 32x16 px" in (run / "report.md").read_text()


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (["--recipe", "papre"], "--recipe must be one of"),
        (["--recipe", "paper", "--budget", "2"], "--budget must be a share in (0, 1] or a time"),
        (["--recipe", "paper", "--config", "x.yaml"], "either --config FILE, or --recipe NAME"),
        (["--config", "x.yaml", "--budget", "0.5"], "whose --budget may be a share"),
        (["--recipe", "paper", "--store", "s"], "belong to --recipe site"),
        (["--recipe", "site", "--budget", "0.5", "--store", "s", "--bundle", "b"], "its --budget is a time"),
        ([], "fit needs either"),
    ],
)
def test_what_does_not_go_together_is_refused(tmp_path: Path, asked: list[str], message: str) -> None:
    done = CliRunner().invoke(app, ["fit", "--out", str(tmp_path / "run"), *asked])
    assert isinstance(done.exception, TrainerError)
    assert message in str(done.exception)


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_table_of_the_paper_is_one_command(tmp_path: Path) -> None:
    people = tmp_path / "people"
    people.mkdir()
    from trainer.data.sets import read

    for crop in read("synthetic:6"):
        (people / crop.name).write_bytes(crop.data)
    only = typer.Typer()
    only.command()(ablate)
    asked = [str(tmp_path / "out"), "--table", "erasing", "--only", "erase-0.0", "--only", "erase-0.4", "--seeds", "1"]
    asked += ["--budget", "0.001", "--test", f"folder:{people}", "--precision", "f32"]
    # The row names its own backbone, ResNet-50: only its width can be made small.
    done = CliRunner().invoke(only, [*asked, *options(*SMALL)])
    assert done.exit_code == 0, (done.output, done.exception)
    text = (tmp_path / "out" / "erasing" / "comparison.md").read_text()
    assert "paper, in full: Rank-1 / mAP" in text
    assert "0.8824 / 0.7114" in text
    assert (tmp_path / "out" / "erasing" / "comparison.png").is_file()
