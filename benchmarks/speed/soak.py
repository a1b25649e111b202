"""Run looping cameras for hours: the daemon's memory, threads and open files must not grow.

The daemon is a process of its own with an embedded Redis, started as a user starts it. It and all its child
processes are measured from outside: the daemon by its unshared memory (USS), which no other process changes, all
together by proportional shares (PSS), since cameras' processes share most of theirs. Slopes are least
squares over the second half, when caches are filled and people known.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import msgspec
import numpy as np

from reid_stream.bench.procfs import family, memory_mb
from reid_stream.console import plotting
from reid_stream.errors import ReidStreamError

LOOKS = 600
"""Samples at most; at least 1 s apart."""
_BEGIN_S = 180.0
"""Longest wait for the daemon to have started its cameras."""


class Sample(msgspec.Struct, frozen=True):
    """The daemon and its processes at one moment."""

    at_s: float
    """Since the first sample."""
    daemon_mb: float
    """USS of the daemon itself."""
    total_mb: float
    """PSS with its cameras' processes and the embedded Redis, which fills as events come."""
    threads: int
    files: int
    """Open file descriptors of the daemon and its cameras."""
    processes: int


class Soak(msgspec.Struct, frozen=True, kw_only=True):
    """Measured figures."""

    cameras: Sequence[str]
    minutes: float
    exit_code: int
    reconnects: int
    daemon_mb_per_hour: float
    """Slope over the second half, as the next two."""
    threads_per_hour: float
    files_per_hour: float
    samples: Sequence[Sample]


def measure(
    cameras: Sequence[dict[str, object]], minutes: float, folder: Path, progress: Callable[[str], None]
) -> Soak:
    """Run the daemon on these cameras (settings as in cams.yaml) for `minutes`; its files lie in `folder`.

    Raises:
        ReidStreamError: the daemon did not start.
    """
    file = folder / "cams.yaml"
    settings = {
        "site": "soak",
        "redis": {"url": "embedded", "directory": str(folder / "redis")},
        "observe": {"port": None},
        "cameras": cameras,
    }
    file.write_bytes(msgspec.json.encode(settings))  # JSON is YAML
    with (folder / "log.txt").open("w+", encoding="utf-8") as log:
        daemon = subprocess.Popen(
            [sys.executable, "-m", "reid_stream", "--cameras", str(file), "--plain"], stdout=log, stderr=log
        )
        try:
            _await_cameras(daemon, len(cameras), folder / "log.txt")
            samples = _watch(daemon.pid, minutes * 60, lambda: daemon.poll() is None, progress)
        finally:
            daemon.terminate()
            code = daemon.wait(30)
        log.seek(0)
        downs = sum("camera_down" in line and "stopped" not in line for line in log)
    late = samples[len(samples) // 2 :]
    return Soak(
        cameras=[str(camera["id"]) for camera in cameras],
        minutes=round(samples[-1].at_s / 60, 2),
        exit_code=code,
        reconnects=downs,
        daemon_mb_per_hour=round(_per_hour(late, [one.daemon_mb for one in late]), 2),
        threads_per_hour=round(_per_hour(late, [one.threads for one in late]), 2),
        files_per_hour=round(_per_hour(late, [one.files for one in late]), 2),
        samples=samples,
    )


def _await_cameras(daemon: "subprocess.Popen[bytes]", cameras: int, log: Path) -> None:
    end = time.monotonic() + _BEGIN_S
    while log.read_text(encoding="utf-8").count("camera_up") < cameras:
        if daemon.poll() is not None or time.monotonic() > end:
            raise ReidStreamError(f"the daemon must start its cameras, it did not:\n{log.read_text(encoding='utf-8')}")
        time.sleep(0.2)


def _watch(pid: int, seconds: float, lives: Callable[[], bool], progress: Callable[[str], None]) -> list[Sample]:
    every_s = max(1.0, seconds / LOOKS)
    began = time.monotonic()
    samples: list[Sample] = []
    while lives() and (passed_s := time.monotonic() - began) < seconds + every_s / 2:
        samples.append(_look(pid, passed_s))
        if len(samples) % 60 == 0:
            progress(f"{passed_s / 60:.1f} min: {samples[-1].daemon_mb:.0f} MB")
        time.sleep(max(0.0, began + len(samples) * every_s - time.monotonic()))
    return samples


def _look(pid: int, at_s: float) -> Sample:
    all_of_them = family(pid)
    memory = {one: memory_mb(one) for one in all_of_them}
    redis = {one for one in all_of_them if "redis-server" in _command(one)}
    own = [one for one in all_of_them if one not in redis]
    return Sample(
        at_s=round(at_s, 2),
        daemon_mb=round(memory[pid][0], 2),
        total_mb=round(sum(pss for _, pss in memory.values()), 2),
        threads=sum(_count(one, "task") for one in own),
        files=sum(_count(one, "fd") for one in own),
        processes=len(own),
    )


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""


def _count(pid: int, what: str) -> int:
    try:
        return len(os.listdir(f"/proc/{pid}/{what}"))  # noqa: PTH208 (only the number is wanted)
    except OSError:
        return 0


def _per_hour(samples: Sequence[Sample], values: Iterable[float]) -> float:
    if len(samples) < 2:
        return 0.0
    return float(np.polyfit([one.at_s / 3600 for one in samples], list(values), 1)[0])


def show(soak: Soak) -> None:
    """Print first, last and slope of each figure."""
    from rich.console import Console
    from rich.table import Table

    first, last = soak.samples[0], soak.samples[-1]
    table = Table("figure", "first", "last", "an hour", box=None, header_style="bold")
    table.add_row(
        "memory of the daemon (USS), MB",
        f"{first.daemon_mb:.0f}",
        f"{last.daemon_mb:.0f}",
        f"{soak.daemon_mb_per_hour:+.1f}",
    )
    table.add_row("... with cameras and Redis", f"{first.total_mb:.0f}", f"{last.total_mb:.0f}", "")
    table.add_row("threads", f"{first.threads}", f"{last.threads}", f"{soak.threads_per_hour:+.1f}")
    table.add_row("open files", f"{first.files}", f"{last.files}", f"{soak.files_per_hour:+.1f}")
    table.add_row("processes", f"{first.processes}", f"{last.processes}", "")
    console = Console()
    console.print(
        f"{len(soak.cameras)} cameras, {soak.minutes:.1f} minutes, {soak.reconnects} reconnects, "
        f"exit code {soak.exit_code}"
    )
    console.print(table)


def plot(soak: Soak, file: Path) -> None:
    """Draw memory, threads and open files over time.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    figure, axes = plotting.stack()
    top, middle, bottom = axes
    minutes = [one.at_s / 60 for one in soak.samples]
    top.plot(minutes, [one.total_mb for one in soak.samples], color="#9aa2ab", label="with cameras and Redis (PSS)")
    top.plot(minutes, [one.daemon_mb for one in soak.samples], color="#2a6fdb", label="daemon, its own (USS)")
    top.set_ylabel("memory, MB")
    top.legend(frameon=False, ncols=2)
    middle.plot(minutes, [one.threads for one in soak.samples], color="#e0762f")
    middle.set_ylabel("threads")
    bottom.plot(minutes, [one.files for one in soak.samples], color="#3a9a5b")
    bottom.set(ylabel="open files", xlabel="minutes")
    for axis in axes:
        axis.set_ylim(bottom=0)
    plotting.plain(axes)
    plotting.finish(
        figure,
        f"{len(soak.cameras)} cameras, {soak.reconnects} reconnects; an hour in the second half: "
        f"{soak.daemon_mb_per_hour:+.1f} MB, {soak.threads_per_hour:+.1f} threads, {soak.files_per_hour:+.1f} files",
        file,
    )
