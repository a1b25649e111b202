"""`reid-train` beside another project's package of the same name."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
RUN = [sys.executable, "-c", "from reid_stream.commands.train_entry import main; main()"]


def run(*folders: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders)), "PYTHONSAFEPATH": "1"}
    return subprocess.run([*RUN, "--help"], env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_another_project_in_the_place_of_the_trainer_is_one_message(tmp_path: Path) -> None:
    other = tmp_path / "trainer"
    other.mkdir()
    (other / "__init__.py").write_text("")

    found = run(tmp_path, ROOT)

    assert found.returncode == 2
    assert "must be that of reid-stream" in found.stderr
    assert str(other) in found.stderr
    assert "Traceback" not in found.stderr


def test_the_trainer_of_this_project_runs() -> None:
    found = run(ROOT)
    assert found.returncode == 0
    assert "calibrate" in found.stdout
