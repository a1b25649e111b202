"""Run the demo as a site on many hosts, all on this machine: two perceive hosts, identification, one on standby, Redis.

    Redis ◀── perceive 1, perceive 2 (`cameras: shared`)
      └──▶ identify, and identify --standby ─▶ events, web console

`python -m reid_stream.commands.demo_cluster` prepares what is missing as the demo does, starts the processes, prints
where to look and which process to kill, and starts each again that ends, as a service manager would.
"""

import argparse
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from reid_stream.commands.demo import FOLDER, prepare
from reid_stream.console.output import Output
from reid_stream.errors import ReidStreamError

if TYPE_CHECKING:
    from reid_stream.publish.embedded_redis import EmbeddedRedis

_LOOK_S = 0.2
_AGAIN_S = 1.0
"""Wait before a process that has ended is started again, seconds."""
_END_S = 40.0
_COPIES = 2
"""Times that each clip is a camera."""


@dataclass
class Part:
    """One process of the site, with its log."""

    name: str
    words: Sequence[str]
    log: Path
    home: Path
    process: "subprocess.Popen[bytes] | None" = None
    ended_at: float | None = None

    def start(self) -> None:
        """Start it; its log is continued."""
        self.home.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, "XDG_DATA_HOME": str(self.home)}
        with self.log.open("ab") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "reid_stream", *self.words],
                stdout=file,
                stderr=file,
                env=environment,
                start_new_session=True,  # Ctrl-C ends them in the order of the data
            )
        self.ended_at = None

    def look(self, out: Output) -> None:
        """Start it again where it has ended."""
        if self.process is None or self.process.poll() is None:
            return
        if self.ended_at is None:
            self.ended_at = time.monotonic()
            out.say(f"cluster: {self.name} has ended with {self.process.returncode}; it is started again")
        elif time.monotonic() - self.ended_at >= _AGAIN_S:
            self.start()

    def stop(self) -> None:
        """End it in order; killed where it does not."""
        if self.process is None:
            return
        with suppress(ProcessLookupError):
            self.process.terminate()
        try:
            self.process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def write_site(folder: Path, demo: Path, url: str, console_port: int) -> None:
    """Write `site.yaml` for identification and `perceive.yaml` for the hosts.

    Args:
        folder: to write to.
        demo: prepared cams.yaml, whose models and clips are used.
        url: of Redis.
        console_port: TCP port of the web console on 127.0.0.1.
    """
    from reid_stream.config import cams_yaml

    settings = cams_yaml.load(demo)
    models = f"models: {{detector: {settings.models.detector}, embedder: {settings.models.embedder}}}\n"
    common = f"site: cluster\nredis: {{url: '{url}'}}\n{models}observe: {{port: null}}\n"
    cameras = "".join(
        f"  - {{id: {camera.id}-{copy}, url: {camera.url.get_secret_value()}, loop: true, max_fps: 5, "
        f"start_after_s: {camera.start_after_s + 20 * (copy - 1):g}}}\n"
        for camera in settings.cameras
        for copy in range(1, _COPIES + 1)
    )
    site = (
        f"{common}hosts: {{share_cameras: true}}\nstate: {{lease_s: 3}}\n"
        f"store: {{folder: store, max_gb: 1, settle_s: 3}}\nweb: {{port: {console_port}}}\ncameras:\n{cameras}"
    )
    (folder / "site.yaml").write_text(site, encoding="utf-8")
    (folder / "perceive.yaml").write_text(f"{common}hosts: {{lease_s: 5}}\ncameras: shared\n", encoding="utf-8")


def parts_of(folder: Path) -> list[Part]:
    """Return the processes of the site, in the order of their start."""

    def part(name: str, command: str, file: str, *words: str) -> Part:
        return Part(name, (command, "--cameras", str(folder / file), *words), folder / f"{name}.log", folder / name)

    return [
        part("console", "web", "site.yaml"),
        *(part(f"identify-{number}", "identify", "site.yaml", "--standby", "--plain") for number in (1, 2)),
        *(
            part(f"perceive-{number}", "perceive", "perceive.yaml", "--host", f"host-{number}", "--plain")
            for number in (1, 2)
        ),
    ]


def run(folder: Path, duration_s: float | None, console_port: int, out: Output) -> None:
    """Run the site until a signal or the end of the duration.

    Raises:
        ConfigError: no footage was found, or another cluster uses the folder.
        ModelError: no models were found.
        BrokerError: Redis does not start.
    """
    from reid_stream.publish.embedded_redis import EmbeddedRedis

    folder = folder.absolute()
    demo = prepare(folder, os.environ, lambda text: out.say(f"cluster: {text}"))
    cluster = folder / "cluster"
    cluster.mkdir(exist_ok=True)
    with _stopping() as stop, ExitStack() as opened:
        server = opened.enter_context(EmbeddedRedis(cluster / "redis"))
        write_site(cluster, demo, server.url, console_port)
        parts = parts_of(cluster)
        for part in parts:
            part.start()
            opened.callback(part.stop)
        _say_where(out, cluster, parts, server, console_port)
        until = float("inf") if duration_s is None else time.monotonic() + duration_s
        while not stop.wait(_LOOK_S) and time.monotonic() < until:
            for part in parts:
                part.look(out)
        out.say("cluster: ending in the order of the data")


def _say_where(out: Output, folder: Path, parts: Sequence[Part], server: "EmbeddedRedis", console_port: int) -> None:
    url, pid = server.url, server.pid
    out.say(f"cluster: site cluster, {len(parts)} processes and Redis; Ctrl-C ends them")
    for part in parts:
        assert part.process is not None
        out.say(f"  {part.name:<11} process {part.process.pid}, log {part.log}")
    out.say(f"  {'redis':<11} process {pid}, {url}")
    out.say(f"web console   http://127.0.0.1:{console_port}/ (cameras and their hosts: Cameras; people: Live)")
    out.say(f"events        reid-stream events --follow --url {url} --site cluster")
    out.say(f"who has what  reid-stream check --cameras {folder / 'perceive.yaml'}")
    out.say(
        "try           kill -9 any of them: IDs stay, cameras move to the other host, the one on standby takes over"
    )


@contextmanager
def _stopping() -> Iterator[threading.Event]:
    """Yield an event that SIGTERM and Ctrl-C set while the block runs."""
    stop = threading.Event()

    def ask(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, ask) for number in numbers}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def main() -> None:
    """Run the cluster."""
    parser = argparse.ArgumentParser(
        prog="python -m reid_stream.commands.demo_cluster", description="Run the demo as a site on many hosts."
    )
    parser.add_argument("folder", nargs="?", type=Path, default=FOLDER, help="where to write (default: %(default)s)")
    parser.add_argument("--duration", type=float, help="stop after this many seconds")
    parser.add_argument("--port", type=int, default=8080, help="port of the web console (default: %(default)s)")
    given = parser.parse_args()
    out = Output(error=True)
    try:
        run(given.folder, given.duration, given.port, out)
    except ReidStreamError as error:
        out.say(f"cluster: {error}", style="red")
        raise SystemExit(error.exit_code) from None


if __name__ == "__main__":
    main()
