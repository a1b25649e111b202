"""Log events have stable snake_case names that an alert rule can key on."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}


def log_calls() -> Iterator[tuple[str, str]]:
    """Yield where a message is logged, and its event."""
    for path in sorted((ROOT / "reid_stream").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(
                    func=ast.Attribute(attr=level, value=ast.Name(id=name)), args=[ast.Constant(value=str(event)), *_]
                ) if level in LEVELS and "log" in name:
                    yield f"{path.relative_to(ROOT)}:{node.lineno}", event


def test_every_event_that_is_logged_has_a_snake_case_name() -> None:
    found = list(log_calls())
    assert len(found) > 30
    assert not [(place, event) for place, event in found if not re.fullmatch(r"[a-z]+(_[a-z0-9]+)+", event)]
