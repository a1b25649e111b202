"""Memory and CPU time of a process and its descendants, from /proc (Linux)."""

import os
from pathlib import Path

_TICK_S = 1.0 / os.sysconf("SC_CLK_TCK")


def family(pid: int) -> list[int]:
    """Return a process and all its descendants, itself first."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            fields = _stat(int(entry.name))
            if fields:
                children.setdefault(int(fields[1]), []).append(int(entry.name))
    found = [pid]
    for one in found:
        found += children.get(one, [])
    return found


def memory_mb(pid: int) -> tuple[float, float]:
    """Return the unique (USS) and proportional (PSS) set size of a process; zeros if it has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0.0, 0.0
    pages = {name: int(size) / 1024 for name, size, *_ in map(str.split, lines[1:])}
    return sum(size for name, size in pages.items() if name.startswith("Private_")), pages.get("Pss:", 0.0)


def cpu_s(pid: int) -> float:
    """Return the CPU time of a process, that of its ended children included; 0 for one that ended."""
    fields = _stat(pid)
    return sum(int(ticks) for ticks in fields[11:15]) * _TICK_S if fields else 0.0


def _stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat behind the name, from the state on (proc_pid_stat(5))."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:  # it has ended
        return []
