"""Drill of upgrades and backups: an older release, this one and the older one again on the same Redis, then a restore.

The older release is a commit of this repository, checked out beside it, which also makes the models. Each step must
leave every person their ID.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import redis

from benchmarks.faults.hosts_site import COLORS, SITE, changed_ids, doubled, missing
from benchmarks.faults.report import DrillResult, figure, within
from benchmarks.faults.unguarded_redis import UnguardedRedis
from benchmarks.rtsp.clips import color_clip
from reid_stream.errors import ConfigError

_HERE = Path(__file__).parents[2]
_WAIT_S = 400.0
"""Longest wait for a daemon to see everyone: the machine may have other work."""
_MAKE_MODELS = "import sys, pathlib, benchmarks.tiny_networks as t; t.tiny_models(pathlib.Path(sys.argv[1]))"

Progress = Callable[[str], None]


def run(old: str, progress: Progress) -> list[DrillResult]:
    """Run the drill.

    Args:
        old: commit or tag of the older release.
        progress: shows what is done.

    Raises:
        ConfigError: there is no such commit.
        RuntimeError: a daemon does not see everyone.
    """
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="reid-stream-drill-")))
        before = opened.enter_context(_checked_out(old, folder / "old"))
        site = _Site(opened, folder, before)
        found = []
        for what, step in (
            (f"{old} starts", lambda: site.start(before)),
            ("killed, this release on its state", lambda: site.replace(_HERE, signal.SIGKILL)),
            (f"ended in order, back to {old}", lambda: site.replace(before, signal.SIGTERM)),
            ("this release on standby, the older one ended", lambda: site.take_over(_HERE)),
            ("machine lost: a backup of Redis, taken while it ran, no spool", lambda: site.restore(_HERE)),
        ):
            began = time.monotonic()
            step()
            site.wait_for_all()
            took_s = time.monotonic() - began
            progress(f"{what}: {took_s:.1f} s")
            events = site.events()
            found += [
                within("upgrade", f"{what}: IDs changed", changed_ids(events), 0, digits=0),
                within("upgrade", f"{what}: events twice", doubled(events), 0, digits=0),
                within("upgrade", f"{what}: events missing", missing(events), 0, digits=0),
                figure("upgrade", f"{what}: until everyone is seen", f"{took_s:.1f} s"),
            ]
        return found


class _Site:
    def __init__(self, opened: ExitStack, folder: Path, before: Path) -> None:
        self._opened, self._folder = opened, folder
        self._server = UnguardedRedis(folder / "redis")
        opened.callback(self._server.stop)
        self._client: Any = redis.Redis.from_url(self._server.url)
        self._daemon: subprocess.Popen[bytes] | None = None
        self._home, self._seen_since = folder / "home-0", 0.0
        subprocess.run(
            [sys.executable, "-c", _MAKE_MODELS, str(folder / "models")],
            cwd=before,
            env=_environment(before),
            check=True,
        )
        for name, rgb in COLORS.items():
            color_clip(folder / f"{name}.mp4", rgb, seconds=20)

    def start(self, code: Path, *words: str) -> "subprocess.Popen[bytes]":
        """Start a release's daemon on the site."""
        self._home.mkdir(exist_ok=True)
        cams = self._home / "cams.yaml"
        cameras = "".join(
            f"  - {{id: {name}, url: {self._folder / name}.mp4, loop: true, max_fps: 5}}\n" for name in COLORS
        )
        cams.write_text(
            f"site: {SITE}\nredis: {{url: '{self._server.url}'}}\nobserve: {{port: null}}\n"
            f"spool: {{directory: {self._home / 'spool'}}}\nstate: {{lease_s: 2, snapshot_s: 2}}\n"
            # The people of these clips stand still; some older releases lost such people behind the motion gate.
            f"detect: {{gate: 'off'}}\ncameras:\n{cameras}"
        )
        environment = {
            **_environment(code),
            "REID_STREAM_MODELS": str(self._folder / "models"),
            "XDG_DATA_HOME": str(self._home),
            "XDG_CACHE_HOME": str(self._folder / "cache"),
        }
        with (self._home / "log").open("ab") as log:
            daemon = subprocess.Popen(
                [sys.executable, "-m", "reid_stream", "--cameras", str(cams), "--plain", *words],
                stdout=log,
                stderr=log,
                cwd=code,
                env=environment,
            )
        self._opened.callback(_kill, daemon)
        self._daemon, self._seen_since = daemon, time.time()
        return daemon

    def replace(self, code: Path, number: int) -> None:
        """End the daemon by a signal and start another release in its place."""
        self._end(number)
        self.start(code)

    def take_over(self, code: Path) -> None:
        """Start another release on standby, with a spool of its own, and end the daemon once it waits."""
        active, self._home = self._daemon, self._folder / "home-1"
        waiting = self.start(code, "--standby")
        _wait(lambda: "standby_waits" in (self._home / "log").read_text())
        self._daemon = active
        self._end(signal.SIGTERM)
        self._daemon, self._seen_since = waiting, time.time()

    def restore(self, code: Path) -> None:
        """Copy Redis's data while it runs, lose the machine, and start on the copy with an empty home."""
        self._client.bgsave()
        _wait(lambda: not self._client.info("persistence")["rdb_bgsave_in_progress"])
        copy, self._home = self._folder / "restored", self._folder / "home-2"
        copy.mkdir()
        shutil.copy(self._server.directory / "dump.rdb", copy)
        self._end(signal.SIGKILL)
        self._client.close()
        self._server.stop()
        self._server = UnguardedRedis(copy, is_durable=False)
        self._opened.callback(self._server.stop)
        self._client = redis.Redis.from_url(self._server.url)
        self.start(code)

    def wait_for_all(self) -> None:
        """Wait until everyone was seen, and some seconds more, by the daemon that was started last."""

        def are_all_seen() -> bool:
            assert self._daemon is not None
            assert self._daemon.poll() is None, (self._home / "log").read_text()[-3000:]
            seen = [
                event["data"]["camera"]
                for event in self.events()
                if event["type"].endswith("identity.seen.v1") and event["data"]["seen_at"] > self._seen_since
            ]
            return all(seen.count(camera) >= 3 for camera in COLORS)

        _wait(are_all_seen)

    def events(self) -> list[dict[str, Any]]:
        """Return the events on the stream."""
        return [json.loads(fields[b"event"]) for _, fields in self._client.xrange(f"reid:{SITE}:events")]

    def _end(self, number: int) -> None:
        assert self._daemon is not None
        self._daemon.send_signal(number)
        self._daemon.wait(60)


@contextmanager
def _checked_out(commit: str, folder: Path) -> Iterator[Path]:
    git = ["git", "-C", str(_HERE)]
    done = subprocess.run(
        [*git, "worktree", "add", "--detach", str(folder), commit], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise ConfigError(
            f"--old must be a commit or tag of this repository, got {commit}: {done.stderr.strip()[-200:]}"
        )
    try:
        yield folder
    finally:
        subprocess.run([*git, "worktree", "remove", "--force", str(folder)], capture_output=True, check=False)


def _environment(code: Path) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("REID_STREAM", "XDG_", "PYTHON"))}
    return {**kept, "PYTHONPATH": str(code), "NO_COLOR": "1", "COLUMNS": "200"}


def _kill(daemon: "subprocess.Popen[bytes]") -> None:
    if daemon.poll() is None:
        daemon.kill()
        daemon.wait()


def _wait(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + _WAIT_S
    while not holds():
        if time.monotonic() > until:
            raise RuntimeError(f"it must hold within {_WAIT_S:.0f} s")
        time.sleep(0.1)
