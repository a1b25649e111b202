"""Fixtures of the integration tests."""

from pathlib import Path

import pytest

from tests.integration.program import tiny_models


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models(tmp_path_factory.mktemp("models"))
