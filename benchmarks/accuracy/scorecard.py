"""Scorecard of a commit and its differences from the last one kept (pure but for files).

group ─▶ name ─▶ value    retrieval, calibration, single-camera HOTA, cross-camera IDF1, its share of the oracle,
                          share of the speed ceiling
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
from rich.table import Table

from benchmarks.accuracy.compare import OURS, Comparison

RETRIEVAL = "retrieval"
CALIBRATION = "calibration"
SINGLE = "single-camera HOTA"
ACROSS = "cross-camera IDF1"
SHARE = "share of the oracle"
SPEED = "share of the speed ceiling"
LOWER_IS_BETTER = {CALIBRATION}
MEAN = "mean"

_METRIC = re.compile(r"(?P<data>[^.]+)\.(?P<ranking>verification|cosine)\.(?P<figure>rank1|mAP)")
_ECE = re.compile(r"(?P<data>[^.]+)\.ECE@1:1")
_SAME = 5e-4
"""Differences below are not shown: figures have three digits."""

Groups = dict[str, dict[str, float]]


class ScoreCard(msgspec.Struct, frozen=True, kw_only=True):
    """One score, as kept."""

    schema: Literal[2] = 2
    commit: str
    at: float
    """UTC seconds."""
    embedder: str
    """Hash of its bundle."""
    detector: str
    """Hash of its bundle."""
    figures: Groups
    compared: dict[str, Comparison]
    """All ways of linking, ours among them, by set with several cameras."""


class EarlierCard(msgspec.Struct, frozen=True, kw_only=True):
    """The part of an earlier score that is compared."""

    schema: Literal[2]
    commit: str
    at: float
    figures: Groups


def of_embedder(metrics: Mapping[str, float]) -> Groups:
    """Return retrieval and calibration as the bundle's card states them: measured at export, on persons held out.

    Rank-1 and mAP are those of the verification head where the bundle has them, else those of the cosine.
    """
    retrieval: dict[str, float] = {}
    for ranking in ("cosine", "verification"):
        for key, value in sorted(metrics.items()):
            found = _METRIC.fullmatch(key)
            if found and found["ranking"] == ranking:
                retrieval[f"{found['data']} {'Rank-1' if found['figure'] == 'rank1' else 'mAP'}"] = value
    errors = {f"{found['data']} ECE": value for key, value in metrics.items() if (found := _ECE.fullmatch(key))}
    return {RETRIEVAL: dict(sorted(retrieval.items())), CALIBRATION: errors}


def of_sets(single: Mapping[str, float], compared: Mapping[str, Comparison]) -> Groups:
    """Return the figures of sets and their means.

    Args:
        single: by set, HOTA of each camera by itself, the mean of its cameras.
        compared: by set of several cameras.
    """
    groups = {
        SINGLE: dict(single),
        ACROSS: {name: each.row(OURS).score.idf1 for name, each in compared.items()},
        SHARE: {name: each.share_of_oracle for name, each in compared.items()},
    }
    return {
        group: {MEAN: float(np.mean(list(values.values()))), **values} for group, values in groups.items() if values
    }


def latest(folder: Path) -> EarlierCard | None:
    """Return the newest score in a folder; other files are ignored."""
    found: list[EarlierCard] = []
    for file in folder.glob("*.json"):
        try:
            found.append(msgspec.json.decode(file.read_bytes(), type=EarlierCard))
        except msgspec.DecodeError:
            continue
    return max(found, key=lambda kept: kept.at, default=None)


def keep(card: ScoreCard, folder: Path) -> Path:
    """Write a score, by its commit."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{card.commit}.json"
    file.write_bytes(msgspec.json.format(msgspec.json.encode(card), indent=2) + b"\n")
    return file


def table(figures: Groups, before: EarlierCard | None) -> Table:
    """Draw the figures, beside those of an earlier score."""
    drawn = Table("", "", box=None, header_style="bold", pad_edge=False)
    drawn.add_column("now", justify="right")
    if before is not None:
        drawn.add_column(before.commit, justify="right")
        drawn.add_column("change", justify="right")
    for group, values in figures.items():
        for place, (name, value) in enumerate(values.items()):
            cells = [group if place == 0 else "", name, f"{value:.3f}"]
            if before is not None:
                then = before.figures.get(group, {})
                # A mean over other sets is not comparable.
                earlier = then.get(name) if name != MEAN or then.keys() == values.keys() else None
                cells += ["", ""] if earlier is None else [f"{earlier:.3f}", _change(group, value - earlier)]
            drawn.add_row(*cells, style="bold" if name == MEAN else None)
    return drawn


def _change(group: str, by: float) -> str:
    if abs(by) < _SAME:
        return ""
    is_better = (by > 0) != (group in LOWER_IS_BETTER)
    return f"[{'green' if is_better else 'red'}]{by:+.3f}[/]"
