"""A real Redis for each test that asks for one."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from reid_stream.publish.embedded_redis import EmbeddedRedis


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis(tmp_path / "redis") as running:
        yield running
