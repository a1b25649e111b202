"""The newest frame of each camera wins; replaced ones are counted; no call blocks for ever."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from reid_stream.images import Detail, Unread
from reid_stream.ingest.inbox import Inbox
from reid_stream.records import CameraId, Frame


def frame(camera: str, n: int) -> Frame:
    return Frame(CameraId(camera), n, 1000.0 + n, "file", np.zeros((2, 2, 3), np.uint8))


@given(st.lists(st.one_of(st.none(), st.sampled_from("abc")), max_size=60))
def test_every_frame_is_taken_or_counted_and_only_the_newest_is_taken(steps: list[str | None]) -> None:
    inbox, put, taken, newest = Inbox(), 0, 0, dict[str, int]()
    for n, step in enumerate(steps):
        if step is not None:
            inbox.put(frame(step, n))
            put, newest[step] = put + 1, n
        else:
            frames = inbox.take_frames(0)
            assert {f.camera: f.sequence for f in frames} == newest
            taken, newest = taken + len(frames), {}
    assert put == taken + len(inbox) + sum(inbox.dropped.values())


def test_a_larger_image_outlives_the_frame_that_it_came_with() -> None:
    inbox, detail = Inbox(), Detail(1000.2, np.zeros((4, 4, 3), np.uint8))
    inbox.put(replace(frame("a", 0), detail=detail))
    inbox.put(frame("a", 1))
    (taken,) = inbox.take_frames(0)
    assert (taken.sequence, taken.detail) == (1, detail)
    inbox.put(replace(frame("a", 2), detail=detail))
    inbox.put(replace(frame("a", 3), image=Unread(2, 2)))  # a quiet image: there is no one to cut out
    assert [one.detail for one in inbox.take_frames(0)] == [None]


def test_frames_come_out_in_order_of_capture() -> None:
    inbox = Inbox()
    for camera, n in (("a", 3), ("b", 1), ("c", 2)):
        inbox.put(frame(camera, n))
    assert [f.camera for f in inbox.take_frames(0)] == ["b", "c", "a"]


def test_a_frame_wakes_the_taker() -> None:
    inbox = Inbox()
    with ThreadPoolExecutor() as pool:
        taking = pool.submit(inbox.take_frames, 30)
        inbox.put(frame("a", 0))
        assert [f.camera for f in taking.result(timeout=10)] == ["a"]


def test_taking_from_an_empty_inbox_gives_nothing_after_the_wait() -> None:
    began = time.monotonic()
    assert Inbox().take_frames(0.05) == []
    assert time.monotonic() - began >= 0.04


def test_closing_wakes_the_taker_and_refuses_what_comes_later() -> None:
    inbox = Inbox()
    with ThreadPoolExecutor() as pool:
        taking = pool.submit(inbox.take_frames, 30)
        inbox.close()
        assert taking.result(timeout=10) == []
    inbox.put(frame("a", 0))
    assert len(inbox) == 0


def test_many_cameras_at_once_lose_no_count() -> None:
    inbox, taken, done = Inbox(), [0], threading.Event()

    def fill(camera: str) -> None:
        for n in range(500):
            inbox.put(frame(camera, n))

    def empty() -> None:
        while not done.is_set() or len(inbox):
            taken[0] += len(inbox.take_frames(0.01))

    taker = threading.Thread(target=empty)
    taker.start()
    with ThreadPoolExecutor() as pool:
        list(pool.map(fill, "abcd"))
    done.set()
    taker.join(timeout=10)
    assert taken[0] + sum(inbox.dropped.values()) == 2000
