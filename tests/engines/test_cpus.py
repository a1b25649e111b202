"""The CPU quota of control groups is counted, whatever their version and however deep they are nested."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from reid_stream.engines import cpus

V1 = Path("/sys/fs/cgroup/cpu")


def tree(root: Path, *, group: str, mount: str, files: dict[str, str]) -> Path:
    """Make /proc and /sys of a process."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(group)
    (root / "proc/self/mountinfo").write_text(mount)
    for name, text in files.items():
        file = root / "sys/fs/cgroup" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return root


V2_MOUNT = "29 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
V1_MOUNT = (
    "31 23 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    "32 23 0:29 {shown} /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n"
)


@pytest.mark.parametrize(
    ("group", "files", "quota"),
    [
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 1.5),
        ("0::/\n", {"cpu.max": "max 100000\n"}, None),
        ("0::/\n", {}, None),
        ("0::/a/b\n", {"cpu.max": "max 100000", "a/cpu.max": "200000 100000", "a/b/cpu.max": "max 100000"}, 2.0),
        ("0::/a/b\n", {"a/cpu.max": "200000 100000", "a/b/cpu.max": "50000 100000"}, 0.5),
        ("0::/a/b\n", {"a/cpu.max": "50000 100000", "a/b/cpu.max": "400000 100000"}, 0.5),
        ("0::/../outside\n", {"cpu.max": "300000 100000"}, 3.0),
        ("0::/gone/since\n", {"cpu.max": "300000 100000"}, 3.0),
        ("0::/\n", {"cpu.max": "nonsense"}, None),
    ],
)
def test_quota_of_version_2(tmp_path: Path, group: str, files: dict[str, str], quota: float | None) -> None:
    assert cpus.cpu_quota(tree(tmp_path, group=group, mount=V2_MOUNT, files=files)) == quota


@pytest.mark.parametrize(
    ("group", "shown", "files", "quota"),
    [
        ("3:memory:/x\n4:cpu,cpuacct:/\n0::/\n", "/", {"": ("250000", "100000")}, 2.5),
        ("4:cpu,cpuacct:/\n", "/", {"": ("-1", "100000")}, None),
        ("4:cpu,cpuacct:/a/b\n", "/", {"": ("-1", "100000"), "a": ("100000", "50000"), "a/b": ("-1", "50000")}, 2.0),
        ("4:cpu,cpuacct:/docker/1\n", "/docker/1", {"": ("100000", "100000")}, 1.0),
        ("4:cpu,cpuacct:/docker/1/sub\n", "/docker/1", {"": ("300000", "100000"), "sub": ("100000", "100000")}, 1.0),
        ("3:memory:/x\n", "/", {"": ("250000", "100000")}, None),
    ],
)
def test_quota_of_version_1(
    tmp_path: Path, group: str, shown: str, files: dict[str, tuple[str, str]], quota: float | None
) -> None:
    named = {}
    for folder, (allowed, period) in files.items():
        named[f"cpu,cpuacct/{folder}/cpu.cfs_quota_us"] = allowed
        named[f"cpu,cpuacct/{folder}/cpu.cfs_period_us"] = period
    root = tree(tmp_path, group=group, mount=V1_MOUNT.format(shown=shown), files=named)
    assert cpus.cpu_quota(root) == quota


@pytest.mark.parametrize(
    ("mount", "group", "folder"),
    [
        ("\n24 23 0:5\n25 23 0:6 / /x rw\n26 23 0:7 / /y rw - cgroup2\n" + V2_MOUNT, "\nnonsense\n0::\n0::/a\n", "a"),
        ("25 23 0:6 / /mnt/\udcff rw - ext4 /dev/x rw\n" + V2_MOUNT, "0::/\udcff\n", "\udcff"),
        (V2_MOUNT.replace("fs/cgroup", "fs/cgroup/of\\040this\\134\\011one"), "0::/a b\n", "of this\\\tone/a b"),
        (V2_MOUNT.replace(" / ", " /an\\040outer ", 1), "0::/an outer/a\n", "a"),
    ],
)
def test_lines_that_say_nothing_and_names_of_any_bytes(tmp_path: Path, mount: str, group: str, folder: str) -> None:
    root = tree(tmp_path, group="", mount="", files={f"{folder}/cpu.max": "50000 100000"})
    (root / "proc/self/cgroup").write_bytes(os.fsencode(group))
    (root / "proc/self/mountinfo").write_bytes(os.fsencode(mount))
    assert cpus.cpu_quota(root) == 0.5


def test_a_part_of_a_cpu_counts_whole_and_a_quota_above_the_affinity_does_not(tmp_path: Path) -> None:
    files = {"cpu.max": "50000 100000"}
    assert cpus.cpu_count(tree(tmp_path / "a", group="0::/\n", mount=V2_MOUNT, files=files)) == 1
    files = {"cpu.max": "100000000 100000"}
    here = len(os.sched_getaffinity(0))
    assert cpus.cpu_count(tree(tmp_path / "b", group="0::/\n", mount=V2_MOUNT, files=files)) == here
    assert cpus.cpu_count(tmp_path / "nothing there") == here


def test_a_real_quota_is_counted() -> None:
    folder = V1 / f"reid-stream-test-{os.getpid()}"
    try:
        folder.mkdir()
        (folder / "cpu.cfs_quota_us").write_text("100000")
    except OSError:
        pytest.skip("control groups of version 1 cannot be made here")
    try:
        code = "from reid_stream.engines.cpus import cpu_quota, threads_for as t; print(cpu_quota(), t(0), t(3))"
        enter = f"echo $$ > {folder}/cgroup.procs; exec {sys.executable} -c '{code}'"
        output = subprocess.run(["/bin/sh", "-c", enter], capture_output=True, text=True, check=True).stdout.split()
    finally:
        folder.rmdir()
    alone = len(os.sched_getaffinity(0)) == 1
    assert output == ["1.0", "0" if alone else "1", "3"]


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two CPUs")
def test_libraries_are_bounded_by_a_quota_and_by_nothing_else(tmp_path: Path) -> None:
    limited = tree(tmp_path / "a", group="0::/\n", mount=V2_MOUNT, files={"cpu.max": "100000 100000\n"})
    environment = {"OPENBLAS_NUM_THREADS": "7"}
    cpus.bound_libraries(environment, limited)
    assert environment == {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "7", "MKL_NUM_THREADS": "1"}
    free = tree(tmp_path / "b", group="0::/\n", mount=V2_MOUNT, files={"cpu.max": "max 100000\n"})
    environment = {}
    cpus.bound_libraries(environment, free)
    assert environment == {}
