"""Detection overlaps with tracking of the batch before; nothing is lost, delayed or out of order."""

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pytest

from reid_stream.pipeline import NO_ONE, PerceiveCounts
from reid_stream.records import CameraId, Detections, Frame, Perceived, TrackEnded, TrackId
from reid_stream.runtime.prefetch import DetectionPrefetch
from reid_stream.runtime.watchdog import Pulse
from tests.builders import frame


@dataclass
class Half:
    """Notes what happens when; `finish` waits for `gate` where one is set."""

    log: list[str] = field(default_factory=list)
    gate: threading.Event | None = None
    detected: threading.Event = field(default_factory=threading.Event)
    fails_at: float | None = None
    quiet: frozenset[float] = frozenset()
    """Times of frames that the detector need not see."""
    model: str = "model"
    counts: PerceiveCounts = field(default_factory=PerceiveCounts)

    def choose(self, frames: Sequence[Frame], /) -> list[Frame | None]:
        return [None if frame.captured_at in self.quiet else frame for frame in frames]

    def detect(self, frames: Sequence[Frame], /) -> list[Detections]:
        at = frames[0].captured_at
        if at == self.fails_at:
            raise ValueError(f"no people at {at}")
        self.log.append(f"detect {at:g}")
        self.detected.set()
        return [NO_ONE for _ in frames]

    def finish(self, frames: Sequence[Frame], found: Sequence[Detections | None]) -> list[Perceived]:
        assert len(found) == len(frames)
        if self.gate is not None:
            assert self.gate.wait(10)
        at = frames[0].captured_at
        self.log.append(f"finish {at:g}")
        return [TrackEnded(run="r", camera=CameraId("door"), track=TrackId(1), sequence=int(at), seen_at=at)]


class Queue:
    """Frames that wait; ends, or stays empty, after them."""

    def __init__(self, *times: float, ends: bool) -> None:
        self._times, self._ends = list(times), ends

    def __call__(self, timeout_s: float) -> list[Frame] | None:
        if self._times:
            return [frame(CameraId("door"), self._times.pop(0))]
        return None if self._ends else []


@pytest.fixture
def half() -> Half:
    return Half()


@pytest.fixture
def ahead(half: Half) -> Iterator[DetectionPrefetch]:
    made = DetectionPrefetch(half, Pulse())
    yield made
    made.close()


def test_all_batches_come_out_whole_and_in_order(ahead: DetectionPrefetch) -> None:
    take, seen = Queue(1, 2, 3, 4, ends=True), []
    while not (done := ahead.advance(take, 0.0)).is_over:
        seen += [record.seen_at for record in done.records]
    assert [*seen, *(record.seen_at for record in done.records)] == [1, 2, 3, 4]


def test_the_next_batch_is_looked_at_while_one_is_finished(half: Half, ahead: DetectionPrefetch) -> None:
    take = Queue(1, 2, ends=False)
    ahead.advance(take, 0.0)
    assert half.detected.wait(10)
    half.detected.clear()
    half.gate = half.detected  # the first is not finished before the second was looked at
    assert [record.seen_at for record in ahead.advance(take, 0.0).records] == [1]
    assert half.log == ["detect 1", "detect 2", "finish 1"]


def test_a_batch_does_not_wait_for_the_next_one(half: Half, ahead: DetectionPrefetch) -> None:
    take = Queue(1, ends=False)
    assert not ahead.advance(take, 0.0).records
    assert [record.seen_at for record in ahead.advance(take, 10.0).records] == [1]
    assert ahead.in_hand == 0
    assert not ahead.finish().frames


def test_an_error_of_detection_comes_out_where_it_is_waited_for(half: Half, ahead: DetectionPrefetch) -> None:
    half.fails_at = 2
    take = Queue(1, 2, ends=True)
    ahead.advance(take, 0.0)
    assert [record.seen_at for record in ahead.advance(take, 0.0).records] == [1]
    with pytest.raises(ValueError, match="no people at 2"):
        ahead.advance(take, 0.0)


def test_what_was_taken_is_finished_at_the_end(ahead: DetectionPrefetch) -> None:
    ahead.advance(Queue(1, ends=False), 0.0)
    assert [record.seen_at for record in ahead.finish().records] == [1]
    assert not ahead.finish().records


def test_a_pulse_covers_every_thread_and_counts_what_all_of_them_lose() -> None:
    now = 0.0
    pulse = Pulse(clock=lambda: now)
    hangs, began = threading.Event(), threading.Event()

    def hang() -> None:
        began.set()
        hangs.wait(10)

    def other() -> None:
        with pulse.busy("perceive", ["door"]):
            pulse.watched("detect", hang)()

    thread = threading.Thread(target=other)
    thread.start()
    assert began.wait(10)
    now = 2.0
    with pulse.busy("perceive", ["till"]):
        pulse.watched("track", lambda: None)()
        stuck = pulse.stuck(1.0)
    assert stuck is not None
    assert (stuck.stage, stuck.after_s, sorted(stuck.cameras)) == ("detect", 2.0, ["door", "till"])
    hangs.set()
    thread.join()
    assert pulse.stuck(0.0) is None


class Gated(Half):
    """Detection of a batch waits until it is let through."""

    def __init__(self) -> None:
        super().__init__()
        self.through = {at: threading.Event() for at in range(1, 5)}
        self.began = {at: threading.Event() for at in range(1, 5)}

    def detect(self, frames: Sequence[Frame], /) -> list[Detections]:
        at = int(frames[0].captured_at)
        self.log.append(f"begin {at}")
        self.began[at].set()
        assert self.through[at].wait(10)
        self.log.append(f"end {at}")
        return [NO_ONE for _ in frames]


class Batches:
    """Batches of several frames, then the end."""

    def __init__(self, *times: float, size: int) -> None:
        self._left = [[frame(CameraId(f"cam{n}"), at) for n in range(size)] for at in times]

    def __call__(self, timeout_s: float) -> list[Frame] | None:
        return self._left.pop(0) if self._left else None


def test_files_keep_two_batches_with_a_detector_that_has_lanes() -> None:
    half = Gated()
    ahead, take = DetectionPrefetch(half, Pulse(), lanes=lambda: 2, is_eager=True), Batches(1, 2, 3, size=2)
    assert not ahead.advance(take, 0.0).records
    assert half.began[2].wait(10)  # though the first is not through
    half.through[2].set()
    half.through[1].set()
    assert [record.seen_at for record in ahead.advance(take, 0.0).records] == [1]
    assert ahead.in_hand == 2
    half.through[3].set()
    last = [ahead.advance(take, 0.0) for _ in range(2)]
    assert [[record.seen_at for record in done.records] for done in last] == [[2], [3]]
    assert [done.is_over for done in last] == [False, True]
    ahead.close()


def test_the_next_batch_of_live_cameras_is_taken_when_a_lane_is_about_to_idle() -> None:
    half = Gated()
    ahead, take = DetectionPrefetch(half, Pulse(), lanes=lambda: 2), Batches(1, 2, size=2)
    assert not ahead.advance(take, 0.0).records
    assert not half.began[2].is_set()
    passed: list[float] = []
    # Both images run, so the next may come: it starts before the first is done.
    thread = threading.Thread(
        target=lambda: passed.extend(record.seen_at for record in ahead.advance(take, 0.0).records)
    )
    thread.start()
    assert half.began[2].wait(10)
    half.through[1].set()
    thread.join(10)
    assert passed == [1]
    half.through[2].set()
    done = ahead.advance(take, 0.0)
    assert ([record.seen_at for record in done.records], done.is_over) == ([2], True)
    ahead.close()


@pytest.mark.slow
def test_frames_are_not_left_to_grow_old_behind_a_long_batch() -> None:
    lanes, ended, taken = threading.Lock(), list[float](), list[float]()

    class Slow(Half):
        def detect(self, frames: Sequence[Frame], /) -> list[Detections]:
            with lanes:
                time.sleep(0.15 * len(frames))
            ended.append(time.monotonic())
            return super().detect(frames)

    batches = Batches(1, 2, 3, size=6)

    def take(timeout_s: float) -> list[Frame] | None:
        taken.append(time.monotonic())
        return batches(timeout_s)

    ahead = DetectionPrefetch(Slow(), Pulse(), lanes=lambda: 2)
    ahead.advance(take, 0.0)
    ahead.advance(take, 0.0)  # how long a picture takes is known now, and the second batch is under way
    assert [record.seen_at for record in ahead.advance(take, 0.0).records] == [2]
    # Six pictures of 0.15 s, two lanes: the third batch is taken when two are left, not at once.
    assert taken[2] - ended[0] > 0.4
    ahead.finish()
    ahead.close()


def test_a_lone_image_has_all_cores_to_itself() -> None:
    half = Gated()
    ahead, take = DetectionPrefetch(half, Pulse(), lanes=lambda: 2), Batches(1, 2, size=1)
    ahead.advance(take, 0.0)
    threading.Timer(0.2, half.through[1].set).start()
    half.through[2].set()
    assert [record.seen_at for record in ahead.advance(take, 0.0).records] == [1]
    assert half.began[2].wait(10)
    assert half.log[:2] == ["begin 1", "end 1"]
    ahead.close()


def test_what_waits_behind_a_batch_that_hangs_is_reported_as_lost_with_it() -> None:
    half, now = Gated(), [0.0]
    pulse = Pulse(clock=lambda: now[0])
    ahead = DetectionPrefetch(half, pulse, lanes=lambda: 2, is_eager=True)
    ahead.advance(Batches(1, 2, size=2), 0.0)
    half.through[2].set()
    assert half.began[1].wait(10)
    assert half.began[2].wait(10)
    now[0] = 11.0
    stuck = pulse.abandon(10.0)
    assert stuck is not None
    assert stuck.cameras == ("cam0", "cam1") * 2
    half.through[1].set()
    ahead.close()


def test_a_quiet_frame_is_finished_in_its_turn_without_a_call_of_the_detector() -> None:
    half = Half(quiet=frozenset({2.0, 3.0}))
    ahead = DetectionPrefetch(half, Pulse())
    queue = Queue(1.0, 2.0, 3.0, 4.0, ends=True)
    records = []
    while not (done := ahead.advance(queue, 0.1)).is_over:
        records += done.records
    records += done.records
    while ahead.in_hand:
        records += ahead.finish().records
    ahead.close()
    assert [record.seen_at for record in records] == [1.0, 2.0, 3.0, 4.0]
    assert [line for line in half.log if line.startswith("detect")] == ["detect 1", "detect 4"]
