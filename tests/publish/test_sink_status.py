"""Waits between attempts to send follow the common retry policy."""

import time
from collections import Counter

from reid_stream.publish.sink_status import RETRY_FIRST_S, RETRY_MAX_S, Outage


def test_waits_grow_to_the_bound_and_reset_once_redis_has_served_for_longer() -> None:
    outage = Outage(Counter())
    waits = [outage.next_wait_s() for _ in range(12)]
    assert RETRY_FIRST_S / 2 <= waits[0] <= RETRY_FIRST_S
    assert all(RETRY_MAX_S / 2 <= wait <= RETRY_MAX_S for wait in waits[5:])
    again = Outage(Counter())
    assert again.next_wait_s() <= RETRY_FIRST_S
    again.end(waiting=0)
    time.sleep(2.5 * RETRY_FIRST_S)
    assert again.next_wait_s() <= RETRY_FIRST_S
    again.end(waiting=0)
    assert again.next_wait_s() >= RETRY_FIRST_S, "it served for less than twice the wait before"
