"""Setup shared by all tests, and one closing line on what was skipped."""

from collections import Counter
from collections.abc import Iterator

import pytest
import structlog
from _pytest.terminal import TerminalReporter
from hypothesis import settings

settings.register_profile("shared machine", deadline=None)
settings.load_profile("shared machine")

GROUPS = {
    "NVIDIA": ("a GPU", ""),
    "REID_STREAM_DATA": (
        "real data",
        "set REID_STREAM_DATA to a folder with detector/, people/, video/ (docs: contributing)",
    ),
    "GStreamer": (
        "an RTSP server",
        "apt-get install gir1.2-gst-rtsp-server-1.0 python3-gi gstreamer1.0-plugins-{good,bad,ugly}",
    ),
    "mosquitto": ("an MQTT broker", "apt-get install mosquitto"),
    "redis": ("redis-server with TLS", "apt-get install redis-server openssl"),
    "extra": ("an extra", "make setup"),
    "tensorrt_rtx": ("TensorRT-RTX", "make setup on Linux x86_64"),
    "nncf": ("int8 quantisation", "make setup with Python 3.11"),
    "unshare": ("user namespaces", ""),
}
"""Part of a skip's reason -> what is missing, and the command that brings it (empty: nothing does here)."""


SLOW = (
    "tests/integration/",
    "tests/benchmarks/faults/",
    "tests/benchmarks/commands/test_accuracy.py",
    "tests/runtime/workers/",
)
"""Tests of whole daemons and drills; others are marked one by one."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what starts whole daemons as slow."""
    for item in items:
        if item.nodeid.startswith(SLOW):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(autouse=True)
def default_logs() -> Iterator[None]:
    """Restore the log configuration: a command run in this process may have changed its level."""
    structlog.reset_defaults()
    yield
    structlog.reset_defaults()


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """Say in one line which groups of tests were skipped, and how to run them."""
    groups: Counter[tuple[str, str]] = Counter()
    for report in terminalreporter.stats.get("skipped", []):
        reason = str(report.longrepr[2]) if isinstance(report.longrepr, tuple) else str(report.longrepr)
        groups[next((group for key, group in GROUPS.items() if key in reason), ("other parts", ""))] += 1
    if groups:
        summary = "; ".join(
            f"{count} need {what}" + (f" ({how})" if how else "") for (what, how), count in groups.items()
        )
        terminalreporter.write_line(f"skipped: {summary}")
