"""No password of cams.yaml appears in any output of the program, whether the connection works or not."""

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import redis

from benchmarks.faults.unguarded_redis import UnguardedRedis
from benchmarks.rtsp.clips import draw_clip, serve_clips, why_not
from reid_stream.config import cams_yaml
from reid_stream.config.settings import Settings
from reid_stream.observe import logs
from tests.integration.program import Running, call, running

pytestmark = pytest.mark.timeout(240)

# Each of its own, so that what leaks names itself; some with what URLs do not like.
SECRETS = {
    "camera that works": "open-sesame-rtsp",
    "camera in the url": "pass%40word-in-url",
    "camera in fields": "p@ss/w:rd?in#fields",
    "camera in the query": "query-hunter2",
    "camera by variable": "variable-tr0ub4dor",
    "camera by file": "file-correct-horse",
    "redis that works": "redis/s3cr3t@home",
    "redis that is away": "redis-away-battery",
    "redis that refuses": "redis-wrong-staple",
    "sentinel": "sentinel-guard-7",
}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_clip(tmp_path_factory.mktemp("clips") / "a.mp4", seconds=3)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[UnguardedRedis]:
    """Give a Redis that wants a password."""
    with UnguardedRedis(tmp_path / "server") as started:
        client: Any = redis.Redis.from_url(started.url)
        client.config_set("requirepass", SECRETS["redis that works"])
        client.close()
        yield started


def leaks(text: str | bytes) -> list[str]:
    """Name the secrets that a text holds, as they are or as a URL has them."""
    if isinstance(text, str):
        text = text.encode()
    return [name for name, word in SECRETS.items() if word.encode() in text or quote(word, safe="").encode() in text]


def write(folder: Path, clip: Path, redis_lines: str, working: str | None) -> Path:
    """Write a cams.yaml with a camera of every kind, all but the first two failing."""
    (folder / "camera-secret").write_text(SECRETS["camera by file"] + "\n")
    rows = [
        f"{{id: file, url: '{clip}', loop: true}}",
        f"{{id: url, url: 'rtsp://admin:{SECRETS['camera in the url']}@127.0.0.1:1/s'}}",
        f"{{id: fields, url: 'rtsp://127.0.0.1:1/s', username: me, password: '{SECRETS['camera in fields']}'}}",
        f"{{id: query, url: 'http://127.0.0.1:1/s?user=me&password={SECRETS['camera in the query']}'}}",
        "{id: variable, url: 'rtsp://admin:${CAMERA_SECRET}@127.0.0.1:1/s'}",
        "{id: byfile, url: 'rtsp://127.0.0.1:1/s', username: me, password_file: camera-secret}",
    ]
    if working is not None:
        rows.append(f"{{id: works, url: '{working}', username: viewer, password: '{SECRETS['camera that works']}'}}")
        rows.append(f"{{id: refused, url: '{working}', username: viewer, password: '{SECRETS['camera in fields']}'}}")
    observe = "observe: {port: 0, log: json, log_level: debug}"
    timing = "ingest: {open_timeout_s: 2, read_timeout_s: 2, backoff_first_s: 2, backoff_max_s: 30}"
    spool = f"spool: {{directory: '{folder / 'spool'}'}}"
    text = "\n".join(["site: lab", redis_lines, observe, timing, spool, "cameras:", *(f"  - {row}" for row in rows)])
    path = folder / "cams.yaml"
    path.write_text(text + "\n")
    return path


def family(pid: int) -> list[int]:
    """Return a process and all that it started."""
    tasks = Path(f"/proc/{pid}/task")
    children = [
        int(child) for task in tasks.iterdir() for child in (task / "children").read_text().split() if tasks.exists()
    ]
    return [pid, *(each for child in children for each in family(child))]


def shown_by_ps(pid: int) -> bytes:
    """Return what other users of the machine can see of a process and its children."""
    return b"\n".join(Path(f"/proc/{each}/{name}").read_bytes() for each in family(pid) for name in ("cmdline", "comm"))


def page(daemon: Running, name: str) -> str:
    port = daemon.err.partition("metrics on http://127.0.0.1:")[2].partition("/")[0]
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{name}", timeout=10) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        return str(error.read().decode())


@pytest.fixture(autouse=True)
def variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAMERA_SECRET", SECRETS["camera by variable"])


@pytest.mark.skipif(why_not() is not None, reason=why_not() or "")
def test_a_daemon_whose_cameras_and_redis_work_and_fail_keeps_every_password(
    tmp_path: Path, models: Path, clip: Path, server: UnguardedRedis
) -> None:
    login = f"redis: {{url: '{server.url}', password: '{SECRETS['redis that works']}'}}"
    with serve_clips({"a": clip}, user="viewer", password=SECRETS["camera that works"]) as cameras:
        cams = write(tmp_path, clip, login, cameras.url("a"))
        with running("--cameras", cams, "--plain", models=models, home=tmp_path) as daemon:
            daemon.until(lambda: "entered file" in daemon.out and "entered works" in daemon.out, 150)
            daemon.until(lambda: all(f'"camera": "{name}"' in daemon.err for name in ("url", "refused", "byfile")))
            pages = {name: page(daemon, name) for name in ("metrics", "healthz", "readyz", "nothing")}
            seen_by_ps = shown_by_ps(daemon.process.pid)
            client: Any = redis.Redis.from_url(server.url, password=SECRETS["redis that works"])
            client.shutdown(nosave=True)
            daemon.until(lambda: "redis_away" in daemon.err)
            away = page(daemon, "metrics") + page(daemon, "readyz")
            spooled = b"".join(path.read_bytes() for path in (tmp_path / "spool").iterdir())
            names = "\n".join(map(str, (tmp_path / "spool").iterdir()))
            ended = daemon.terminate(40)
        stored = b"".join(
            path.read_bytes() for path in (tmp_path / "server").rglob("appendonly.aof*") if path.is_file()
        )
    assert ended.code == 0, ended.err
    outputs: dict[str, str | bytes] = {"out": ended.out, "err": ended.err, "ps": seen_by_ps, "away": away, **pages}
    outputs |= {"spool": spooled, "names": names}
    assert {name: leaks(text) for name, text in outputs.items() if leaks(text)} == {}
    # Redis's own file has what was sent to it: the events, not the login.
    assert leaks(stored) == []
    assert b"camera.down" in stored
    assert all(json.loads(line) for line in ended.err.splitlines() if line.startswith("{"))


def test_check_keeps_every_password(tmp_path: Path, models: Path, clip: Path, server: UnguardedRedis) -> None:
    for name, line in (
        ("works", f"redis: {{url: '{server.url}', password: '{SECRETS['redis that works']}'}}"),
        ("refuses", f"redis: {{url: 'redis://:{SECRETS['redis that refuses']}@127.0.0.1:{server.port}/0'}}"),
    ):
        ended = call("check", "--cameras", write(tmp_path, clip, line, None), models=models, home=tmp_path)
        assert ended.code in (1, 4), ended.err
        assert leaks(ended.out + ended.err) == [], name


@pytest.mark.parametrize(
    "line",
    [
        f"redis: {{url: 'redis://me:{SECRETS['redis that is away']}@127.0.0.1:1/0'}}",
        f"redis: {{url: 'rediss://127.0.0.1:1/0', username: me, password: '{SECRETS['redis that is away']}'}}",
        f"redis: {{url: 'redis+sentinel://127.0.0.1:1/name', sentinel_password: {SECRETS['sentinel']}, "
        f"password: '{SECRETS['redis that is away']}'}}",
        f"redis: {{url: 'redis://:{SECRETS['redis that is away']}@127.0.0.1:99999/0'}}",
        f"redis: {{url: 'redis://127.0.0.1:1/0', pasword: '{SECRETS['redis that is away']}'}}",
        f"redis: {{url: 'redis://127.0.0.1:1/0', password: ['{SECRETS['redis that is away']}']}}",
    ],
)
def test_a_daemon_that_cannot_start_keeps_every_password(tmp_path: Path, models: Path, clip: Path, line: str) -> None:
    ended = call("--cameras", write(tmp_path, clip, line, None), models=models, home=tmp_path)
    assert ended.code in (2, 4), ended.err
    assert ended.is_plain
    assert leaks(ended.out + ended.err) == []


def test_ps_shows_no_password_given_on_the_command_line(tmp_path: Path, server: UnguardedRedis) -> None:
    url = f"redis://:{quote(SECRETS['redis that works'], safe='')}@127.0.0.1:{server.port}/0"
    with running("events", "--url", url, "--site", "lab", "--follow", models=tmp_path, home=tmp_path) as reader:
        reader.until(lambda: b"***@127.0.0.1" in shown_by_ps(reader.process.pid))
        assert leaks(shown_by_ps(reader.process.pid)) == []


def test_settings_show_no_password(tmp_path: Path, clip: Path) -> None:
    line = f"redis: {{url: 'redis://:{SECRETS['redis that is away']}@127.0.0.1:1/0', username: me}}"
    settings = cams_yaml.load(write(tmp_path, clip, line, None))
    shown = settings.model_dump_json() + repr(settings) + str(settings) + repr(settings.model_dump())
    assert leaks(shown) == []


def test_an_unexpected_error_shows_no_password_either(tmp_path: Path, clip: Path) -> None:
    cams = write(tmp_path, clip, f"redis: {{url: 'redis://:{SECRETS['redis that is away']}@127.0.0.1:1/0'}}", None)
    script = """
import sys, threading
from pathlib import Path
from reid_stream.config import cams_yaml
from reid_stream.observe import logs
settings = cams_yaml.load(Path(sys.argv[1]))
logs.configure(settings.observe); logs.hide(settings); logs.catch()
import structlog
url, word = settings.redis.url.get_secret_value(), settings.cameras[2].password.get_secret_value()
structlog.get_logger().error("reported", url=url, word=word)
try:
    raise RuntimeError(f"logged with {word}")
except RuntimeError:
    structlog.get_logger().exception("caught")
def burst(): raise RuntimeError(f"on a thread: {url} {word}")
thread = threading.Thread(target=burst); thread.start(); thread.join()
raise RuntimeError(f"at the top: {url} {word}")
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(cams)], capture_output=True, text=True, check=False, env=os.environ
    )
    assert done.returncode == 1
    assert all(words in done.stderr for words in ("reported", "logged with ***", "on a thread", "at the top"))
    assert leaks(done.stderr + done.stdout) == []


def test_short_passwords_go_with_the_url_and_spare_other_words() -> None:
    settings = Settings.model_validate(
        {"cameras": [{"id": "a", "url": "rtsp://u:abc@h/s"}], "redis": {"url": "redis://:longer-one@h/0"}}
    )
    logs.hide(settings)
    try:
        assert logs.scrub("abcdef at rtsp://u:abc@h/s") == "abcdef at rtsp://***@h/s"
        assert logs.scrub("a longer-one here") == "a *** here"
    finally:
        logs._hidden.clear()
