"""One open shop for all tests that change nothing others look at."""

from collections.abc import Iterator

import pytest

from tests.web.site import Shop, shop


@pytest.fixture(scope="session")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with shop(tmp_path_factory.mktemp("web")) as made:
        yield made
