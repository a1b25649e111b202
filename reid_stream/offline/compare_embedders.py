"""What another embedder would change at a site, before it does: both match the same tracklet store.

    STORE ─▶ present bundle ─▶ who each track is ┐
          ─▶ another bundle ─▶ who each track is ┴▶ identities that stay, merge, split; how sure; how fast; how right

Both begin with an empty gallery, so that nothing but the network differs. How right each is can be told only where
somebody knows who is who: a truth file.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np

from reid_stream import store
from reid_stream.bundles.bundle import EmbedderBundle
from reid_stream.config.settings import Match, TopologySettings
from reid_stream.errors import ConfigError
from reid_stream.evaluation.align import Boxes
from reid_stream.evaluation.score import score
from reid_stream.offline.rematch import Rematch, agreement, reidentify
from reid_stream.pipeline import Embed

_SHOWN = 10
"""Changes that are named, those of most tracks first."""
_FRAMES_PER_S = 25.0
"""Crops of one camera closer in time than this are one frame of the score."""


class Correctness(msgspec.Struct, frozen=True):
    """Against the truth; all in [0, 1]."""

    idf1: float
    """Over the crops; of `trackers.eval`, like HOTA."""
    hota: float
    precision: float
    """Of the pairs of tracks that are one person now, those that truly are."""
    recall: float
    """Of the pairs of tracks that truly are one person, those that are now."""


class MatchedTracks(msgspec.Struct, frozen=True):
    """What one bundle makes of the store."""

    name: str
    hash: str
    people: int
    """Identities."""
    links: int
    """Tracks that were linked with somebody known, over and above each identity's first."""
    probability: float | None
    """Median P(same) of these; none without a calibrated head."""
    sure: float | None
    """Share of these with P(same) of 0.9 and more."""
    crops_per_s: float | None
    """Read and embedded; none where all vectors were in the store."""
    times_real: float
    """How much faster than real time."""
    right: Correctness | None


class AssignmentChange(msgspec.Struct, frozen=True):
    """Identities of one bundle that are one, or several, of the other."""

    people: list[str]
    """Those that would merge, or that one would be split into; by the store's names where it has any."""
    tracks: int


class EmbedderComparison(msgspec.Struct, frozen=True):
    """What would change."""

    store: str
    tracks: int
    crops: int
    present: MatchedTracks
    other: MatchedTracks
    stay: int
    """Identities with the very same tracks under both."""
    merged: int
    """Identities of the other bundle that hold tracks of several present ones."""
    split: int
    """Present identities whose tracks would be several people's."""
    same_pairs: float
    """Of the pairs of tracks that are one person under either, those that are under both."""
    merges: list[AssignmentChange]
    splits: list[AssignmentChange]


def shadow(
    folder: Path,
    settings: Match,
    present: tuple[EmbedderBundle, Embed],
    other: tuple[EmbedderBundle, Embed],
    truth: Mapping[str, str] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    topology: TopologySettings | None = None,
) -> EmbedderComparison:
    """Match a store twice and compare.

    Args:
        folder: of the store; it is only read.
        settings: of matching, the same for both.
        present: the bundle in use, and its network.
        other: the one that may follow.
        truth: folder of each track -> person; tracks that it does not name are left out of the score.
        on_progress: told (tracks read, tracks in all) twice over.
        topology: what is stated of the cameras; none states nothing.

    Raises:
        ConfigError: there is no track, one is broken, or the truth names none of them.
    """
    was, would = (
        reidentify(folder, settings, bundle, embed, on_progress, topology) for bundle, embed in (present, other)
    )
    before, after = _names(was), _names(would)
    both, either = _pairs_in(before, after)
    merges, splits = _gathered(after, before), _gathered(before, after)
    right = [_right(folder, truth, names) if truth is not None else None for names in (before, after)]
    return EmbedderComparison(
        store=str(folder),
        tracks=len(before),
        crops=was.crops,
        present=_side(present[0], was, right[0]),
        other=_side(other[0], would, right[1]),
        stay=_staying(before, after),
        merged=len(merges),
        split=len(splits),
        same_pairs=both / either if either else 1.0,
        merges=_shown(merges),
        splits=_shown(splits),
    )


def _names(found: Rematch) -> dict[str, str]:
    """Return who each track is; one without a vector that could be used is somebody of its own."""
    return {name: person or f"?{name}" for name, (person, _) in found.people.items()}


def _side(bundle: EmbedderBundle, found: Rematch, right: Correctness | None) -> MatchedTracks:
    people = {person for person, _ in found.people.values() if person is not None}
    known = [value for value in found.probabilities.values() if value is not None]
    named = sum(person is not None for person, _ in found.people.values())
    return MatchedTracks(
        name=bundle.name,
        hash=bundle.hash,
        people=len(people),
        links=named - len(people),
        probability=float(np.median(known)) if known else None,
        sure=float(np.mean(np.asarray(known) >= 0.9)) if known else None,
        crops_per_s=found.embedded / found.embed_s if found.embedded else None,
        times_real=found.span_s / found.seconds,
        right=right,
    )


def _members(names: Mapping[str, str]) -> dict[str, list[str]]:
    members: dict[str, list[str]] = defaultdict(list)
    for track, person in names.items():
        members[person].append(track)
    return members


def _gathered(whole: Mapping[str, str], parts: Mapping[str, str]) -> list[AssignmentChange]:
    """Return the identities of `whole` whose tracks are several people's in `parts`, those of most tracks first."""
    found = [
        AssignmentChange(sorted({parts[track] for track in tracks}), len(tracks))
        for tracks in _members(whole).values()
        if len({parts[track] for track in tracks}) > 1
    ]
    return sorted(found, key=lambda change: (-change.tracks, change.people))


def _shown(changes: Sequence[AssignmentChange]) -> list[AssignmentChange]:
    return list(changes[:_SHOWN])


def _staying(before: Mapping[str, str], after: Mapping[str, str]) -> int:
    groups = [{frozenset(tracks) for tracks in _members(names).values()} for names in (before, after)]
    return len(groups[0] & groups[1])


def _pairs_in(before: Mapping[str, str], after: Mapping[str, str]) -> tuple[int, int]:
    """Return how many pairs of tracks are one person under both, and under either."""
    counts = []
    for names in (before, after, {track: f"{before[track]} {after[track]}" for track in before}):
        counts.append(sum(len(tracks) * (len(tracks) - 1) // 2 for tracks in _members(names).values()))
    return counts[2], counts[0] + counts[1] - counts[2]


def _right(folder: Path, truth: Mapping[str, str], names: Mapping[str, str]) -> Correctness:
    known = {track: person for track, person in truth.items() if track in names}
    if not known:
        raise ConfigError(
            f"--truth must name tracks of the store by their folders, such as {next(iter(names))}; it names "
            f"{len(truth)}, none of which is in {folder}"
        )
    said = {track: names[track] for track in known}
    found = score(_boxes(folder, known), _boxes(folder, said))
    precision, recall = agreement(known, said)
    return Correctness(found.idf1, found.hota, precision, recall)


def _boxes(folder: Path, names: Mapping[str, str]) -> dict[str, Boxes]:
    """Return the crops' boxes by camera; of two of one person in one frame the first counts."""
    found: dict[str, dict[tuple[int, str], tuple[float, float, float, float]]] = defaultdict(dict)
    for track, person in names.items():
        stored, _ = store.read(folder / track)
        for at, box in zip(stored.times, stored.boxes, strict=True):
            found[str(stored.camera)].setdefault((round(at * _FRAMES_PER_S), person), box)
    return {
        camera: Boxes(
            np.asarray([frame for frame, _ in boxes], dtype=np.int64),
            tuple(person for _, person in boxes),
            np.asarray(list(boxes.values()), dtype=np.float64),
        )
        for camera, boxes in found.items()
    }
