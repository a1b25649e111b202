"""Compare another embedder with the present one: both match the same tracklet store.

    STORE ─▶ present bundle ─▶ identity of each track ┐
          ─▶ another bundle ─▶ identity of each track ┴▶ identities that stay, merge, split; certainty; speed; verdict

Both start with an empty gallery, so that nothing but the network differs. Changes are reported in the site's own global
IDs, those that the store has for the tracks. Which of the two is right is known only from ground truth.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

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
"""Changes listed, those of most tracks first."""
_CLEAR = 0.01
"""Least difference of IDF1 for a verdict; a smaller one may be reversed on another day."""
_ALIKE = 0.995
"""Share of common pairs from which the two embedders count as alike."""
_FRAMES_PER_S = 25.0
"""Crops of one camera closer in time than this are one frame of the score."""


class Correctness(msgspec.Struct, frozen=True):
    """Scores against ground truth, all in [0, 1]."""

    idf1: float
    """Over the crops; by `trackers.eval`, like HOTA."""
    hota: float
    precision: float
    """Share of the pairs of tracks with one identity that are one person."""
    recall: float
    """Share of the pairs of tracks of one person that have one identity."""


class MatchedTracks(msgspec.Struct, frozen=True):
    """The store matched with one bundle."""

    name: str
    hash: str
    people: int
    """Number of identities."""
    links: int
    """Tracks linked with a known identity, beyond the first of each."""
    probability: float | None
    """Median probability of these links; None without a calibration."""
    sure: float | None
    """Share of these links with a probability of at least 0.9."""
    crops_per_s: float | None
    """Crops read and embedded per second; None where all vectors were in the store."""
    times_real: float
    """Speed relative to real time."""
    right: Correctness | None


class AssignmentChange(msgspec.Struct, frozen=True):
    """Identities that would be merged, or one that would be split."""

    people: list[str]
    """Global IDs in the store; the folder of a track without one."""
    tracks: int
    parts: list[int] = []
    """Number of tracks of each part of a split, the largest first."""


class Verdict(msgspec.Struct, frozen=True):
    """Whether to switch to the other embedder."""

    outcome: Literal["better", "worse", "alike", "unknown"]
    text: str


class EmbedderComparison(msgspec.Struct, frozen=True):
    """Result of comparing two embedders on one store."""

    store: str
    tracks: int
    crops: int
    present: MatchedTracks
    other: MatchedTracks
    stay: int
    """Identities with the same tracks under both."""
    merged: int
    """Identities of the other bundle with tracks of several present ones."""
    split: int
    """Present identities whose tracks would have several identities."""
    same_pairs: float
    """Pairs of tracks joined by both bundles, as a share of those joined by either."""
    merges: list[AssignmentChange]
    splits: list[AssignmentChange]
    verdict: Verdict


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
        folder: of the store; it is not changed.
        settings: of matching, the same for both.
        present: the bundle in use, and its network.
        other: the candidate, and its network.
        truth: folder of each track -> person; other tracks are not scored.
        on_progress: called with (tracks read, tracks in all), twice over.
        topology: constraints of the cameras; none for none.

    Raises:
        ConfigError: there is no track, one is broken, or the truth names none of them.
    """
    was, would = (
        reidentify(folder, settings, bundle, embed, on_progress, topology) for bundle, embed in (present, other)
    )
    before, after = _names(was), _names(would)
    both, either = _pairs_in(before, after)
    own = _own_ids(before, was.before)
    merges = [_named(before, own, tracks) for tracks in _gathered(after, before)]
    splits = [_named(before, own, tracks, after) for tracks in _gathered(before, after)]
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
        merges=merges[:_SHOWN],
        splits=splits[:_SHOWN],
        verdict=judge(right[0], right[1], both / either if either else 1.0),
    )


def judge(present: Correctness | None, other: Correctness | None, same_pairs: float) -> Verdict:
    """Return the verdict on the other embedder; without ground truth only whether it links differently."""
    if present is None or other is None:
        if same_pairs >= _ALIKE:
            return Verdict("alike", "both link the same tracks; only speed or licence can justify a switch")
        return Verdict(
            "unknown",
            "they link differently, and without ground truth it is open which is right: inspect the changes "
            "(`reid-stream identity show ID --explain FILE.png`), or give ground truth with --truth",
        )
    by = other.idf1 - present.idf1
    figures = f"IDF1 {present.idf1:.3f} -> {other.idf1:.3f}, HOTA {present.hota:.3f} -> {other.hota:.3f}"
    if by >= _CLEAR:
        return Verdict("better", f"the other embedder is better: {figures}")
    if by <= -_CLEAR:
        return Verdict("worse", f"the other embedder is worse, keep the present one: {figures}")
    return Verdict("alike", f"no clear difference, keep the present one: {figures}")


def _names(found: Rematch) -> dict[str, str]:
    """Return the identity of each track; one without a usable vector is an identity by itself."""
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


def _gathered(whole: Mapping[str, str], parts: Mapping[str, str]) -> list[list[str]]:
    """Return the tracks of each identity of `whole` that are several identities in `parts`, those of most first."""
    found = [sorted(tracks) for tracks in _members(whole).values() if len({parts[track] for track in tracks}) > 1]
    return sorted(found, key=lambda tracks: (-len(tracks), tracks))


def _own_ids(matched: Mapping[str, str], stored: Mapping[str, str | None]) -> dict[str, str]:
    """Return the site's own global ID of each matched identity: the one that most of its tracks have in the store."""
    found = {}
    for person, tracks in _members(matched).items():
        known = Counter(own for track in tracks if (own := stored.get(track)) is not None)
        found[person] = known.most_common(1)[0][0] if known else min(tracks)
    return found


def _named(
    before: Mapping[str, str], own: Mapping[str, str], tracks: Sequence[str], after: Mapping[str, str] | None = None
) -> AssignmentChange:
    people = sorted({own[before[track]] for track in tracks}, key=lambda name: (len(name), name))
    parts = sorted(Counter(after[track] for track in tracks).values(), reverse=True) if after is not None else []
    return AssignmentChange(people, len(tracks), parts)


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
    matched = {track: names[track] for track in known}
    found = score(_boxes(folder, known), _boxes(folder, matched))
    precision, recall = agreement(known, matched)
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
