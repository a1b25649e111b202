"""Run the whole daemon in a process of its own inside a drill, with its log in a file."""

import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.faults.daemon_run import until
from benchmarks.rtsp.clips import draw_clip

_START_S = 120.0
_PORT = re.compile(r"metrics on http://127\.0\.0\.1:(\d+)/")


@dataclass(frozen=True, slots=True)
class DaemonProcess:
    """A daemon whose camera is up."""

    process: "subprocess.Popen[bytes]"
    log: Path
    port: int
    """Port of /metrics, /healthz and /readyz."""


def write_site(folder: Path, more: str = "") -> Path:
    """Write a cams.yaml with one drawn clip in a loop and an embedded Redis in `folder / "redis"`; `more`: sections."""
    clip = draw_clip(folder / "clip.mp4", seconds=5, fps=5)
    cams = folder / "cams.yaml"
    cams.write_text(
        f"site: drill\nredis: {{url: embedded, directory: {folder / 'redis'}}}\n"
        f"observe: {{host: 127.0.0.1, port: 0}}\n{more}cameras: [{{id: a, url: '{clip}', loop: true}}]\n",
        encoding="utf-8",
    )
    return cams


@contextmanager
def daemon_process(cams: Path, log: Path, environment: Mapping[str, str]) -> Iterator[DaemonProcess]:
    """Run `reid-stream` while the block does; it is killed at the end of the block if it still runs.

    Raises:
        RuntimeError: it ended before its camera was up, or serves no metrics.
    """
    with log.open("wb") as err:
        process = subprocess.Popen(
            [sys.executable, "-m", "reid_stream", "--cameras", str(cams), "--plain"],
            stdout=subprocess.DEVNULL,
            stderr=err,
            env={**environment, "COLUMNS": "200", "NO_COLOR": "1"},
        )
    try:
        until(lambda: process.poll() is not None or "camera_up" in log.read_text(encoding="utf-8"), _START_S)
        found = _PORT.search(log.read_text(encoding="utf-8"))
        if found is None or process.poll() is not None:
            raise RuntimeError(f"the daemon did not start: {log.read_text(encoding='utf-8')[-2000:]}")
        yield DaemonProcess(process, log, int(found[1]))
    finally:
        process.kill()
        process.wait()
