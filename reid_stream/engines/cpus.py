"""CPUs that this process may use: its affinity and the CPU quota of its control groups.

Sources: Linux, Documentation/admin-guide/cgroup-v2.rst (cpu.max) and scheduler/sched-bwc.rst (cpu.cfs_quota_us);
proc(5), cgroups(7).
"""

import math
import os
import re
from collections.abc import MutableMapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

_ROOT = Path("/")


def cpu_count(root: Path = _ROOT) -> int:
    """Return how many CPUs this process may use, a part of one counted whole; at least 1.

    Args:
        root: where /proc and /sys are.
    """
    count = len(os.sched_getaffinity(0))
    quota = cpu_quota(root)
    return count if quota is None else max(1, min(count, math.ceil(quota)))


def cpu_quota(root: Path = _ROOT) -> float | None:
    """Return the CPU time per second that the control groups allow, the least of all levels; None for no limit."""
    mounts = [mount for line in _lines(root / "proc/self/mountinfo") if (mount := _mount(line)) is not None]
    quotas: list[float] = []
    for group in _lines(root / "proc/self/cgroup"):
        _, _, rest = group.partition(":")
        controllers, _, path = rest.partition(":")
        is_v2 = not controllers
        if not path.startswith("/") or not (is_v2 or "cpu" in controllers.split(",")):
            continue
        for top, folder in _folders(mounts, path, is_v2=is_v2, root=root):
            # A limit holds for all groups below it.
            for level in (folder, *folder.parents):
                quota = _read_v2(level) if is_v2 else _read_v1(level)
                quotas += [] if quota is None else [quota]
                if level == top:
                    break
    return min(quotas, default=None)


def threads_for(threads: int) -> int:
    """Return the number of threads for networks: as set; else the quota if that is below all CPUs; else 0 for all."""
    if threads:
        return threads
    count = cpu_count()
    return count if count < len(os.sched_getaffinity(0)) else 0


def bound_libraries(environment: MutableMapping[str, str] = os.environ, root: Path = _ROOT) -> None:
    """Set the default number of threads of OpenMP (torch) and BLAS to the quota; they count all CPUs, and so are slow.

    Before any of them is loaded; what the user has set stays. OpenCV and OpenVINO's engines are bounded elsewhere.
    """
    count = cpu_count(root)
    if count < len(os.sched_getaffinity(0)):
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
            environment.setdefault(name, str(count))


class _Mount(NamedTuple):
    """A mounted file system (proc(5), /proc/pid/mountinfo)."""

    shown: str
    """Folder of the file system that the mount shows."""
    point: str
    kind: str
    options: tuple[str, ...]


def _mount(line: str) -> _Mount | None:
    """Read a line of mountinfo; None where it is none, as a sandbox may show."""
    left, _, right = line.partition(" - ")
    match left.split(" "), right.split(" "):
        case [_, _, _, shown, point, *_], [kind, _, options, *_]:
            return _Mount(_unescaped(shown), _unescaped(point), kind, tuple(options.split(",")))
    return None


def _unescaped(path: str) -> str:
    """Return a path of mountinfo, where spaces, tabs, line ends and backslashes are octal numbers."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), path)


def _folders(mounts: Sequence[_Mount], path: str, *, is_v2: bool, root: Path) -> list[tuple[Path, Path]]:
    """Return (mount point, folder of the group) in each mount of the hierarchy that shows the group."""
    found = []
    for mount in mounts:
        if mount.kind != ("cgroup2" if is_v2 else "cgroup") or (not is_v2 and "cpu" not in mount.options):
            continue
        top = root / mount.point.lstrip("/")
        group = PurePosixPath(path)
        # In a container the mount may show a part of the hierarchy alone, whose path is that of the host.
        inside = group.relative_to(mount.shown) if group.is_relative_to(mount.shown) else group.relative_to("/")
        folder = top / inside
        found.append((top, folder if ".." not in inside.parts and folder.is_dir() else top))
    return found


def _read_v2(folder: Path) -> float | None:
    words = _words(folder / "cpu.max")
    return _share(words[0], words[1]) if len(words) == 2 else None


def _read_v1(folder: Path) -> float | None:
    quota, period = _words(folder / "cpu.cfs_quota_us"), _words(folder / "cpu.cfs_period_us")
    return _share(quota[0], period[0]) if quota and period else None


def _share(quota: str, period: str) -> float | None:
    if not quota.isdecimal() or not period.isdecimal() or int(period) == 0 or int(quota) == 0:
        return None  # `max`, or -1: no limit
    return int(quota) / int(period)


def _words(file: Path) -> list[str]:
    return " ".join(_lines(file)).split()


def _lines(file: Path) -> list[str]:
    """Return the lines of a file of the kernel, whose names may be any bytes; none where it cannot be read."""
    try:
        return os.fsdecode(file.read_bytes()).split("\n")
    except OSError:
        return []
