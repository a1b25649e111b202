"""Messages that no process of ours sends, on the sockets between our processes: dropped, and all others arrive."""

import os
import socket
import stat
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
import numpy as np
import pytest
import zmq

from reid_stream.ingest.scratch_folder import scratch_folder
from reid_stream.link.zmq import MOST_BYTES, ZmqReceiver, ZmqSender, connect
from reid_stream.records import Box, CameraId, Crop, Perceived, TrackEnded, TrackId, encode
from reid_stream.runtime.workers.crops import CropReceiver, CropSender
from tests.link.test_links import drain, record
from tests.publish.test_redis_supervisor import until

GOOD = encode(record(0))
MALFORMED: list[list[bytes]] = [
    [b"\xff" * 100],
    [b"", b""],
    [GOOD, b"x"],
    [GOOD[:-1]],
    [b"\xdd\xff\xff\xff\xff"],  # an array of 4 billion elements
    [b"\x91" * 100_000],  # arrays in arrays
    [GOOD, b"", GOOD],
]


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[ZmqReceiver]:
    made = ZmqReceiver(tmp_path / "link")
    yield made
    made.close()


@contextmanager
def sending(path: Path, messages: Sequence[Sequence[bytes]]) -> Iterator[None]:
    """Send on a thread; the connection stays open while the block runs."""
    hostile = connect(path, 1000)

    def send() -> None:
        for parts in messages:
            assert hostile.poll(20_000, zmq.POLLOUT)
            hostile.send_multipart(parts)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        thread.join()
        hostile.close(linger=0)


def test_malformed_messages_are_dropped_and_counted(receiver: ZmqReceiver, tmp_path: Path) -> None:
    with sending(tmp_path / "link", MALFORMED):
        sender = ZmqSender(tmp_path / "link", close_s=0)
        sender.send([record(1)])
        assert drain(receiver, 1) == [record(1)]
        until(lambda: bool(receiver.receive(0.1)) or receiver.malformed == len(MALFORMED))
        sender.close()


def test_giant_messages_and_other_protocols_end_their_connection_alone(receiver: ZmqReceiver, tmp_path: Path) -> None:
    sender = ZmqSender(tmp_path / "link", close_s=0)
    sender.send([record(0)])
    hostile = connect(tmp_path / "link", 10)
    hostile.send(bytes(MOST_BYTES + 1))
    for sent in (b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 1000, b""):
        with socket.socket(socket.AF_UNIX) as raw:
            raw.connect(str(tmp_path / "link"))
            raw.sendall(sent)
    sender.send([record(1)])
    assert drain(receiver, 2) == [record(0), record(1)]
    assert not receiver.receive(0.5)
    hostile.close(linger=0)
    sender.close()


def test_a_flood_fills_no_memory_and_all_records_arrive(receiver: ZmqReceiver, tmp_path: Path) -> None:
    with sending(tmp_path / "link", [[b"x" * 1000]] * 1000):
        sender = ZmqSender(tmp_path / "link", close_s=0)
        for number in range(50):
            sender.send([record(number)])
        found: list[Perceived] = drain(receiver, 50)
        until(lambda: not receiver.receive(0.1) and receiver.malformed == 1000)
    assert [one.sequence for one in found] == list(range(50))
    sender.close()


def test_malformed_crops_do_not_end_the_store_of_others(tmp_path: Path) -> None:
    taken: list[Crop] = []

    def keep(crops: Sequence[Crop], _ended: Sequence[TrackEnded]) -> None:
        taken.extend(crops)

    receiver = CropReceiver(tmp_path / "crops", keep)
    box: Box = (0.0, 0.0, 4.0, 8.0)
    head = (CameraId("a"), "r", TrackId(1), 1.0, "file", box, 0.5, (8, 4, 3), None, "m")
    bad = [(*head[:7], shape, *head[8:]) for shape in ((2**40, 2**40, 3), (-1, -1, 3), (1, 1, 1))]
    messages = [
        [b"x"],
        [b""],
        [msgspec.msgpack.encode(([head], []))],  # without its image
        [msgspec.msgpack.encode(([], [b"no record"]))],
        *([msgspec.msgpack.encode(([one], [])), bytes(96)] for one in bad),
    ]
    sender = CropSender(tmp_path / "crops")
    crop = Crop(CameraId("a"), "r", TrackId(1), 1.0, "file", box, 0.5, np.ones((8, 4, 3), np.uint8), None, "m")
    with sending(tmp_path / "crops", messages):
        until(lambda: receiver.malformed == 7)
        sender.take([crop], [])
        until(lambda: len(taken) == 1)
    sender.close()
    receiver.close()


def test_the_sockets_lie_in_a_folder_of_our_own() -> None:
    found = scratch_folder().stat()
    assert found.st_uid == os.geteuid()
    assert stat.S_IMODE(found.st_mode) == 0o700
