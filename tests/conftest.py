"""What every test begins with."""

from collections.abc import Iterator

import pytest
import structlog


@pytest.fixture(autouse=True)
def log_as_ever() -> Iterator[None]:
    """A command that a test ran in this process has set its own level: the next test's lines must not be lost by it."""
    structlog.reset_defaults()
    yield
    structlog.reset_defaults()
