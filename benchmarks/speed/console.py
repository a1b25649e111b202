"""Measure what the web console costs: nothing while closed, a wall of cameras, many viewers, many people.

wall     a real daemon with its console over replayed cameras; spells with the wall closed and open take turns, so
         that the frame rates of one run are compared
people   the console's server over a tracklet store of made-up people: pages, thumbnails, searches
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import cv2
import msgspec
import numpy as np

from benchmarks.made_up_site import RUN, T0, publish, serving, store_track, visit
from benchmarks.ports import free_port
from reid_stream.bench.procfs import cpu_s, family
from reid_stream.bundles import catalog
from reid_stream.config.environment import child_environment
from reid_stream.config.settings import Camera, Redis, Settings, Store, Web
from reid_stream.events import Event
from reid_stream.publish.embedded_redis import EmbeddedRedis
from reid_stream.publish.redis_client import connect

_SITE = "bench"
_READY_S = 180.0
_SETTLE_S = 3.0
_THUMBNAILS, _SEARCHES, _PAGES = 300, 9, 10


@dataclass(frozen=True, slots=True)
class ConsoleFigure:
    """One figure of the console."""

    name: str
    value: float
    unit: str


def wall(clip: Path, cameras: int, viewers: int, spell_s: float, rounds: int = 3) -> list[ConsoleFigure]:
    """Measure a daemon with its console closed, with one wall open, and with many, in turns.

    Args:
        clip: video file, played by each camera.
        cameras: number of cameras.
        viewers: number of walls open in the last spell.
        spell_s: seconds of each spell.
        rounds: pairs of spells without and with one wall.
    """
    with tempfile.TemporaryDirectory(prefix="reid-console-") as name, _daemon(Path(name), clip, cameras) as running:
        closed, opened = [], []
        for _ in range(rounds):
            closed.append(running.spell(0, spell_s))
            opened.append(running.spell(1, spell_s))
        many = running.spell(viewers, spell_s)
    shut, one = (np.mean(spells, axis=0) for spells in (closed, opened))
    found = []
    for name, (fps, daemon, console, pictures) in (
        ("closed", shut),
        (f"one wall of {cameras}", one),
        (f"{viewers} walls", many),
    ):
        found += [
            ConsoleFigure(f"frames used, {name}", float(fps), "frames/s"),
            ConsoleFigure(f"daemon's CPU a frame, {name}", 1000 * float(daemon / fps), "ms"),
            ConsoleFigure(f"console's CPU, {name}", 100 * float(console), "% of one"),
            ConsoleFigure(f"pictures, {name}", float(pictures), "pictures/s"),
        ]
    # Holds on a busy machine, too, where frame rates follow what its other programs do.
    whole, added = shut[1] / shut[0], one[1] / one[0] + one[2] / one[0]
    return [*found, ConsoleFigure("frames that the same CPU time gives with one wall", 100 * float(whole / added), "%")]


@dataclass(frozen=True, slots=True)
class _Running:
    port: int
    metrics: int
    daemon: int
    """Process ID."""
    console: int
    """Process ID of the console."""
    cameras: Sequence[str]

    def spell(self, viewers: int, spell_s: float) -> tuple[float, float, float, float]:
        """Return frames used, CPU time of the daemon without its console, of that, and pictures, all per second."""
        ended, pictures = threading.Event(), [0] * viewers
        threads = [
            threading.Thread(target=self._watch, args=(number, pictures, ended), daemon=True)
            for number in range(len(pictures))
        ]
        for thread in threads:
            thread.start()
        ended.wait(_SETTLE_S)
        began, before = time.monotonic(), self._counts(pictures)
        ended.wait(spell_s)
        passed, now = time.monotonic() - began, self._counts(pictures)
        frames, daemon, console, shown = ((after - was) / passed for after, was in zip(now, before, strict=True))
        ended.set()
        for thread in threads:
            thread.join(15)
        return frames, daemon, console, shown

    def _counts(self, pictures: Sequence[int]) -> tuple[float, float, float, float]:
        console = cpu_s(self.console)
        return self.frames(), sum(map(cpu_s, family(self.daemon))) - console, console, float(sum(pictures))

    def _watch(self, viewer: int, pictures: list[int], ended: threading.Event) -> None:
        """Take the pictures of all cameras, as the page does; every viewer has an address of its own."""
        cameras = "&".join(f"cameras={camera}" for camera in self.cameras)
        after = "0"
        while not ended.is_set():
            connection = HTTPConnection("127.0.0.1", self.port, timeout=20, source_address=(f"127.0.0.{2 + viewer}", 0))
            with suppress(OSError, HTTPException):
                while not ended.is_set():
                    connection.request("GET", f"/api/v1/previews?{cameras}&after={after}")
                    answer = connection.getresponse()
                    body = answer.read()
                    if answer.status == 200:
                        pictures[viewer] += body.count(b"Content-Type: image/jpeg")
                        after = answer.headers["X-Position"]
                    elif answer.status != 204:
                        ended.wait(float(answer.headers.get("Retry-After", 1)))
            connection.close()

    def frames(self) -> float:
        """Return the number of frames used since the start, of all cameras."""
        text = _get(f"http://127.0.0.1:{self.metrics}/metrics").decode()
        prefix = "reid_stream_frames_used_total{"
        return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(prefix))


@contextmanager
def _daemon(folder: Path, clip: Path, cameras: int) -> Iterator[_Running]:
    """Run a daemon with its console until the block ends."""
    port, metrics = free_port(), free_port()
    names = [f"cam{number}" for number in range(cameras)]
    values = {
        "site": _SITE,
        "redis": {"directory": str(folder / "redis")},
        "spool": {"directory": str(folder / "spool")},
        "observe": {"port": metrics},
        "web": {"enabled": True, "port": port, "local": "everyone"},
        "workers": 1,
        "cameras": [
            {"id": name, "url": str(clip), "loop": True, "start_after_s": round(2.0 * number, 1)}
            for number, name in enumerate(names)
        ],
    }
    cams = folder / "cams.yaml"
    cams.write_text(json.dumps(values), encoding="utf-8")
    command = [sys.executable, "-m", "reid_stream", "--cameras", str(cams)]
    with (folder / "log").open("wb") as log:
        daemon = subprocess.Popen(command, stdout=log, stderr=log, env=child_environment(os.environ))
    try:
        running = _Running(port, metrics, daemon.pid, _console(daemon, port), names)
        _until(lambda: running.frames() > 20 * cameras, daemon)
        yield running
    finally:
        daemon.send_signal(signal.SIGTERM)
        try:
            daemon.wait(30)
        except subprocess.TimeoutExpired:
            daemon.kill()


def people(count: int) -> list[ConsoleFigure]:
    """Measure pages, thumbnails and searches of a site with so many people, each with one stored track."""
    with tempfile.TemporaryDirectory(prefix="reid-console-") as name, _site(Path(name), count) as url:
        _get(f"{url}/people")  # the first request reads the store
        search = f"{url}/api/v1/search?camera=cam0&run={RUN}&limit=24&track="
        figures: Mapping[str, list[str]] = {
            "thumbnail": [
                f"{url}/api/v1/people/{_SITE}-{1 + number * 7 % count}/picture?width=128"
                for number in range(_THUMBNAILS)
            ],
            "page of people": [f"{url}/people?offset={60 * number}" for number in range(_PAGES)],
            "page of a person": [f"{url}/people/{_SITE}-{1 + 13 * number % count}" for number in range(_PAGES)],
            "search by a track": [f"{search}{20 * number % count}" for number in range(_SEARCHES)],
        }
        found = []
        for what, addresses in figures.items():
            if what.startswith("search"):
                _get(addresses[0])  # the first one reads all vectors
            times = [_timed(address) for address in addresses]
            found.append(ConsoleFigure(f"{what}, p95", 1000 * float(np.quantile(times, 0.95)), "ms"))
        return found


@contextmanager
def _site(folder: Path, count: int) -> Iterator[str]:
    """Serve a site of made-up people until the block ends; yields the console's URL."""
    _, embedder = catalog.embedder("default")
    random = np.random.default_rng(0)
    with EmbeddedRedis(folder / "redis") as redis:
        settings = Settings(
            site=_SITE,
            redis=Redis.model_validate({"url": redis.url}),
            cameras=tuple(
                Camera.model_validate({"id": f"cam{number}", "url": f"rtsp://10.0.0.{number}/x"}) for number in (0, 1)
            ),
            store=Store(folder=folder / "store"),
            web=Web(port=0, local="everyone"),
        )
        events: list[Event] = []
        for number in range(count):
            person, camera, at = f"{_SITE}-{number + 1}", f"cam{number % 2}", T0 + number
            pixels = random.integers(0, 255, (16, 8, 3), np.uint8)
            crop = cv2.imencode(".jpg", cv2.resize(pixels, (64, 128)))[1].tobytes()
            vectors = random.normal(size=(1, embedder.dim)).astype(np.float32)
            store_track(folder / "store", person, camera, number, at, embedder.hash, [crop], vectors)
            events += visit(person, camera, number, at)
        with closing(connect(settings.redis)) as client:
            publish(client, _SITE, events)
        with serving(settings) as server:
            end = time.monotonic() + _READY_S
            url = server.url.rstrip("/")
            while msgspec.json.decode(_get(f"{url}/api/v1/people?limit=1"))["total"] < count:
                if time.monotonic() > end:
                    raise TimeoutError("the console did not read all events")
                time.sleep(0.5)
            yield url


def _timed(url: str) -> float:
    began = time.perf_counter()
    _get(url)
    return time.perf_counter() - began


def _get(url: str) -> bytes:
    """Request a page, later again where the console's limits ask for that."""
    while True:
        try:
            with urllib.request.urlopen(url, timeout=60) as answer:  # noqa: S310 (our own server's)
                body: bytes = answer.read()
                return body
        except urllib.error.HTTPError as error:
            with error:
                if error.code != 429:
                    raise
            time.sleep(1.0)


def _console(daemon: "subprocess.Popen[bytes]", port: int) -> int:
    """Return the process ID of the daemon's console, once it answers."""

    def answers() -> bool:
        with suppress(OSError):
            return bool(_get(f"http://127.0.0.1:{port}/api/v1/session"))
        return False

    _until(answers, daemon)
    for process in family(daemon.pid):
        with suppress(OSError):
            if b"\0web\0" in Path(f"/proc/{process}/cmdline").read_bytes():
                return process
    raise RuntimeError("the daemon has no console")


def _until(holds: Callable[[], bool], daemon: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + _READY_S
    while not holds():
        if daemon.poll() is not None or time.monotonic() > end:
            raise RuntimeError(f"the daemon is not ready (exit code {daemon.poll()})")
        time.sleep(0.3)


def show(figures: Sequence[ConsoleFigure]) -> None:
    """Print a table."""
    from rich.table import Table

    from reid_stream.console.output import Output

    table = Table(box=None, header_style="bold")
    table.add_column("figure")
    table.add_column("value", justify="right")
    for one in figures:
        table.add_row(one.name, f"{one.value:.1f} {one.unit}")
    Output().print(table)
