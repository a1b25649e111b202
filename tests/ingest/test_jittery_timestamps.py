"""Timestamps that go back and forth cost few frames."""

import random

import pytest

from reid_stream.ingest.clock import StreamClock
from reid_stream.ingest.playback import LivePlayback
from reid_stream.ingest.rate_limit import TOLERANCE, RateCap
from reid_stream.ingest.site_clock import SiteClock
from reid_stream.ingest.stream import DecodedPacket

FPS, FRAMES = 10, 1000


def used(jitter_s: float, max_fps: float) -> float:
    """Return the share of frames used of a camera whose packets come in time and whose timestamps do not."""
    now = 1_000_000_000.0
    chance, site, clock, cap = random.Random(1), SiteClock(lambda: now, lambda: now), StreamClock(), RateCap(max_fps)
    player, number, last = LivePlayback(clock, site), 0, float("-inf")
    for n in range(FRAMES):
        now = 1_000_000_000 + n / FPS
        stream_s = 100 + n / FPS + chance.uniform(-jitter_s, jitter_s)
        player.note_packet(DecodedPacket(stream_s, None, []), 0)
        stamp = player.stamp(stream_s)
        if stamp.at - last >= TOLERANCE / max_fps and cap.wants(player.when(stream_s, stamp), now):
            number, last = number + 1, stamp.at
    return number / FRAMES


@pytest.mark.parametrize(("jitter_s", "share"), [(0.02, 1.0), (0.1, 0.92), (0.15, 0.94), (0.19, 0.94)])
def test_at_the_cameras_own_rate_most_frames_are_used(jitter_s: float, share: float) -> None:
    assert used(jitter_s, FPS) >= share


@pytest.mark.parametrize("jitter_s", [0.02, 0.1, 0.15, 0.19])
def test_below_the_cap_hardly_a_frame_is_left_out(jitter_s: float) -> None:
    assert used(jitter_s, 2.5 * FPS) >= 0.97


@pytest.mark.parametrize("jitter_s", [0.0, 0.1, 0.15])
def test_what_comes_in_time_by_its_arrival_does_not_add_to_the_rate(jitter_s: float) -> None:
    assert used(jitter_s, 0.4 * FPS) <= 0.41
