"""A slice of the recovery benchmark: every figure is measured."""

import pytest

from benchmarks.speed.recovery import measure, show
from reid_stream.bundles import catalog


@pytest.mark.slow
def test_a_small_gallery_is_written_down_and_gone_on_from(capsys: pytest.CaptureFixture[str]) -> None:
    found = measure(catalog.embedder("default")[1], [50], 2, print)
    (size,) = found.sizes
    assert (size.people, size.views) == (50, 8)
    assert size.entries > 100  # a minute at two cameras
    assert size.snapshot_mb > 50 * 8 * 512 * 2 / 1e6  # vectors of 512 float16, and what is known beside them
    assert 0 < size.restored_s <= size.recovery_s
    assert 0 < size.stall_ms < size.write_s * 1e3 + 100
    assert found.price.bytes_per_s > 100
    assert found.price.with_ms > 0
    show(found)
    assert "with the journal" in capsys.readouterr().out
