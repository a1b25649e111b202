"""`reid-stream bench pipeline --find-max` finds the most cameras that are held, in few tries."""

import pytest

from reid_stream.bench.live import LiveLoad, find_max


def load(cameras: int, *, is_held: bool) -> LiveLoad:
    return LiveLoad(
        cameras=cameras, fps=10, used=1, p50_ms=1, p95_ms=1, p99_ms=1, cores=1, memory_mb=1, is_held=is_held
    )


@pytest.mark.parametrize("most", [0, 1, 3, 4, 7, 8, 9, 31])
def test_the_most_that_is_held_and_one_more_are_tried(most: int) -> None:
    tried = find_max(lambda cameras: load(cameras, is_held=cameras <= most), most=32)
    numbers = [one.cameras for one in tried]
    assert max((one.cameras for one in tried if one.is_held), default=0) == most
    assert most + 1 in numbers
    assert len(numbers) == len(set(numbers)) <= 9


def test_it_ends_where_it_was_told_to() -> None:
    tried = find_max(lambda cameras: load(cameras, is_held=True), first=4, most=6)
    assert [one.cameras for one in tried] == [4, 5, 6]
