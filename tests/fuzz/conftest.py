"""A real Redis for the tests that ask for one."""

from tests.publish.conftest import server

__all__ = ["server"]
