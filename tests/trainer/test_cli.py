"""The command line as a whole: which commands there are, and what a missing package looks like."""

import subprocess
import sys
from pathlib import Path

import pytest

from trainer.cli import app

COMMANDS = {
    "fit", "eval", "rank", "calibrate", "export", "bench", "ablate", "compare", "schedule", "detector", "explain",
    "quantise", "mix", "cut",
}  # fmt: skip


def test_every_command_is_there() -> None:
    names = {command.name or (command.callback and command.callback.__name__) for command in app.registered_commands}
    assert names == COMMANDS


@pytest.mark.parametrize("package", ["torch", "lightning_fabric"])
def test_a_missing_package_is_one_line_with_the_extra_that_brings_it(package: str, tmp_path: Path) -> None:
    hide = f"import sys; sys.modules[{package!r}] = None; from trainer.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", hide, "fit", "--recipe", "paper", "--out", str(tmp_path / "run")],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line == (
        f"reid-train: this command needs the package {package}, which is not installed: "
        "pip install 'reid-stream[train]'"
    )
