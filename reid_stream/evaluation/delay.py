"""Delay until subscribers have the right global ID of a person, and latency from frame to event (pure).

    events in order, truth -> seconds from the start of each visit to the right global ID

The right ID of a person follows from the one-to-one assignment of people and identities with the most matched boxes
after all corrections, as in IDF1 (Ristani et al., 2016). A visit is right from the first moment at which the stream,
with its corrections applied, gives that ID: by an `entered` or `seen`, or by a `merged` or `split` that renames an
earlier one. Time is the latest capture time of all events so far.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import linear_sum_assignment

from reid_stream.evaluation.align import Alignment, matched
from reid_stream.evaluation.stream import CurrentNames, Timeline
from reid_stream.evaluation.visits import Visits
from reid_stream.events import Event, IdentityEntered, IdentityMerged, IdentitySeen, IdentitySplit
from reid_stream.records import CameraId


@dataclass(frozen=True, slots=True)
class Delay:
    """Delays from the first frame of true visits; percentiles are over the visits that reached the state."""

    told_p50_s: float | None
    """Median until the stream gives any ID for the visit."""
    right_p50_s: float | None
    """Median until it gives the right one."""
    right_p95_s: float | None
    right_at_first: int
    """Visits whose first ID was the right one."""
    right: int
    """Visits that were given the right ID at some time."""
    never_right: int
    """Visits published, but never under the right ID."""
    untold: int
    """Visits never published."""


@dataclass(slots=True)
class FrameLatency:
    """Time from the capture of a frame to the publication of the first event about it.

    A sighting counts if it is newer than every earlier one of its camera. Older ones belong to people new to the
    matcher, who are identified up to a second after they were first seen, however fast the machine is.
    """

    samples: list[tuple[float, float]] = field(default_factory=list)
    """(UTC seconds of publication, latency in seconds), one for each camera and call of `add` with a newer frame."""
    _newest: dict[CameraId, float] = field(default_factory=dict)
    """Capture time of the newest frame published of each camera, UTC seconds."""

    def add(self, published_at: float, events: Iterable[Event]) -> None:
        """Add the events of one publication, in any order."""
        newest: dict[CameraId, float] = {}
        for event in events:
            if isinstance(event, IdentitySeen) and event.seen_at > self._newest.get(event.camera, 0.0):
                newest[event.camera] = max(event.seen_at, newest.get(event.camera, 0.0))
        self.samples += [(published_at, published_at - captured_at) for captured_at in newest.values()]
        self._newest |= newest


def delays(
    events: Iterable[Event], cameras: Mapping[str, Timeline], at_once: Alignment, in_the_end: Alignment, visits: Visits
) -> Delay:
    """Measure the delay until the right ID.

    Args:
        events: of one run, in the order of the stream.
        cameras: when the frames of the truth were taken.
        at_once: truth and the IDs as first published.
        in_the_end: truth and the IDs after all corrections.
        visits: of that truth.
    """
    right = right_names(in_the_end)
    visit_of = _visit_of(at_once, visits)
    names, clock = CurrentNames(), -np.inf
    shown: dict[int, tuple[int, float]] = {}
    """Visit -> the stretch last published for it."""
    told_at: dict[int, float] = {}
    right_at: dict[int, float] = {}
    right_at_first: set[int] = set()

    def look(visit: int) -> bool:
        """Record the first moment at which a visit has the right name; return whether it has it."""
        is_right = names.of(*shown[visit]) == right.get(int(visits.people[visit]))
        if is_right:
            right_at.setdefault(visit, clock)
        return is_right

    for event in events:
        match event:
            case IdentityEntered() | IdentitySeen():
                clock = max(clock, event.at)
                stretch = names.see(event)
                visit = visit_of.get((event.camera, cameras[event.camera].frame(event.seen_at), str(event.person)))
                if visit is not None:
                    shown[visit] = stretch, event.seen_at
                    if look(visit) and visit not in told_at:
                        right_at_first.add(visit)
                    told_at.setdefault(visit, clock)
            case IdentityMerged() | IdentitySplit():
                clock = max(clock, event.at)
                names.correct(event)
                for visit in shown.keys() - right_at.keys():
                    look(visit)
    began = [cameras[at_once.cameras[c]].at(int(f)) for c, f in zip(visits.cameras, visits.first, strict=True)]
    waited = np.asarray([at - began[visit] for visit, at in right_at.items()])
    return Delay(
        told_p50_s=_percentile(np.asarray([at - began[visit] for visit, at in told_at.items()]), 50),
        right_p50_s=_percentile(waited, 50),
        right_p95_s=_percentile(waited, 95),
        right_at_first=len(right_at_first),
        right=len(right_at),
        never_right=len(told_at) - len(right_at),
        untold=len(visits) - len(told_at),
    )


def right_names(aligned: Alignment) -> dict[int, str]:
    """Return the global ID that stands for each person, one to one: rows of the true names -> predicted names."""
    rows, columns = matched(aligned)
    counts = np.zeros((len(aligned.true.names), len(aligned.predicted.names)))
    np.add.at(counts, (aligned.true.people[rows], aligned.predicted.people[columns]), 1)
    people, identities = linear_sum_assignment(counts, maximize=True)
    return {
        int(person): str(aligned.predicted.names[identity])
        for person, identity in zip(people, identities, strict=True)
        if counts[person, identity] > 0
    }


def _visit_of(at_once: Alignment, visits: Visits) -> dict[tuple[str, int, str], int]:
    """Return the visit by (camera, frame, published name)."""
    rows, columns = matched(at_once)
    predicted = at_once.predicted
    return {
        (
            at_once.cameras[predicted.cameras[column]],
            int(predicted.frames[column]),
            str(predicted.names[predicted.people[column]]),
        ): int(visit)
        for column, visit in zip(columns.tolist(), visits.of[rows].tolist(), strict=True)
    }


def _percentile(values: "np.typing.NDArray[np.float64]", share: float) -> float | None:
    return float(np.percentile(values, share)) if len(values) else None
