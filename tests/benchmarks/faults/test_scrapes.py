"""A slice of the drill of /metrics, on the whole daemon as a process."""

from pathlib import Path

import pytest

from benchmarks.faults.report import faults
from benchmarks.faults.scrapes import run
from tests.integration.program import environment, tiny_models


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_idle_and_broken_clients_hold_up_neither_health_checks_nor_the_end(tmp_path: Path) -> None:
    models = tiny_models(tmp_path / "models")
    findings = run(is_short=True, environment=environment(models, tmp_path))
    assert len(findings) > 5
    assert not faults(findings)
