"""One shop without log-in, shared by tests that change nothing."""

from collections.abc import Iterator

import pytest

from tests.web.site import Shop, shop


@pytest.fixture(scope="session")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with shop(tmp_path_factory.mktemp("web")) as made:
        yield made
