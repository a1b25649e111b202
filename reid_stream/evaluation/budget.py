"""Error budget: the loss of each pipeline stage, measured by replacing it with the ground truth.

    cameras + truth -> the same frames through four perception pipelines at once -> matched, scored -> one table

One stage at a time is replaced while all others stay: true boxes for the detector, true tracks for the tracker (over
detected or true boxes), true links for the matcher. With all of them replaced, the rest is what the event stream
reports late or not at all: people too small to be embedded, and the time until the first vector of a track.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import msgspec
import numpy as np

from reid_stream.config.settings import Match, Settings, TopologySettings
from reid_stream.errors import ConfigError
from reid_stream.evaluation import recording
from reid_stream.evaluation.align import Boxes, align, matched
from reid_stream.evaluation.footage import recorded
from reid_stream.evaluation.oracle import Scene, TrueDetector, TrueTracker
from reid_stream.evaluation.recording import RecordedBatch, Recording, replay, timelines
from reid_stream.evaluation.score import Score, mean, score_aligned, score_cameras
from reid_stream.evaluation.stream import StreamBoxes, boxes_of
from reid_stream.pipeline import Perception
from reid_stream.records import CameraId, Detections, Frame, Perceived
from reid_stream.runtime.networks import Networks, make_perception


@dataclass(frozen=True, slots=True)
class BudgetRecordings:
    """Recordings of the same footage with stages replaced by the truth."""

    ours: Recording
    true_boxes: Recording
    """True boxes through our tracker."""
    true_tracks: Recording
    """Detected boxes that cover a person, on true tracks."""
    true_both: Recording
    """True boxes on true tracks."""


@dataclass(frozen=True, slots=True)
class BudgetLine:
    """One line of the budget."""

    what: str
    boxes: str
    """`ours` or `true`."""
    tracks: str
    links: str
    across: Score
    single: Score


@dataclass(frozen=True, slots=True)
class StageLoss:
    """Gain of a perfect stage, with all others unchanged."""

    stage: str
    idf1: float
    hota: float


@dataclass(frozen=True, slots=True)
class Budget:
    """All lines, and the losses of the stages, the largest loss of IDF1 first."""

    lines: tuple[BudgetLine, ...]
    losses: tuple[StageLoss, ...]


def record_all(
    settings: Settings, truth: Mapping[str, Boxes], networks: Networks | None = None, name: str = ""
) -> BudgetRecordings:
    """Record footage four times over in one pass: frames are decoded and detected once.

    Raises:
        ConfigError, ModelError, StreamError: see `recorded`.
    """
    cameras = timelines([camera for camera in settings.cameras if camera.enabled], settings)
    scene = Scene(truth, cameras, settings.track.lost_s)
    sides: list[_Side] = []

    def wire(settings: Settings, networks: Networks, run: str) -> Perception:
        ours = make_perception(settings, networks, run)
        ours.gate = None  # the other pipelines need all boxes of all frames
        found: list[Detections] = []  # of the current frames, for the pipeline with true tracks

        def half(*, boxes: bool, tracks: bool) -> _Side:
            other = make_perception(settings, networks, run)
            other.gate = None
            other.detect = TrueDetector(scene) if boxes else lambda _: found
            if tracks:
                other.follow = {CameraId(camera): TrueTracker(scene).update for camera in cameras}
            return _Side(other)

        sides.extend([half(boxes=True, tracks=False), half(boxes=False, tracks=True), half(boxes=True, tracks=True)])
        detect = ours.detect

        def detects(frames: Sequence[Frame]) -> list[Detections]:
            found[:] = detect(frames)
            for side in sides:
                side.step(frames)
            return list(found)

        ours.detect = detects
        return ours

    made = recorded(settings, truth, name=name, networks=networks, wire=wire)
    others = [msgspec.structs.replace(made, batches=side.batches) for side in sides]
    return BudgetRecordings(made, *others)


class _Side:
    """A perception pipeline that runs on the same frames."""

    def __init__(self, first_half: Perception) -> None:
        self._step = first_half.step
        self.batches: list[RecordedBatch] = []

    def step(self, frames: Sequence[Frame]) -> None:
        records: list[Perceived] = self._step(frames)
        if records:
            self.batches.append(RecordedBatch(max(record.seen_at for record in records), records))


def save(takes: BudgetRecordings, file: Path) -> None:
    """Write all recordings: `ours` to `file`, the others beside it."""
    for name, place in _places(file).items():
        recording.save(getattr(takes, name), place)


def load(file: Path) -> BudgetRecordings:
    """Read the recordings written by `save`.

    Raises:
        ConfigError: one of them is missing or not a recording.
    """
    places = _places(file)
    if missing := [place.name for place in places.values() if not place.is_file()]:
        raise ConfigError(
            f"an error budget needs {', '.join(missing)} beside {file.name}; eval --cameras --budget --keep writes them"
        )
    return BudgetRecordings(**{name: recording.load(place) for name, place in places.items()})


def _places(file: Path) -> dict[str, Path]:
    """Return the file of each recording: `site.rec`, `site.true-boxes.rec`, ..."""
    others = {
        field.name: file.with_suffix(f".{field.name.replace('_', '-')}.rec") for field in fields(BudgetRecordings)
    }
    return {**others, "ours": file}


def budget(takes: BudgetRecordings, match: Match | None = None, topology: TopologySettings | None = None) -> Budget:
    """Match and score all recordings."""
    truth = takes.ours.true_boxes()
    ours, true_boxes, true_tracks, true_both = (
        boxes_of(replay(take, match, topology=topology), take.cameras)
        for take in (takes.ours, takes.true_boxes, takes.true_tracks, takes.true_both)
    )
    lines = (
        _line("ours", "ours", "ours", "ours", truth, ours.in_the_end),
        _line("true links", "ours", "ours", "true", truth, linked(truth, ours)),
        _line("true tracks", "ours", "true", "ours", truth, true_tracks.in_the_end),
        _line("true boxes", "true", "ours", "ours", truth, true_boxes.in_the_end),
        _line("true boxes and tracks", "true", "true", "ours", truth, true_both.in_the_end),
        _line("all true, as published", "true", "true", "true", truth, linked(truth, true_both)),
    )
    base, links, tracks, boxes, _, published = (line.across for line in lines)
    losses = [
        StageLoss(stage, better.idf1 - base.idf1, better.hota - base.hota)
        for stage, better in (("links", links), ("tracks", tracks), ("boxes", boxes))
    ]
    losses.append(StageLoss("publication", 1 - published.idf1, 1 - published.hota))
    return Budget(lines, tuple(sorted(losses, key=lambda loss: -loss.idf1)))


def linked(truth: Mapping[str, Boxes], published: StreamBoxes) -> dict[str, Boxes]:
    """Name each predicted track after the person it covers most often; a track that covers none keeps its name."""
    aligned = align(truth, published.by_track)
    rows, columns = matched(aligned)
    counts = np.zeros((len(aligned.predicted.names), len(aligned.true.names)), dtype=np.int64)
    np.add.at(counts, (aligned.predicted.people[columns], aligned.true.people[rows]), 1)
    names: dict[Hashable, Hashable] = {
        track: aligned.true.names[int(counts[row].argmax())] if counts[row].any() else track
        for row, track in enumerate(aligned.predicted.names)
    }
    return {
        camera: _once(boxes, [names[track] for track in boxes.people]) for camera, boxes in published.by_track.items()
    }


def _once(boxes: Boxes, names: Sequence[Hashable]) -> Boxes:
    """Rename boxes; of two with one name in one frame the first is kept."""
    rows: dict[tuple[int, Hashable], int] = {}
    for row, (frame, name) in enumerate(zip(boxes.frames.tolist(), names, strict=True)):
        rows.setdefault((frame, name), row)
    chosen = list(rows.values())
    return Boxes(boxes.frames[chosen], tuple(name for _, name in rows), boxes.boxes[chosen])


def _line(
    what: str, boxes: str, tracks: str, links: str, truth: Mapping[str, Boxes], predicted: Mapping[str, Boxes]
) -> BudgetLine:
    aligned = align(truth, predicted)
    return BudgetLine(what, boxes, tracks, links, score_aligned(aligned), mean(list(score_cameras(aligned).values())))
