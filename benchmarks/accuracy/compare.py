"""Compare our linking with baselines and the oracle on the tracks and vectors of a recording.

Recording ─▶ rows of figures: ours, (a) unlinked, (b) plain cosine online, (c) average linkage offline, oracle
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from benchmarks.accuracy import baselines
from benchmarks.accuracy.tracks import Links, tracks_of
from reid_stream.config.settings import Match
from reid_stream.evaluation.align import Boxes
from reid_stream.evaluation.recording import Recording, replay
from reid_stream.evaluation.score import Score, score
from reid_stream.evaluation.stream import boxes_of
from reid_stream.records import Ints

OURS = "ours"
ORACLE = "oracle"
"""Each track has the name of the person that it covers most often: the upper bound for linking whole tracks."""


_LEGEND = (
    "(b), (c) at the best threshold for each set; apart: never links tracks seen side by side; "
    "centred: each camera's mean taken off; share: of the oracle's IDF1"
)


@dataclass(frozen=True, slots=True)
class LinkingResult:
    """One linker."""

    way: str
    threshold: float | None
    """Least cosine, where it has one: the best for this very set."""
    score: Score
    identities: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """All linkers on one set."""

    name: str
    people: int
    """Number of true people."""
    tracks: int
    vectors: int
    rows: tuple[LinkingResult, ...]

    def row(self, way: str) -> LinkingResult:
        """Return one way's figures."""
        return next(row for row in self.rows if row.way == way)

    @property
    def share_of_oracle(self) -> float:
        """Our IDF1 as a share of what perfect linking of the same tracks reaches."""
        return self.row(OURS).score.idf1 / self.row(ORACLE).score.idf1


def compare(recording: Recording, match: Match | None = None) -> Comparison:
    """Score every way of linking a recording's tracks.

    Raises:
        ValueError: the recording has no truth.
    """
    truth = recording.true_boxes()
    if not truth:
        raise ValueError(f"ways of linking are compared by a recording with truth, {recording.name} has none")
    tracks = tracks_of(recording)
    links = Links(tracks, truth)
    published = boxes_of(replay(recording, match), recording.cameras)
    rows = [_row(OURS, None, truth, published.in_the_end), _row("ours, at once", None, truth, published.at_once)]

    def add(way: str, names: Ints, threshold: float | None = None) -> None:
        rows.append(_row(way, threshold, truth, tracks.named_boxes(names)))

    add("(a) unlinked tracks", baselines.unlinked(tracks))
    for apart, extra in ((False, ""), (True, ", apart")):
        found = baselines.best(
            links,
            lambda at, apart=apart: baselines.online(tracks, at, apart=apart),  # type: ignore[misc]
            baselines.THRESHOLDS.tolist(),
        )
        add(f"(b) cosine online{extra}", found.names, found.threshold)
    for apart, centred, extra in (
        (False, False, ""),
        (True, False, ", apart"),
        (True, True, ", apart, centred"),
    ):
        tree = baselines.offline(tracks, apart=apart, centred=centred)
        found = baselines.best(links, tree.cut, tree.thresholds())
        add(f"(c) average linkage{extra}", found.names, found.threshold)
    add(ORACLE, baselines.oracle(tracks, links))
    return Comparison(
        name=recording.name,
        people=len(links.people),
        tracks=len(tracks),
        vectors=len(tracks.vectors),
        rows=tuple(rows),
    )


def _row(
    way: str, threshold: float | None, truth: Mapping[str, Boxes], published: Mapping[str, Boxes]
) -> LinkingResult:
    identities = len({person for boxes in published.values() for person in boxes.people})
    return LinkingResult(way, threshold, score(truth, published), identities)


def show(compared: Sequence[Comparison], console: Console) -> None:
    """Print one table over all sets."""
    table = Table(
        "", "HOTA", "IDF1", "AssPr", "AssRe", "IDs", "cos", "share", box=None, caption=_LEGEND, pad_edge=False
    )
    for each in compared:
        table.add_row(each.name, "", "", "", "", f"[dim]of {each.people}[/]")
        ceiling = each.row(ORACLE).score.idf1
        for row in each.rows:
            values = (row.score.hota, row.score.idf1, row.score.ass_pr, row.score.ass_re)
            table.add_row(
                f"  {row.way}",
                *(f"{value:.3f}" for value in values),
                str(row.identities),
                "" if row.threshold is None else f"{row.threshold:.2f}",
                f"{row.score.idf1 / ceiling:.3f}" if ceiling else "",
                style="bold" if row.way == OURS else None,
            )
        table.add_section()
    console.print(table)
