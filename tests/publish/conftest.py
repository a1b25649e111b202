"""A real Redis for each test that asks for one."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.faults.unguarded_redis import UnguardedRedis


@pytest.fixture
def server(tmp_path: Path) -> Iterator[UnguardedRedis]:
    with UnguardedRedis(tmp_path / "redis") as running:
        yield running
