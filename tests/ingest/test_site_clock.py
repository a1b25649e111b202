"""Site time passes evenly while the system's clock is set forward and back; the shift to UTC follows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reid_stream.ingest.site_clock import SiteClock


class Machine:
    """A machine whose clock can be set."""

    def __init__(self) -> None:
        self.steady_s, self.ahead_s = 1000.0, 1.7e9

    def clock(self, base_s: float | None = None) -> SiteClock:
        return SiteClock(lambda: self.steady_s + self.ahead_s, lambda: self.steady_s, base_s)


@given(st.lists(st.one_of(st.floats(0.11, 1e5), st.floats(-1e5, -0.11)), max_size=20))
def test_site_time_passes_evenly_and_utc_is_always_the_systems(steps: list[float]) -> None:
    machine = Machine()
    clock = machine.clock()
    for step_s in steps:
        before = clock.now()
        machine.steady_s += 1
        machine.ahead_s += step_s
        assert clock.detect_step() == pytest.approx(step_s, abs=1e-3)
        assert clock.detect_step() == 0
        assert clock.now() - before == pytest.approx(1, abs=1e-6)
        assert clock.to_utc(clock.now()) == pytest.approx(machine.steady_s + machine.ahead_s, abs=1e-3)
        assert clock.to_site(clock.to_utc(before)) == pytest.approx(before, abs=1e-5)


def test_slewing_is_no_step() -> None:
    machine = Machine()
    clock = machine.clock()
    machine.ahead_s += 0.05
    assert clock.detect_step() == 0
    assert clock.to_utc(1.0) == 1.0


def test_a_process_that_starts_after_a_step_joins_the_time_base() -> None:
    machine = Machine()
    first = machine.clock()
    machine.ahead_s -= 90
    first.detect_step()
    later = machine.clock(first.base_s)
    assert later.now() == first.now()
    assert later.shift_s() == pytest.approx(first.shift_s(), abs=1e-3)
    assert later.detect_step() == 0
