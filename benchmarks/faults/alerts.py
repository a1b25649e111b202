"""A real Prometheus with our alert rules beside a real daemon: faults fire their alerts, and health fires none.

The rules are those of deploy/prometheus, with minutes made seconds. Faults that cannot be made here in seconds, such as
clocks that disagree, fire in `reid-stream.rules.test.yml`.
"""

import json
import os
import re
import shutil
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.faults.daemon_process import daemon_process
from benchmarks.faults.report import DrillResult, figure
from benchmarks.faults.unguarded_redis import UnguardedRedis
from benchmarks.ports import free_port
from benchmarks.rtsp.clips import color_clip, serve_clips
from benchmarks.tiny_networks import tiny_models
from reid_stream.errors import ConfigError

NAME = "alerts"
RULES = Path(__file__).parents[2] / "deploy/prometheus/reid-stream.rules.yml"
_GIVE_UP_S = 300.0
_WAIT_S, _SHORT_S, _LONG_S = 2, 20, 60


def run() -> list[DrillResult]:
    """Make faults one after another; each line is an alert, with the seconds from the fault to its firing.

    Raises:
        ConfigError: there is no Prometheus.
    """
    if shutil.which("prometheus") is None:
        raise ConfigError("the program prometheus must be installed, found none (apt-get install prometheus)")
    findings: list[DrillResult] = []
    with tempfile.TemporaryDirectory(prefix="reid-stream-drill-") as name, ExitStack() as opened:
        folder = Path(name)
        tiny_models(folder / "models")
        clip = color_clip(folder / "a.mp4", (200, 30, 30), seconds=600, fps=10)
        cameras = opened.enter_context(serve_clips({"a": clip}))
        redis = UnguardedRedis(folder / "redis")
        opened.callback(redis.stop)
        cams = folder / "cams.yaml"
        good = _settings(folder, cameras.url("a"), redis.url)
        _write(cams, good)
        daemon = opened.enter_context(daemon_process(cams, folder / "err.txt", os.environ))
        prometheus = opened.enter_context(_prometheus(folder, daemon.port))

        def fires(*alerts: str) -> None:
            began = time.monotonic()
            for alert in alerts:
                found = prometheus.waits_for(alert)
                took = f"{time.monotonic() - began:.1f} s" if found else "never"
                findings.append(DrillResult(NAME, f"{alert} fires after", took, "ever", found))

        time.sleep(2 * _SHORT_S)
        quiet = prometheus.firing()
        findings.append(DrillResult(NAME, "alerts of a healthy site", ", ".join(quiet) or "none", "none", not quiet))
        _write(cams, good.replace("id: a,", "id: a, max_fps: -1,"))
        fires("ReidStreamSettingsRefused")
        _write(cams, f"detect: {{score: 0.2}}\n{good}")
        fires("ReidStreamRestartPending")
        redis.stop()
        fires("ReidStreamRedisAway", "ReidStreamSpoolFilling", "ReidStreamEventsLost")
        cameras.kill()
        fires("ReidStreamCameraDown", "ReidStreamNoCamera")
        daemon.process.kill()
        fires("ReidStreamDown")
        findings.append(figure(NAME, "firing at the end", len(prometheus.firing())))
    return findings


class _Prometheus:
    def __init__(self, port: int) -> None:
        self._port = port

    def firing(self) -> list[str]:
        """Return the names of the alerts that fire."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/api/v1/alerts", timeout=30) as answer:
            alerts = json.load(answer)["data"]["alerts"]
        return sorted({alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"})

    def waits_for(self, alert: str) -> bool:
        """Wait until an alert fires; False if it does not."""
        end = time.monotonic() + _GIVE_UP_S
        while time.monotonic() < end:
            if alert in self.firing():
                return True
            time.sleep(0.5)
        return False


@contextmanager
def _prometheus(folder: Path, target: int) -> Iterator[_Prometheus]:
    """Scrape a port every second, with minutes in the rules made seconds."""
    rules = re.sub(r"for: \w+", f"for: {_WAIT_S}s", RULES.read_text(encoding="utf-8"))
    rules = (
        re.sub(r"\[(?:5|15)m\]", f"[{_SHORT_S}s]", rules)
        .replace("[1h]", f"[{_LONG_S}s]")
        .replace("1h)", f"{_LONG_S}s)")
    )
    (folder / "rules.yml").write_text(rules, encoding="utf-8")
    (folder / "prometheus.yml").write_text(
        "global: {scrape_interval: 1s, evaluation_interval: 1s}\nrule_files: [rules.yml]\n"
        f"scrape_configs: [{{job_name: reid-stream, static_configs: [{{targets: ['127.0.0.1:{target}']}}]}}]\n",
        encoding="utf-8",
    )
    port = free_port()
    command = ["prometheus", f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'tsdb'}"]
    command += [f"--web.listen-address=127.0.0.1:{port}", "--log.level=error"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + _GIVE_UP_S
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/-/ready", timeout=5):
                    break
            except OSError:
                if process.poll() is not None or time.monotonic() > end:
                    raise RuntimeError("prometheus must start, found that it does not serve") from None
                time.sleep(0.2)
        yield _Prometheus(port)
    finally:
        process.terminate()
        process.wait()


def _settings(folder: Path, camera: str, redis: str) -> str:
    return "\n".join(
        [
            "site: drill",
            f"redis: {{url: '{redis}'}}",
            "observe: {host: 127.0.0.1, port: 0}",
            "workers: 1",
            f"models: {{detector: {folder / 'models/detector'}, embedder: {folder / 'models/embedder'}}}",
            # An event for each frame, and room for some hundred: it is full within minutes.
            "publish: {seen_interval_s: 0.1}",
            f"spool: {{directory: {folder / 'spool'}, max_mb: 0.4, keep_s: 0}}",
            f"cameras: [{{id: a, url: '{camera}', max_fps: null}}]",
            "",
        ]
    )


def _write(cams: Path, text: str) -> None:
    new = cams.with_suffix(".new")
    new.write_text(text, encoding="utf-8")
    new.replace(cams)
