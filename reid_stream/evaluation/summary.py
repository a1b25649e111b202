"""All measurements of one run: scores across and within cameras, identity errors, delays (pure)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reid_stream.evaluation.align import Alignment, Boxes, align
from reid_stream.evaluation.delay import Delay, delays
from reid_stream.evaluation.identity_errors import IdentityErrors, count_identity_errors
from reid_stream.evaluation.score import Score, mean, score_aligned, score_cameras
from reid_stream.evaluation.stream import Timeline, boxes_of
from reid_stream.evaluation.visits import visits
from reid_stream.events import Event


@dataclass(frozen=True, slots=True)
class Summary:
    """Scores of one set of predicted names against the truth."""

    across: Score
    """All cameras in one identity space."""
    single: Score
    """Mean over cameras, each by itself."""
    cameras: dict[str, Score]
    """Each camera by itself; those without true people are left out."""
    people: IdentityErrors


@dataclass(frozen=True, slots=True)
class StreamSummary:
    """Scores of an event stream."""

    at_once: Summary
    """Scores of the global ID in each event: the view of a subscriber that ignores corrections."""
    in_the_end: Summary
    """Scores after all merges and splits: the view of a subscriber that applies corrections, and the final state."""
    delay: Delay


def summarize(truth: Mapping[str, Boxes], predicted: Mapping[str, Boxes], fps: Mapping[str, float]) -> Summary:
    """Score boxes under one set of names.

    Raises:
        ValueError: see `align`.
    """
    return summarize_aligned(align(truth, predicted), fps)


def summarize_stream(
    truth: Mapping[str, Boxes], events: Sequence[Event], cameras: Mapping[str, Timeline]
) -> StreamSummary:
    """Score an event stream that has a sighting for every frame (`publish.seen_interval_s` below the frame interval).

    Raises:
        ValueError: see `align`.
    """
    published = boxes_of(events, cameras)
    fps = {camera: line.fps for camera, line in cameras.items()}
    at_once, in_the_end = align(truth, published.at_once), align(truth, published.in_the_end)
    return StreamSummary(
        at_once=summarize_aligned(at_once, fps),
        in_the_end=summarize_aligned(in_the_end, fps),
        delay=delays(events, cameras, at_once, in_the_end, visits(at_once, fps)),
    )


def summarize_aligned(aligned: Alignment, fps: Mapping[str, float]) -> Summary:
    """Score an alignment."""
    cameras = score_cameras(aligned)
    return Summary(
        across=score_aligned(aligned),
        single=mean(list(cameras.values())),
        cameras=cameras,
        people=count_identity_errors(aligned, visits(aligned, fps)),
    )
