"""A folder or site in use by another daemon: an exit code of its own, after which the service is restarted."""

import os
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

import pytest

from reid_stream.errors import InUseError, ModelError
from reid_stream.publish.folder_lock import FolderLock

_UNIT = Path(__file__).parents[2] / "deploy" / "reid-stream.service"


def _unit() -> ConfigParser:
    unit = ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(_UNIT)
    return unit


def test_a_folder_of_another_process_is_in_use_until_that_process_ends(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from reid_stream.publish.folder_lock import FolderLock; "
        "lock = FolderLock(pathlib.Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(InUseError, match=f"process {holder.pid} has it") as caught:
            FolderLock(tmp_path)
        holder.communicate(timeout=10)
    assert caught.value.exit_code == 6
    FolderLock(tmp_path, wait_s=5).release()


def test_the_unit_starts_again_while_another_daemon_has_the_site() -> None:
    unit = _unit()
    final = {int(status) for status in unit["Service"]["RestartPreventExitStatus"].split()}
    assert ModelError.exit_code in final
    assert InUseError.exit_code not in final
    assert unit["Service"]["Restart"] == "on-failure"
    assert unit["Unit"]["StartLimitIntervalSec"] == "0"
    # Without end, but not in a tight loop.
    assert int(unit["Service"]["RestartSec"]) < int(unit["Service"]["RestartMaxDelaySec"]) <= 60
    assert int(unit["Service"]["RestartSteps"]) > 0


def test_the_unit_outlives_a_child_that_the_kernel_ends_for_its_memory() -> None:
    assert _unit()["Service"]["OOMPolicy"] == "continue"
