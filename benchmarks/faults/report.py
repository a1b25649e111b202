"""Findings of a drill beside their bounds: a table for people, JSON for programs."""

from collections.abc import Sequence
from pathlib import Path

import msgspec


class DrillResult(msgspec.Struct, frozen=True):
    """One line of the table."""

    drill: str
    """Such as `reconnect`."""
    what: str
    """What was measured."""
    found: str
    """The figure with its unit."""
    bound: str
    """The bound in the same unit; empty for a figure without one."""
    holds: bool
    is_speed: bool = False
    """Whether the bound is one on speed: a machine that runs other work beside the drill may break it."""


def within(
    drill: str, what: str, value: float, most: float, unit: str = "", digits: int = 1, *, is_speed: bool = False
) -> DrillResult:
    """Make a finding that holds while `value` is at most `most`."""
    space = f" {unit}" if unit else ""
    found, bound = f"{value:.{digits}f}{space}", f"<= {most:.{digits}f}{space}"
    return DrillResult(drill, what, found, bound, value <= most, is_speed)


def at_least(drill: str, what: str, value: float, least: float, unit: str = "", digits: int = 1) -> DrillResult:
    """Make a finding that holds while `value` is at least `least`."""
    space = f" {unit}" if unit else ""
    return DrillResult(drill, what, f"{value:.{digits}f}{space}", f">= {least:.{digits}f}{space}", value >= least)


def figure(drill: str, what: str, found: object) -> DrillResult:
    """Make a finding without a bound, for information."""
    return DrillResult(drill, what, str(found), "", holds=True)


def faults(findings: Sequence[DrillResult]) -> list[DrillResult]:
    """Return the findings whose bound on behaviour is broken; bounds on speed are judged where a drill runs alone."""
    return [finding for finding in findings if not finding.holds and not finding.is_speed]


def all_hold(findings: Sequence[DrillResult]) -> bool:
    """Whether every bound was kept; False where nothing was found at all."""
    return bool(findings) and all(finding.holds for finding in findings)


def show(findings: Sequence[DrillResult]) -> None:
    """Print the table."""
    from rich.table import Table
    from rich.text import Text

    from reid_stream.console.output import Output

    table = Table("drill", "", "what", "found", "bound", box=None, header_style="bold")
    before = ""
    for finding in findings:
        mark = Text("pass", "green") if finding.holds else Text("FAIL", "bold red")
        mark = mark if finding.bound else Text()
        name = "" if finding.drill == before else finding.drill
        table.add_row(name, mark, finding.what, finding.found, finding.bound)
        before = finding.drill
    Output().print(table)


def save(findings: Sequence[DrillResult], path: Path) -> None:
    """Write findings as JSON."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(findings), indent=2) + b"\n")
