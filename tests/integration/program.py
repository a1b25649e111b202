"""The program as a user starts it: a process, with models small enough to load at once."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.tiny_networks import tiny_models
from reid_stream.bundles.wrap import wrap

__all__ = ["Ended", "Running", "call", "environment", "real_models", "running", "tiny_models", "write_cams"]

BEGINS_S = 180
"""Longest wait for a process to have read its models: the machine may be busy."""


@dataclass(frozen=True)
class Ended:
    """What a process left behind."""

    code: int
    out: str
    err: str

    @property
    def is_plain(self) -> bool:
        """No traceback anywhere."""
        return "Traceback" not in self.out + self.err


def environment(models: Path | None, home: Path) -> dict[str, str]:
    """Return the process's surroundings: these models, and folders of its own."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("REID_STREAM", "XDG_"))}
    # What the program compiles once is kept between the processes of one test run.
    folders = {"XDG_CACHE_HOME": str(home.parent / "cache"), "XDG_DATA_HOME": str(home / "share")}
    named = {} if models is None else {"REID_STREAM_MODELS": str(models)}
    return {**kept, **folders, **named, "COLUMNS": "200", "NO_COLOR": "1"}


def call(*arguments: str | Path, models: Path | None, home: Path, timeout_s: float = BEGINS_S) -> Ended:
    """Run to the end."""
    done = subprocess.run(
        [sys.executable, "-m", "reid_stream", *map(str, arguments)],
        capture_output=True,
        text=True,
        env=environment(models, home),
        timeout=timeout_s,
        check=False,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


class Running:
    """A running process; its output goes to files, so that it never blocks on it."""

    def __init__(self, arguments: tuple[str | Path, ...], models: Path, home: Path) -> None:
        self._out, self._err = home / "out.txt", home / "err.txt"
        with self._out.open("w") as out, self._err.open("w") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "reid_stream", *map(str, arguments)],
                stdout=out,
                stderr=err,
                env=environment(models, home),
            )

    @property
    def out(self) -> str:
        """Its output so far."""
        return self._out.read_text()

    @property
    def err(self) -> str:
        """What it has complained of so far."""
        return self._err.read_text()

    def until(self, holds: Callable[[], bool], timeout_s: float = BEGINS_S) -> None:
        """Wait until something holds, while the process lives."""
        end = time.monotonic() + timeout_s
        while not holds():
            assert self.process.poll() is None, f"it has ended with {self.process.returncode}: {self.err}"
            assert time.monotonic() < end, f"not within {timeout_s} s: {self.out} {self.err}"
            time.sleep(0.02)

    def wait(self, timeout_s: float = BEGINS_S) -> Ended:
        """Wait for its end."""
        self.process.wait(timeout_s)
        return Ended(self.process.returncode, self.out, self.err)

    def terminate(self, timeout_s: float) -> Ended:
        """Ask it to end, as an operator does."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait(timeout_s)


@contextmanager
def running(*arguments: str | Path, models: Path, home: Path) -> Iterator[Running]:
    """Run while the block does; killed after it if need be."""
    started = Running(arguments, models, home)
    try:
        yield started
    finally:
        if started.process.poll() is None:
            started.process.kill()
            started.process.wait()


def real_models(data: Path, folder: Path) -> Path:
    """Wrap the real networks of the data folder."""
    wrap(data / "detector" / "yolox_nano.onnx", folder / "detector", kind="detector", licence="Apache-2.0")
    wrap(data / "reid" / "osnet_x0_25_msmt17.onnx", folder / "embedder", kind="embedder", licence="research")
    return folder


def write_cams(
    folder: Path, cameras: dict[str, str | Path], *, redis: str = "embedded", name: str = "cams.yaml", more: str = ""
) -> Path:
    """Write a cams.yaml: camera names and URLs, the site `lab`, no metrics port unless `more` sets one."""
    directory = f", directory: {folder / 'redis'}" if redis == "embedded" else ""
    lines = ["site: lab", f"redis: {{url: '{redis}'{directory}}}"]
    lines += [more or "observe: {port: null}", "cameras:"]
    lines += [f"  - {{id: {camera}, url: '{url}', {rest}}}" for camera, url, rest in _parts(cameras)]
    path = folder / name
    path.write_text("\n".join(lines) + "\n")
    return path


def _parts(cameras: dict[str, str | Path]) -> list[tuple[str, str, str]]:
    """Take `URL, key: value` apart."""
    return [(camera, *_split(str(url))) for camera, url in cameras.items()]


def _split(url: str) -> tuple[str, str]:
    where, _, rest = url.partition(", ")
    return where, rest
