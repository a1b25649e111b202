"""Results of the battery by group and half, as a table, as groups of the scorecard and as JSON."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from benchmarks.simulator import battery
from benchmarks.simulator.battery import BatteryFigures, BatteryWorld, Half
from benchmarks.simulator.replay import MatcherSpec
from reid_stream.bundles.bundle import EmbedderBundle
from reid_stream.config.settings import Match

Results = Mapping[Half, Sequence[BatteryFigures]]
"""Figures of every world, by half."""
_LEGEND = (
    "share: of the IDF1 with tracks linked by the truth; tracks: loss by tracks that break, swap or double; "
    "in a camera: IDF1 under global IDs, and under track numbers; false: newcomers taken for a given known person"
)

_WIDTH = 160
"""Width of the table where no terminal sets it, columns."""


def run(
    bundle: EmbedderBundle,
    embedder: str,
    match: Match,
    data: Path,
    cache: Path,
    halves: Sequence[Half] = battery.HALVES,
    threads: int = 0,
    names: Sequence[str] = (),
    lanes: Path | None = None,
) -> Iterator[tuple[Half, BatteryFigures]]:
    """Run worlds of the battery, one after the other; with `names`, those whose names contain one of its words;
    with `lanes`, their swim lanes are drawn to that folder.

    Raises:
        ConfigError, ModelError: see `battery.prepare`.
    """
    matcher_spec = MatcherSpec(match, bundle.verifier, bundle.calibrated)
    for spec in battery.WORLDS:
        if spec.half in halves and (not names or any(word in full_name(spec) for word in names)):
            yield spec.half, battery.run(battery.prepare(spec, data, embedder, cache, threads), matcher_spec, lanes)


def full_name(spec: BatteryWorld) -> str:
    """Return group and name, as in `BatteryFigures.name`."""
    return f"{spec.group}-{spec.name}"


def collected(found: Iterator[tuple[Half, BatteryFigures]]) -> dict[Half, list[BatteryFigures]]:
    """Sort results by half."""
    results: dict[Half, list[BatteryFigures]] = {}
    for half, figures in found:
        results.setdefault(half, []).append(figures)
    return results


def means(results: Results) -> dict[Half, BatteryFigures]:
    """Return the mean over the worlds of each half."""
    return {half: battery.average(half, worlds) for half, worlds in results.items()}


def score_groups(results: Results) -> dict[str, dict[str, float]]:
    """Return the figures of both halves and the distance between them, as groups of the scorecard."""
    groups: dict[str, dict[str, float]] = {}
    for title, value in (
        ("battery IDF1", "idf1"),
        ("battery IDF1 at once", "idf1_at_once"),
        ("battery share of the oracle", "share"),
    ):
        values = {str(half): float(getattr(figures, value)) for half, figures in means(results).items()}
        if len(values) == len(battery.HALVES):
            values["distance"] = values["development"] - values["reported"]
        groups[title] = values
    return groups


def show(results: Results, console: Console) -> None:
    """Print every world, the mean of each group and half, and the distance between the halves."""
    table = Table(box=None, caption=_LEGEND, pad_edge=False)
    for title in ("", "HOTA", "at once", "IDF1", "at once", "AssPr", "AssRe", "oracle", "share", "at once"):
        table.add_column(title, justify="right" if title else "left")
    for title in ("tracks", "corrections", "in a camera", "false"):
        table.add_column(title, justify="right")
    for half, worlds in results.items():
        table.add_row(half, style="bold")
        for figures in worlds:
            table.add_row(f"  {figures.name}", *_cells(figures))
        for group in battery.GROUPS:
            chosen = [figures for figures in worlds if figures.name.startswith(f"{group}-")]
            if chosen:
                table.add_row(f"  mean of {group}", *_cells(battery.average(group, chosen)), style="dim")
        table.add_row("  mean", *_cells(battery.average(half, worlds)), style="bold")
        table.add_section()
    (console if console.is_terminal else Console(width=_WIDTH)).print(table)
    for title, values in score_groups(results).items():
        if "distance" in values:
            console.print(f"{title}: development less reported {values['distance']:+.3f}", highlight=False)


def write(results: Results, file: Path) -> None:
    """Write all figures as JSON."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n")


def _cells(figures: BatteryFigures) -> list[str]:
    values = (
        figures.hota,
        figures.hota_at_once,
        figures.idf1,
        figures.idf1_at_once,
        figures.ass_pr,
        figures.ass_re,
        figures.oracle,
        figures.share,
        figures.share_at_once,
        figures.true_tracks - figures.idf1,
    )
    return [
        *(f"{value:.3f}" for value in values),
        f"{figures.corrections:.2f}",
        f"{figures.single:.3f} {figures.single_tracks:.3f}",
        f"{figures.false_match_rate:.4f}",
    ]
