"""Measure the links between perception and identification: ZeroMQ between processes, Redis Streams between hosts.

A sender in a process of its own, this process as the receiver, and for Redis a server that syncs once a second; rounds
of both links alternate, so that both have the same machine. At full speed first, then at a steady rate for the latency.
"""

import multiprocessing
import os
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from benchmarks.faults.unguarded_redis import UnguardedRedis
from reid_stream.bench.procfs import cpu_s
from reid_stream.config.settings import Redis
from reid_stream.console.output import Output
from reid_stream.link.protocol import Receiver, Sender
from reid_stream.link.redis_receiver import RedisReceiver
from reid_stream.link.redis_sender import RedisSender
from reid_stream.link.zmq import ZmqReceiver, ZmqSender
from reid_stream.publish.redis_client import connect
from reid_stream.records import CameraId, Observation, Perceived, TrackId, encode

BATCH = 40
"""Observations of a batch: 8 frames with 5 people each."""
_CAMERAS = 200
_EMBEDDED = 5
"""One of so many observations has a vector, of 512 dimensions: once a second at 5 frames/s."""
_SITE = "bench"


class LinkFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Figures of one link, over all its rounds."""

    link: str
    observations_per_s: float
    cpu_ms_per_1000: float
    """CPU time of sender, receiver and Redis for 1,000 observations at full speed."""
    bytes_each: float
    """Of an observation as it is encoded."""
    p50_ms: float
    p99_ms: float
    """From sending to receiving, at the steady rate."""


class _Link:
    """A receiver in this process, and where a sender finds it."""

    def __init__(self, opened: ExitStack, kind: str, folder: Path) -> None:
        self.kind, self.where, self.server_pid = kind, str(folder / "socket"), 0
        self.receiver: Receiver
        if kind == "ZeroMQ":
            self.receiver = ZmqReceiver(Path(self.where))
        else:
            server = UnguardedRedis(folder / "redis", is_durable=False)
            opened.callback(server.stop)
            self.where, self.server_pid = server.url, server.pid
            self.receiver = RedisReceiver(connect(Redis(), url=server.url), _SITE)
        opened.callback(self.receiver.close)
        self.came, self.took_s, self.cpu_s = 0, 0.0, 0.0
        self.latencies: list[float] = []


def measure(seconds: float, rounds: int) -> list[LinkFigures]:
    """Measure both links; `seconds` for each part of each round."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="reid-stream-links-") as name, ExitStack() as opened:
        links = [_Link(opened, kind, Path(name)) for kind in ("ZeroMQ", "Redis")]
        for _ in range(rounds):
            for link in links:
                for every_s in (0.0, 0.02):
                    child = context.Process(target=_send, args=(link.kind, link.where, seconds, every_s))
                    child.start()
                    assert child.pid is not None
                    _receive(link, child.pid, seconds, is_steady=every_s > 0)
                    child.join()
    size = sum(len(encode(record)) for record in _batch(0, 0.0)) / BATCH
    return [_figures(link, size) for link in links]


def show(found: list[LinkFigures]) -> None:
    """Print the figures."""
    out = Output()
    for one in found:
        out.say(
            f"{one.link}: {one.observations_per_s:,.0f} observations/s, {one.cpu_ms_per_1000:.0f} ms of CPU time for "
            f"1,000, {one.bytes_each:.0f} bytes each, {1000 * BATCH / 20:,.0f} a second: p50 {one.p50_ms:.1f} ms, "
            f"p99 {one.p99_ms:.1f} ms"
        )
    zmq, redis = found
    out.say(f"Redis carries {redis.observations_per_s / zmq.observations_per_s:.2f} of what ZeroMQ does")


def _figures(link: _Link, size: float) -> LinkFigures:
    p50, p99 = np.percentile(link.latencies, [50, 99])
    return LinkFigures(
        link=link.kind,
        observations_per_s=link.came / link.took_s,
        cpu_ms_per_1000=link.cpu_s / link.came * 1e6,
        bytes_each=size,
        p50_ms=float(p50) * 1000,
        p99_ms=float(p99) * 1000,
    )


def _receive(link: _Link, sender: int, seconds: float, *, is_steady: bool) -> None:
    pids = [os.getpid(), sender, *([link.server_pid] if link.server_pid else [])]
    began, cpu_at_start_s, came = 0.0, 0.0, 0
    until = time.monotonic() + 60
    while time.monotonic() < until:
        records = link.receiver.receive(1.0)
        now = time.time()
        link.receiver.acknowledge()
        if not records and began:
            break
        if records and not began:  # imports and the connection are over
            began, until = time.monotonic(), time.monotonic() + seconds
            cpu_at_start_s = sum(map(cpu_s, pids))
        elif records:
            came += len(records)
        if is_steady:
            link.latencies += [now - record.seen_at for record in records[::BATCH]]
    if not is_steady:
        link.came += came
        link.took_s += time.monotonic() - began
        link.cpu_s += sum(map(cpu_s, pids)) - cpu_at_start_s
    while link.receiver.receive(0.5):
        link.receiver.acknowledge()


def _send(kind: str, where: str, seconds: float, every_s: float) -> None:
    sender: Sender = (
        ZmqSender(Path(where)) if kind == "ZeroMQ" else RedisSender(connect(Redis(), url=where), _SITE, "bench")
    )
    until, number, run = time.monotonic() + seconds + 0.5, 0, os.urandom(4).hex()
    while time.monotonic() < until:
        sender.send(_batch(number, time.time(), run))
        number += 1
        time.sleep(every_s)
    sender.close()


def _batch(number: int, at: float, run: str = "run") -> list[Perceived]:
    first: dict[str, Any] = {"run": run, "clock": "arrival", "frame_size": (1920, 1080), "score": 0.87}
    return [
        Observation(
            **first,
            camera=CameraId(f"camera-{(number + index // 5) % _CAMERAS}"),
            track=TrackId(index),
            sequence=number * BATCH + index,
            seen_at=at,
            box=(101.25, 202.5, 181.75, 404.5),
            quality=0.5 if index % _EMBEDDED == 0 else 0.0,
            vector=b"\x12\x34" * 512 if index % _EMBEDDED == 0 else None,
            model="0" * 64,
        )
        for index in range(BATCH)
    ]
