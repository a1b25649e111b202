"""The tables of `reid-stream identity`: people, one person, and the log of instructions."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from reid_stream.console.output import Output, Rows, count
from reid_stream.console.printable import printable
from reid_stream.console.times import local_time, local_zone

if TYPE_CHECKING:
    from reid_stream.operators.client import InstructionEntry
    from reid_stream.operators.listing import IdentityRow
    from reid_stream.publish.projection import PersonView


def print_people(rows: "Sequence[IdentityRow]") -> None:
    """Print one row per person."""
    table = Rows("person", "name", "state", "here", "last seen", "first seen", "revision")
    for row in rows:
        last = f"{local_time(row.seen_at)} {row.camera or ''}"
        here = " ".join(row.here)
        table.add_row(row.person, row.label, row.state, here, last, local_time(row.first_seen_at), str(row.revision))
    out = Output()
    out.print(table)
    in_view = sum(bool(row.here) for row in rows)
    _say_zone(out, f"{count(len(rows), 'person', 'people')}, {in_view} in view; ")


def print_person(known: "PersonView", asked: str) -> None:
    """Print a person's visits and the history of the identity; `asked`: the global ID that was asked for."""
    out = Output()
    if known.person != asked:
        out.say(f"{printable(asked)} is {printable(known.person)} now\n")
    least = "" if known.probability is None else f", P {known.probability:.2f} for the least certain track"
    name = f" ({printable(known.label)})" if known.label else ""
    out.say(
        f"{printable(known.person)}{name}: {printable(known.state)}, revision {known.revision}, "
        f"{count(len(known.tracks), 'track')}{least}\n"
    )
    visits = Rows("visit", "camera", "from", "to", "", "tracks")
    for number, stay in enumerate(known.visits, 1):
        names = " ".join(f"{run}/{track}" for _, run, track in sorted(stay.tracks))
        end = "" if stay.is_over else "here"
        visits.add_row(str(number), stay.camera, local_time(stay.since), local_time(stay.last_at), end, names)
    out.print(visits)
    out.say("")
    history = Rows("when", "what", "", "P", "by")
    for change in known.history:
        probability = "" if change.probability is None else f"{change.probability:.2f}"
        history.add_row(local_time(change.at), change.what, change.text, probability, change.by or "the matcher")
    out.print(history)
    _say_zone(out, "\n")


def print_log(entries: "Sequence[InstructionEntry]") -> None:
    """Print one row per instruction with its outcome."""
    table = Rows("id", "when", "who", "what", "why", "outcome")
    for entry in entries:
        asked, answer = entry.instruction, entry.answer
        outcome = "waits for a daemon" if answer is None else f"{answer.outcome}: {answer.text}"
        table.add_row(asked.id, local_time(asked.at), asked.who, asked.description, asked.why, outcome)
    out = Output()
    out.print(table)
    _say_zone(out, "")


def _say_zone(out: Output, before: str) -> None:
    out.say(f"{before}times are {local_zone(time.time())}", style="dim")
