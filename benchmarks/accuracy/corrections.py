"""Measure the effect of corrections: a recording's events as first published and after corrections (pure).

    Recording ─▶ replay ─▶ events ─▶ HOTA, IDF1 before and after; corrections a person; wrong merges, and those undone

A merge is *wrong* when the boxes of the one identity and those of the other, at that moment, are mostly of two people;
it is *undone* when, at the end, most of the ones have another identity than most of the others.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from rich.console import Console
from rich.table import Table

from reid_stream.config.settings import Match
from reid_stream.evaluation.align import Boxes, align, matched
from reid_stream.evaluation.recording import Recording, replay
from reid_stream.evaluation.stream import CurrentNames, Timeline, boxes_of
from reid_stream.evaluation.summary import StreamSummary, summarize_stream
from reid_stream.events import Event, IdentityEntered, IdentityMerged, IdentitySeen, IdentitySplit

_Box = tuple[int, float, int]
"""(stretch, seen at, true person)."""


@dataclass(frozen=True, slots=True)
class Settling:
    """One set."""

    name: str
    people: int
    """Number of true people."""
    stream: StreamSummary
    merges: int
    splits: int
    cuts: int
    """Splits of a part of a track."""
    wrong_merges: int
    undone: int
    """Wrong merges that were undone."""

    @property
    def per_person(self) -> float:
        """Corrections for each person of the truth."""
        return (self.merges + self.splits) / max(1, self.people)


def settle(recording: Recording, match: Match | None = None) -> Settling:
    """Replay a recording and measure the effect of its corrections.

    Raises:
        ValueError: the recording has no truth.
    """
    truth = recording.true_boxes()
    if not truth:
        raise ValueError(f"corrections are judged by a recording with truth, {recording.name} has none")
    events = replay(recording, match)
    wrong, undone = wrong_merges(events, truth, recording.cameras)
    stream = summarize_stream(truth, events, recording.cameras)
    splits = [event for event in events if isinstance(event, IdentitySplit)]
    return Settling(
        name=recording.name,
        people=stream.in_the_end.people.people,
        stream=stream,
        merges=sum(isinstance(event, IdentityMerged) for event in events),
        splits=len(splits),
        cuts=sum(bool(split.spans) for split in splits),
        wrong_merges=wrong,
        undone=undone,
    )


def wrong_merges(
    events: Sequence[Event], truth: Mapping[str, Boxes], cameras: Mapping[str, Timeline]
) -> tuple[int, int]:
    """Count the merges that were wrong, and those of them that were undone, in a stream with an event per frame."""
    person = _true_people(events, truth, cameras)
    names, seen = CurrentNames(), list[_Box]()
    pairs: list[tuple[list[_Box], list[_Box]]] = []
    for event in events:
        match event:
            case IdentityEntered() | IdentitySeen():
                stretch = names.see(event)
                frame = cameras[event.camera].frame(event.seen_at)
                who = person.get((event.camera, frame, event.track))
                if who is not None:
                    seen.append((stretch, event.seen_at, who))
            case IdentityMerged():
                sides = [_bearers(names, seen, str(name)) for name in (event.previous, event.person)]
                if all(sides) and _majority(sides[0]) != _majority(sides[1]):
                    pairs.append((sides[0], sides[1]))
                names.correct(event)
            case IdentitySplit():
                names.correct(event)
    undone = sum(_end(names, one) != _end(names, other) for one, other in pairs)
    return len(pairs), undone


def _true_people(
    events: Sequence[Event], truth: Mapping[str, Boxes], cameras: Mapping[str, Timeline]
) -> dict[tuple[str, int, int], int]:
    """Return the true person of each published box: (camera, frame, track) -> person."""
    aligned = align(truth, boxes_of(events, cameras).by_track)
    rows, columns = matched(aligned)
    predicted = aligned.predicted
    tracks = [int(predicted.names[name][1]) for name in predicted.people[columns]]
    where = [str(aligned.cameras[camera]) for camera in predicted.cameras[columns]]
    frames = np.asarray(predicted.frames[columns]).tolist()
    return dict(zip(zip(where, frames, tracks, strict=True), aligned.true.people[rows].tolist(), strict=True))


def _bearers(names: CurrentNames, seen: Sequence[_Box], name: str) -> list[_Box]:
    return [box for box in seen if names.of(box[0], box[1]) == name]


def _majority(boxes: Sequence[_Box]) -> int:
    return Counter(person for _, _, person in boxes).most_common(1)[0][0]


def _end(names: CurrentNames, boxes: Sequence[_Box]) -> str:
    """Return the identity that most of a person's boxes among these have at the end."""
    who = _majority(boxes)
    return Counter(names.of(stretch, at) for stretch, at, person in boxes if person == who).most_common(1)[0][0]


def show(found: Sequence[Settling], console: Console) -> None:
    """Print one line per set."""
    table = Table(
        "", "IDF1 at once", "after", "HOTA at once", "after", "merges", "splits", "of parts", "a person",
        "wrong merges", "undone", "mixed up at once", "after", box=None, pad_edge=False,
        caption="a person: corrections for each; mixed up: pairs of people whom some identity holds both of",
    )  # fmt: skip
    for each in found:
        once, end = each.stream.at_once, each.stream.in_the_end
        scores = (once.across.idf1, end.across.idf1, once.across.hota, end.across.hota)
        counts = (each.merges, each.splits, each.cuts)
        wrong = (each.wrong_merges, each.undone, once.people.wrong_pairs, end.people.wrong_pairs)
        table.add_row(
            each.name,
            *(f"{score:.3f}" for score in scores),
            *(str(count) for count in counts),
            f"{each.per_person:.1f}",
            *(str(count) for count in wrong),
        )
    (console if console.is_terminal else Console(width=180)).print(table)
