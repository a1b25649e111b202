"""Everything that is measured of one run over one set: across cameras, within them, of people, of time (pure)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reid_stream.evaluation.align import Aligned, Boxes, align
from reid_stream.evaluation.delay import Delay, delays
from reid_stream.evaluation.identity_errors import People, people
from reid_stream.evaluation.score import Score, mean, score_aligned, score_cameras
from reid_stream.evaluation.stream import Timeline, boxes_of
from reid_stream.evaluation.visits import visits
from reid_stream.events import Event


@dataclass(frozen=True, slots=True)
class Account:
    """One set of names for what was told, against the truth."""

    across: Score
    """All cameras in one identity space."""
    single: Score
    """Mean over cameras, each by itself."""
    cameras: dict[str, Score]
    """Each camera by itself; those that nobody truly passes are left out."""
    people: People


@dataclass(frozen=True, slots=True)
class Stream:
    """An event stream against the truth."""

    at_once: Account
    """With the global ID that each event gave: a subscriber who never looks back."""
    in_the_end: Account
    """After all merges and splits: a subscriber who follows corrections, and the final state."""
    delay: Delay


def account(truth: Mapping[str, Boxes], told: Mapping[str, Boxes], fps: Mapping[str, float]) -> Account:
    """Measure what was told under one set of names.

    Raises:
        ValueError: see `align`.
    """
    return account_aligned(align(truth, told), fps)


def account_stream(truth: Mapping[str, Boxes], events: Sequence[Event], cameras: Mapping[str, Timeline]) -> Stream:
    """Measure an event stream that told of every frame (`publish.seen_interval_s` below the frame interval).

    Raises:
        ValueError: see `align`.
    """
    told = boxes_of(events, cameras)
    fps = {camera: line.fps for camera, line in cameras.items()}
    at_once, in_the_end = align(truth, told.at_once), align(truth, told.in_the_end)
    return Stream(
        at_once=account_aligned(at_once, fps),
        in_the_end=account_aligned(in_the_end, fps),
        delay=delays(events, cameras, at_once, in_the_end, visits(at_once, fps)),
    )


def account_aligned(aligned: Aligned, fps: Mapping[str, float]) -> Account:
    """Measure what is laid side by side already."""
    cameras = score_cameras(aligned)
    return Account(
        across=score_aligned(aligned),
        single=mean(list(cameras.values())),
        cameras=cameras,
        people=people(aligned, visits(aligned, fps)),
    )
