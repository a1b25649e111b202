"""The command line: its commands, and the message for a missing package."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from trainer.cli import app

COMMANDS = {
    "fit", "eval", "rank", "calibrate", "export", "bench", "ablate", "compare", "schedule", "detector", "explain",
    "quantise", "mix", "cut", "curves",
}  # fmt: skip


def test_every_command_is_there() -> None:
    names = {command.name or (command.callback and command.callback.__name__) for command in app.registered_commands}
    assert names == COMMANDS


@pytest.mark.slow
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


EXTRAS = (
    "torch", "torchvision", "timm", "lightning_fabric", "pytorch_metric_learning", "matplotlib", "sklearn", "onnx",
    "tensorboard", "threadpoolctl", "ultralytics", "nncf", "supervision",
)  # fmt: skip
CALLS = {
    "fit": ["fit", "--recipe", "paper", "--out", "run"],
    "fit site": ["fit", "--recipe", "site", "--store", "store", "--bundle", "x.pt", "--out", "run"],
    "eval": ["eval", "x.pt"],
    "rank": ["rank", "x.pt", "out.png"],
    "calibrate": ["calibrate", "shipped"],
    "export": ["export", "x.pt", "out"],
    "bench": ["bench", "--queries", "50", "--gallery", "500", "--dim", "8"],
    "ablate": ["ablate", "out"],
    "compare": ["compare", "run", "--out", "out"],
    "schedule": ["schedule", "paper", "out.png"],
    "detector": ["detector", "--out", "out"],
    "explain": ["explain", "a.jpg", "b.jpg"],
    "quantise": ["quantise", "shipped", "out"],
    "mix": ["mix", "x.pt", "x.pt", "out"],
    "cut": ["cut", "a.jpg", "--out", "out"],
    "curves": ["curves", "run", "--out", "out.png"],
}


@pytest.mark.slow
def test_without_the_extra_every_command_ends_with_one_line(tmp_path: Path) -> None:
    (tmp_path / "x.pt").touch()
    (tmp_path / "run").mkdir()
    (tmp_path / "shipped").symlink_to(Path(__file__).parents[2] / "reid_stream" / "models" / "embedder")
    script = f"""
import contextlib, io, json, sys
for package in {EXTRAS!r}:
    sys.modules[package] = None
from trainer.cli import main
found = {{}}
for name, words in json.loads({json.dumps(json.dumps(CALLS))}).items():
    sys.argv = ["reid-train", *words]
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            main()
        except SystemExit as end:
            found[name] = str(end.code)
print(json.dumps(found))
"""
    environment = {**os.environ, "REID_STREAM_DATA": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    ends = json.loads(done.stdout)
    assert {name.split()[0] for name in CALLS} == COMMANDS
    assert set(ends) == set(CALLS)
    assert not [end for end in ends.values() if "\n" in end]
    lacking = {name: end for name, end in ends.items() if "this command needs the package " in end}
    assert set(CALLS) - set(lacking) <= {"bench", "calibrate", "cut", "explain", "quantise"}, ends
    for end in lacking.values():
        extra = "int8" if "package nncf" in end else "train"
        assert end.startswith("reid-train: this command needs the package ")
        assert end.endswith(f"pip install 'reid-stream[{extra}]'")


def test_bench_works_at_any_size() -> None:
    for options in (["--queries", "1", "--gallery", "1"], ["--queries", "7", "--gallery", "3", "--dim", "1"]):
        assert CliRunner().invoke(app, ["bench", *options]).exit_code == 0
    assert CliRunner().invoke(app, ["bench", "--queries", "0"]).exit_code == 2
