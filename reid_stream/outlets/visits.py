"""Visits of a site as a table, with the corrections applied: CSV or Parquet."""

import csv
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import msgspec

from reid_stream.console.printable import printable
from reid_stream.publish.event_check import sound
from reid_stream.publish.projection import SiteView
from reid_stream.publish.subscribe import Received

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""First characters by which spreadsheets recognise a formula (OWASP, "CSV Injection")."""


class VisitRow(msgspec.Struct, frozen=True):
    """One visit of one person to one camera."""

    person: str
    name: str
    camera: str
    since: datetime
    until: datetime
    seconds: float
    is_over: bool
    tracks: int
    state: str
    probability: float | None
    """Lowest P(same) of the person's tracks on this visit."""
    snapshot: str | None
    """Name of the best picture, for `GET /api/v1/snapshots/<name>`."""


def visit_rows(
    events: Iterable[Received], since: float = float("-inf"), until: float = float("inf")
) -> Iterator[VisitRow]:
    """Yield the visits that overlap [since, until) in UTC seconds, by start time."""
    view = SiteView(event.data for event in sound(events))
    visits = [(visit, person) for person in view.people.values() for visit in person.visits]
    for visit, person in sorted(visits, key=lambda pair: (pair[0].since, pair[1].person)):
        if visit.last_at < since or visit.since >= until:
            continue
        tracks = [person.tracks[key] for key in visit.tracks if key in person.tracks]
        yield VisitRow(
            person=person.person,
            name=person.label,
            camera=visit.camera,
            since=datetime.fromtimestamp(visit.since, UTC),
            until=datetime.fromtimestamp(visit.last_at, UTC),
            seconds=round(visit.last_at - visit.since, 3),
            is_over=visit.is_over,
            tracks=len(visit.tracks),
            state=person.state,
            probability=min((one.probability for one in tracks if one.probability is not None), default=None),
            snapshot=visit.snapshot,
        )


def write_csv(rows: Iterable[VisitRow], file: IO[str]) -> int:
    """Write rows as CSV with a header (RFC 4180); return their number."""
    writer = csv.writer(file)
    writer.writerow(VisitRow.__struct_fields__)
    count = 0
    for row in rows:
        writer.writerow([_cell(value) for value in msgspec.structs.astuple(row)])
        count += 1
    return count


def write_parquet(rows: Iterable[VisitRow], path: Path) -> int:
    """Write rows as Parquet; return their number."""
    import pyarrow as pa
    from pyarrow import parquet

    schema = pa.schema(
        [
            ("person", pa.string()),
            ("name", pa.string()),
            ("camera", pa.dictionary(pa.int32(), pa.string())),
            ("since", pa.timestamp("us", tz="UTC")),
            ("until", pa.timestamp("us", tz="UTC")),
            ("seconds", pa.float64()),
            ("is_over", pa.bool_()),
            ("tracks", pa.int32()),
            ("state", pa.string()),
            ("probability", pa.float64()),
            ("snapshot", pa.string()),
        ]
    )
    found = [msgspec.structs.asdict(row) for row in rows]
    parquet.write_table(pa.Table.from_pylist(found, schema=schema), path)
    return len(found)


def _cell(value: Any) -> Any:
    match value:
        case datetime():
            return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        case bool():
            return str(value).lower()
        case str():
            # A terminal would interpret control characters.
            return printable(f"'{value}" if value.startswith(_FORMULA) else value)
        case _:
            return value
