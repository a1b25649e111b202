"""List the modules of `reid_stream` that a frame passes, from the camera to Redis.

The whole daemon runs in this process, with cameras on threads, its networks and an embedded Redis, while calls of
functions are recorded. A module is on the path where a thread that carries frames, records or events calls a function
of it. Modules that only other threads use (overload, clock, the server of the embedded Redis) are beside it.
"""

import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import reid_stream
from reid_stream.config.settings import Settings
from reid_stream.errors import ReidStreamError

THREADS = ("camera", "detect", "perceive", "identify", "publish")
"""First words of the names of the threads that carry frames, records and events, in that order."""
_CAMERAS = 2
_START_S = 120.0
_PACKAGE = Path(reid_stream.__file__).parent


@dataclass(frozen=True)
class FramePath:
    """Modules by their use, as paths below `reid_stream/`."""

    frames: int
    """Frames that passed while calls were recorded."""
    stages: dict[str, tuple[str, ...]]
    """Modules by thread in the order of their first calls, without those of earlier threads."""
    beside: tuple[str, ...]
    """Used by other threads alone."""

    @property
    def modules(self) -> int:
        """Number of modules on the path."""
        return sum(len(modules) for modules in self.stages.values())


class _Calls:
    """Profile function that records which thread calls functions of which file."""

    def __init__(self) -> None:
        self.is_on = False
        self.first: dict[tuple[str, str], None] = {}
        """(thread, file) in the order of first calls."""

    def __call__(self, frame: FrameType, event: str, _argument: object) -> None:
        if self.is_on and event == "call" and frame.f_code.co_filename.startswith(str(_PACKAGE)):
            thread = threading.current_thread().name.split(" ", 1)[0]
            self.first.setdefault((thread, frame.f_code.co_filename))


def measure(clip: Path, seconds: float) -> FramePath:
    """Run the daemon on two looping cameras and record calls for `seconds`.

    Raises:
        ReidStreamError: no frame passed.
    """
    from reid_stream.assembly.site import assemble

    calls = _Calls()
    threading.setprofile(calls)
    try:
        with (
            tempfile.TemporaryDirectory(prefix="reid-stream-path-") as folder,
            assemble(_settings(clip, Path(folder)), run="path") as site,
        ):
            stop = threading.Event()
            daemon = threading.Thread(target=site.daemon.run, args=(stop,), name="daemon")
            daemon.start()
            try:
                frames = _record(calls, lambda: sum(site.daemon.progress.frames.values()), seconds)
            finally:
                stop.set()
                daemon.join()
    finally:
        threading.setprofile(None)
    return _by_stage(calls, frames)


def _settings(clip: Path, folder: Path) -> Settings:
    return Settings.model_validate(
        {
            "site": "path",
            "workers": 1,
            "redis": {"url": "embedded", "directory": str(folder / "redis")},
            "spool": {"directory": str(folder / "spool")},
            "cameras": [
                {"id": f"cam{number}", "url": str(clip), "max_fps": 5, "loop": True, "start_after_s": 3.3 * number}
                for number in range(_CAMERAS)
            ],
            "publish": {"seen_interval_s": 1e-3},
            "ingest": {"isolate": False},
            "observe": {"port": None},
        }
    )


def _record(calls: _Calls, passed: Callable[[], int], seconds: float) -> int:
    """Record calls for `seconds` once some frames have passed; return the number of frames that pass meanwhile."""
    give_up_at = time.monotonic() + _START_S
    while passed() < 5 * _CAMERAS:
        if time.monotonic() > give_up_at:
            raise ReidStreamError(f"frames must pass within {_START_S:g} s, {passed()} did")
        time.sleep(0.1)
    before, calls.is_on = passed(), True
    time.sleep(seconds)
    calls.is_on = False
    frames = passed() - before
    if frames == 0:
        raise ReidStreamError(f"frames must pass within {seconds:g} s of recording, none did; record for longer")
    return frames


def _by_stage(calls: _Calls, frames: int) -> FramePath:
    found: dict[str, str] = {}
    for thread in (*THREADS, None):
        for called_by, file in calls.first:
            if called_by == thread or (thread is None and called_by not in THREADS):
                found.setdefault(str(Path(file).relative_to(_PACKAGE)), thread or "")
    stages = {thread: tuple(name for name, by in found.items() if by == thread) for thread in THREADS}
    return FramePath(frames, stages, tuple(sorted(name for name, by in found.items() if not by)))
