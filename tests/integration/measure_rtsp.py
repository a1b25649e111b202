"""Real RTSP cameras on loopback for minutes: latency from capture to subscriber, frames lost, backlog, memory.

python -m tests.integration.measure_rtsp --clip CLIP [--cameras 4] [--seconds 300] [--fps 10] [--json FILE]

The server, the daemon and Redis are processes of their own; what is measured is what a subscriber and /metrics see.
Latency is the subscriber's clock less the frame's capture time (the server's RTCP clock is this machine's).
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from urllib.request import urlopen

import numpy as np

from reid_stream.events import IdentityEntered, IdentitySeen
from reid_stream.publish.embedded_redis import EmbeddedRedis
from reid_stream.publish.subscribe import subscribe
from tests.integration.rtsp import loop_clip, serve_clips, why_not

SITE = "rtsp"
_SETTLED_S = 60.0
"""Memory is judged from here on: engines and caches have been built."""


def main() -> None:
    """Run and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clip", type=Path, required=True, help="video that every camera shows")
    parser.add_argument("--cameras", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--fps", type=int, default=10)
    parser.add_argument("--json", type=Path, help="write the figures there")
    options = parser.parse_args()
    if reason := why_not():
        sys.exit(reason)
    with tempfile.TemporaryDirectory(prefix="reid-stream-rtsp-") as folder:
        figures = measure(Path(folder), options.clip, options.cameras, options.seconds, options.fps)
    for name, value in figures.items():
        print(f"{name:<28} {value}")
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def measure(folder: Path, clip: Path, cameras: int, seconds: float, fps: int) -> dict[str, object]:
    """Serve, run, listen; see the module."""
    looped = loop_clip(clip, folder / "clip.mp4", seconds=seconds + 60, fps=fps)
    names = [f"cam{n + 1}" for n in range(cameras)]
    with serve_clips(dict.fromkeys(names, looped)) as server, EmbeddedRedis(folder / "redis") as redis:
        config = folder / "cams.yaml"
        rows = "".join(f"  - {{id: {name}, url: '{server.url(name)}', max_fps: {fps}}}\n" for name in names)
        config.write_text(
            f"site: {SITE}\nredis: {{url: '{redis.url}'}}\nobserve: {{port: 0}}\ncameras:\n{rows}", encoding="utf-8"
        )
        command = [sys.executable, "-m", "reid_stream", "--cameras", str(config), "--duration", str(seconds), "--plain"]
        began = time.time()
        daemon = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        listener = Listener(redis.url)
        metrics, memory = _watch(daemon)
        listener.stop()
    latencies = np.asarray([delay for at, delay in listener.delays if at - began > 15])
    settled = [rss for at, rss in memory if at - began >= min(_SETTLED_S, seconds / 2)]
    used = _sum(metrics, "reid_stream_frames_used_total")
    return {
        "cameras": f"{cameras} x {fps} fps, {seconds:.0f} s",
        "exit code": daemon.returncode,
        "events": len(listener.delays),
        "capture to subscriber p50 ms": round(float(np.percentile(latencies, 50)) * 1e3) if len(latencies) else None,
        "capture to subscriber p95 ms": round(float(np.percentile(latencies, 95)) * 1e3) if len(latencies) else None,
        "capture to subscriber p99 ms": round(float(np.percentile(latencies, 99)) * 1e3) if len(latencies) else None,
        "clocks": ", ".join(sorted(listener.clocks)),
        "frames used per s": round(used / seconds, 2),
        "share of frames used": round(used / (cameras * fps * seconds), 3),
        "frames dropped": round(_sum(metrics, "reid_stream_frames_dropped_total")),
        "events waiting at the end": round(_sum(metrics, "reid_stream_events_spooled")),
        "first event after s": round(listener.first_at - began, 2) if listener.first_at else None,
        "memory MB settled, end": f"{settled[0]:.0f}, {settled[-1]:.0f}" if settled else None,
    }


class Listener:
    """A subscriber that notes how late each sighting is."""

    def __init__(self, url: str) -> None:
        self.delays: list[tuple[float, float]] = []
        self.clocks: set[str] = set()
        self.first_at: float | None = None
        self._stop = threading.Event()
        self._url = url
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End and wait."""
        self._stop.set()
        self._thread.join()

    def _listen(self) -> None:
        position = "0"
        while not self._stop.is_set():
            for event in subscribe(
                self._url, site=SITE, start=position, types=["identity.entered", "identity.seen"], block_s=1.0
            ):
                if not isinstance(event.data, IdentityEntered | IdentitySeen):
                    continue
                now = time.time()
                self.first_at = self.first_at or now
                self.delays.append((now, now - event.data.seen_at))
                self.clocks.add(event.data.clock)
                position = str(event.position)
                if self._stop.is_set():
                    return


def _watch(daemon: "subprocess.Popen[str]") -> tuple[str, list[tuple[float, float]]]:
    """Read /metrics and the memory until the daemon ends; gives the last page and (time, MB)."""
    assert daemon.stderr is not None
    url, page = "", ""
    memory: list[tuple[float, float]] = []
    lines = iter(daemon.stderr.readline, "")
    for line in lines:
        if "metrics on" in line:
            url = line.split()[2]
            break
    threading.Thread(target=lambda: list(lines), daemon=True).start()
    while daemon.poll() is None:
        with suppress(OSError):
            page = urlopen(url, timeout=2).read().decode()
        with suppress(OSError, StopIteration):
            status = Path(f"/proc/{daemon.pid}/status").read_text(encoding="utf-8")
            rss = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
            memory.append((time.time(), int(rss.split()[1]) / 1024))
        time.sleep(2)
    return page, memory


def _sum(page: str, name: str) -> float:
    return sum(
        float(line.rsplit(" ", 1)[1]) for line in page.splitlines() if line.startswith((f"{name}{{", f"{name} "))
    )


if __name__ == "__main__":
    main()
