"""Cameras that are added and removed by cams.yaml beside others that stay: frames, IDs and resources of the daemon.

A daemon in a process of its own reads RTSP; between rounds it serves only the cameras that stay, so that what is left
of the others can be measured.
"""

import os
import tempfile
import time
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from benchmarks.faults.camera_watch import Footprint, process_footprint
from benchmarks.faults.daemon_process import DaemonProcess, daemon_process
from benchmarks.faults.daemon_run import until
from benchmarks.faults.report import DrillResult, figure, within
from benchmarks.rtsp.clips import color_clip, serve_clips
from benchmarks.tiny_networks import tiny_models
from reid_stream.bench.procfs import family
from reid_stream.events import IdentityEntered, IdentitySeen
from reid_stream.publish.embedded_redis import running_url
from reid_stream.publish.subscribe import subscribe

NAME = "hot"
FPS = 2
_STAY = ("stays-1", "stays-2")
_GIVE_UP_S = 600.0
_LEAK_MB = 16.0
_OWN = ("busy", "slowed", "replaced", "behind")
"""Causes of losses that the daemon itself could have by adding a camera."""


def run(*, is_short: bool, people: Callable[[], Path]) -> list[DrillResult]:  # noqa: ARG001 (as all drills)
    """Add and remove 100 cameras in 5 rounds, 9 in 3 if short, beside two that stay.

    Networks are stand-ins that see one person in every picture, so that a small machine can carry the cameras.
    """
    rounds, each = (3, 3) if is_short else (5, 20)
    # The embedded Redis may still be writing while it ends.
    with tempfile.TemporaryDirectory(prefix="reid-stream-drill-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        tiny_models(folder / "models")
        colors = {"stays-1": (200, 30, 30), "stays-2": (30, 200, 30), "comes": (30, 30, 200)}
        clips = {name: color_clip(folder / f"{name}.mp4", rgb, seconds=600, fps=FPS) for name, rgb in colors.items()}
        with serve_clips(clips) as server:
            urls = {name: server.url(name) for name in clips}
            staying = [(name, urls[name]) for name in _STAY]
            cams = folder / "cams.yaml"
            _write(cams, folder, staying)
            with daemon_process(cams, folder / "err.txt", os.environ) as daemon:
                until(lambda: _up(daemon) == set(_STAY), _GIVE_UP_S)
                waits: list[float] = []
                first = [_round(daemon, cams, folder, staying, urls["comes"], 0, each, waits)]
                looks = first + [
                    _round(daemon, cams, folder, staying, urls["comes"], n, each, waits) for n in range(1, rounds)
                ]
                samples, err = _samples(daemon), daemon.log.read_text(encoding="utf-8")
                people_seen, tracks = _people(folder)
    lost = {cause: sum(samples.get(("frames_dropped_total", camera, cause), 0.0) for camera in _STAY) for cause in _OWN}
    back = sum(samples.get(("camera_reconnects_total", camera, ""), 0.0) for camera in _STAY)
    used = sum(samples.get(("frames_used_total", camera, ""), 0.0) for camera in _STAY)
    left = {camera for _, camera, _ in samples if camera.startswith("comes")}
    # In the first round the daemon opens what it needs once.
    before, after = looks[1], looks[-1]
    return [
        figure(NAME, "cameras added and removed", f"{rounds * each} in {rounds} rounds"),
        figure(NAME, "frames used of the two that stay", f"{used:.0f}"),
        within(NAME, "... lost by the changes", sum(lost.values()), 0, digits=0),
        figure(
            NAME, "... by cause", " ".join(f"{cause} {count:.0f}" for cause, count in lost.items() if count) or "none"
        ),
        within(NAME, "... reconnects", back, 0, digits=0),
        within(NAME, "... identities changed", people_seen - len(_STAY), 0, digits=0),
        figure(NAME, "... tracks (a starved machine breaks them)", tracks),
        figure(NAME, "a round's cameras up after, slowest", f"{max(waits):.1f} s"),
        within(NAME, "processes left", after.processes - before.processes, 0, digits=0),
        within(NAME, "threads left", after.place.threads - before.place.threads, 0, digits=0),
        within(NAME, "open files left", after.place.files - before.place.files, 0, digits=0),
        within(NAME, "sockets left", after.place.sockets - before.place.sockets, 0, digits=0),
        figure(NAME, "memory after each round", " ".join(f"{look.place.rss_mb:.0f}" for look in looks) + " MB"),
        within(NAME, "memory grown since then", after.place.rss_mb - before.place.rss_mb, _LEAK_MB, "MB"),
        within(NAME, "metrics of removed cameras", len(left), 0, digits=0),
        within(NAME, "tracebacks", err.count("Traceback"), 0, digits=0),
    ]


class _Look:
    """Resources of the daemon and its cameras: the least of several looks."""

    def __init__(self, pid: int) -> None:
        looks = []
        for _ in range(10):
            looks.append([process_footprint(one) for one in family(pid)])
            time.sleep(0.1)
        self.processes = min(len(look) for look in looks)
        self.place = Footprint(
            min(sum(one.rss_mb for one in look) for look in looks),
            min(sum(one.threads for one in look) for look in looks),
            min(sum(one.sockets for one in look) for look in looks),
            min(sum(one.files for one in look) for look in looks),
        )


def _round(
    daemon: DaemonProcess,
    cams: Path,
    folder: Path,
    staying: Sequence[tuple[str, str]],
    url: str,
    number: int,
    each: int,
    waits: list[float],
) -> _Look:
    """Add cameras, wait until all are up, remove them; return what is then in use."""
    coming = [(f"comes-{number}-{n}", url) for n in range(each)]
    began = time.monotonic()
    _write(cams, folder, [*staying, *coming])
    names = {name for name, _ in (*staying, *coming)}
    until(lambda: _up(daemon) == names, _GIVE_UP_S)
    waits.append(time.monotonic() - began)
    _write(cams, folder, staying)
    until(lambda: set(_known(daemon)) == {name for name, _ in staying}, _GIVE_UP_S)
    time.sleep(5.0)
    return _Look(daemon.process.pid)


def _write(cams: Path, folder: Path, cameras: Sequence[tuple[str, str]]) -> None:
    lines = [
        "site: drill",
        f"redis: {{url: embedded, directory: {folder / 'redis'}}}",
        "observe: {host: 127.0.0.1, port: 0}",
        "workers: 1",
        # Each part of the daemon has its connections before they are counted.
        "state: {snapshot_s: 1}",
        f"models: {{detector: {folder / 'models/detector'}, embedder: {folder / 'models/embedder'}}}",
        "cameras:",
        *(f"  - {{id: {name}, url: '{url}', max_fps: null}}" for name, url in cameras),
    ]
    new = cams.with_suffix(".new")
    new.write_text("\n".join(lines) + "\n", encoding="utf-8")
    new.replace(cams)


def _samples(daemon: DaemonProcess) -> dict[tuple[str, str, str], float]:
    """Return the metrics of cameras by (name, camera, cause)."""
    with urllib.request.urlopen(f"http://127.0.0.1:{daemon.port}/metrics", timeout=60) as answer:
        text = answer.read().decode()
    return {
        (
            sample.name.removeprefix("reid_stream_"),
            sample.labels["camera"],
            sample.labels.get("cause", ""),
        ): sample.value
        for found in text_string_to_metric_families(text)
        for sample in found.samples
        if "camera" in sample.labels
    }


def _known(daemon: DaemonProcess) -> list[str]:
    return [camera for name, camera, _ in _samples(daemon) if name == "camera_up"]


def _up(daemon: DaemonProcess) -> set[str]:
    return {camera for (name, camera, _), value in _samples(daemon).items() if name == "camera_up" and value}


def _people(folder: Path) -> tuple[int, int]:
    """Return how many identities and tracks the cameras that stay have had; people there all look different."""
    people, tracks = set(), set()
    for event in subscribe(running_url(folder / "redis"), site="drill", start="0", block_s=0):
        data = event.data
        if isinstance(data, IdentityEntered | IdentitySeen) and data.camera in _STAY:
            people.add((data.camera, data.person))
            tracks.add((data.camera, data.run, data.track))
    return len(people), len(tracks)
