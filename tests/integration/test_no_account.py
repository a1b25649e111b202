"""A user without an account, a home that is missing or read-only, no folder for temporary files."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.rtsp.clips import draw_clip

UID = 12_345
# May read whatever the tests' user may: the interpreter and the checkout can be in a private folder.
AS_OTHER = ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups"]
READS = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(180),
    pytest.mark.skipif(os.getuid() != 0 or shutil.which("setpriv") is None, reason="root and setpriv are needed"),
]


def call(folder: Path, models: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    return subprocess.run(
        [*AS_OTHER, *READS, sys.executable, "-m", "reid_stream", *arguments],
        cwd=folder,
        env={**kept, **environment, "REID_STREAM_MODELS": str(models), "COLUMNS": "200", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("home", ["none", "read-only"])
def test_a_daemon_runs_with_relative_folders_and_names_what_needs_an_account(
    home: str, tmp_path: Path, models: Path
) -> None:
    for folder in (*reversed(tmp_path.parents[:2]), tmp_path, models.parent, models):
        folder.chmod(0o755)
    work, empty = tmp_path / "work", tmp_path / "home"
    (work / "conf").mkdir(parents=True)
    empty.mkdir(mode=0o555)
    draw_clip(work / "conf" / "a.mp4", seconds=1)
    cameras = "cameras:\n  - {id: a, url: a.mp4}\n"
    (work / "conf" / "bare.yaml").write_text("site: lab\nobserve: {port: null}\n" + cameras)
    (work / "conf" / "cams.yaml").write_text(
        "site: lab\nobserve: {port: null}\nredis: {directory: state}\nstore: {folder: crops}\n" + cameras
    )
    for path in (work, work / "conf"):
        os.chown(path, UID, UID)
    environment = {"LANG": "C"} if home == "none" else {"LANG": "C", "HOME": str(empty)}
    refused = call(work, models, "--cameras", "conf/bare.yaml", **environment)
    assert "Traceback" not in refused.stderr
    assert refused.returncode == 2
    assert "name another in cams.yaml (redis.directory" in refused.stderr
    listed = call(work, models, "models", "list", **environment)
    assert (listed.returncode, listed.stderr) == (0, "")
    if home == "none":
        emptied = call(work, models, "models", "list", LANG="C", HOME="")
        assert (emptied.returncode, emptied.stderr) == (0, "")
    ran = call(work, models, "--cameras", "conf/cams.yaml", "--replay", "fast", "--plain", **environment)
    assert ran.returncode == 0, ran.stderr
    assert "Traceback" not in ran.stderr
    assert (work / "conf" / "state" / "spool").is_dir()
    assert any((work / "conf" / "crops").rglob("track.json"))
    assert sorted(path.name for path in work.iterdir()) == ["conf"]
    assert not any(empty.iterdir())


@pytest.mark.skipif(shutil.which("unshare") is None, reason="unshare is needed")
def test_without_a_folder_for_temporary_files_a_daemon_says_what_to_do(tmp_path: Path) -> None:
    """As in a container with a read-only root that has no tmpfs on /tmp."""
    draw_clip(tmp_path / "a.mp4", seconds=1)
    (tmp_path / "cams.yaml").write_text(
        "site: lab\nobserve: {port: null}\nredis: {directory: state}\ncameras:\n  - {id: a, url: a.mp4}\n"
    )
    read_only = "for at in /tmp /var/tmp /usr/tmp; do [ ! -d $at ] || mount -t tmpfs -o ro tmpfs $at || exit 77; done"
    enter = f'mount --bind "$0" /mnt && {read_only}; mount -o remount,ro,bind / && cd / && exec "$@"'
    command = ["unshare", "--mount", "sh", "-c", enter, str(tmp_path), sys.executable, "-m", "reid_stream"]
    run = [*command, "--cameras", "/mnt/cams.yaml", "--plain", "--replay", "fast"]
    ran = subprocess.run(run, env=dict(os.environ), capture_output=True, text=True, check=False)
    if ran.returncode in (32, 77) and "mount" in ran.stderr:
        pytest.skip("file systems cannot be mounted here")
    assert ran.returncode == 1, ran.stderr
    assert "Traceback" not in ran.stderr
    # A log line of a thread that is still ending may follow.
    (error,) = [line for line in ran.stderr.splitlines() if line.startswith("reid-stream: ")]
    assert "mount a tmpfs on /tmp, or set TMPDIR" in error
