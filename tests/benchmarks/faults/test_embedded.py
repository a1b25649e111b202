"""A slice of the drill of the embedded Redis, on the whole daemon as a process."""

from pathlib import Path

import pytest

from benchmarks.faults.embedded import run
from benchmarks.faults.report import faults
from tests.integration.program import environment, tiny_models


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_killed_embedded_redis_is_back_with_every_event(tmp_path: Path) -> None:
    models = tiny_models(tmp_path / "models")
    findings = run(is_short=True, environment=environment(models, tmp_path))
    assert len(findings) > 5
    assert not faults(findings)
