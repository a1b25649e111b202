"""Match the tracks of a tracklet store again, with another embedder or other settings.

STORE ─▶ crops ─▶ embed (or the stored vectors of the same bundle) ─▶ match ─▶ identity of each track
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from reid_stream import store
from reid_stream.bundles.bundle import EmbedderBundle
from reid_stream.bundles.embedder_info import EmbedderInfo
from reid_stream.config.settings import Match, TopologySettings
from reid_stream.errors import ConfigError
from reid_stream.images import UInt8, decode, read_file
from reid_stream.match.factory import matcher_for
from reid_stream.pipeline import Embed
from reid_stream.records import Decision, Floats, GlobalId, Merge, Sighting, Split
from reid_stream.store.labels import Key
from reid_stream.store.replay import StoredReplay, batches

_BATCH = 64
"""Crops per call of the network."""


@dataclass(frozen=True, slots=True)
class Rematch:
    """Result of matching a store again."""

    people: dict[str, tuple[str | None, int]]
    """Folder of a track within the store -> its identity now, and the revision of that identity."""
    before: dict[str, str | None]
    """Folder of a track -> its identity in the store."""
    probabilities: dict[str, float | None]
    """Folder of a track -> probability of its link with a known identity; None for a new one."""
    crops: int
    embedded: int
    """Crops that went through the network; the others had vectors of this bundle."""
    span_s: float
    """Time from the first crop to the last."""
    seconds: float
    """Duration of the job."""
    embed_s: float
    """Part of it spent reading and embedding crops."""


@dataclass(frozen=True, slots=True)
class StoredTracks:
    """The tracks of a store with the vectors of one bundle."""

    names: tuple[str, ...]
    """Folder of each track within the store."""
    tracks: tuple[StoredReplay, ...]
    embedded: int
    """Crops that went through the network."""


def reidentify(
    folder: Path,
    settings: Match,
    bundle: EmbedderBundle,
    embed: Embed,
    on_progress: Callable[[int, int], None] | None = None,
    topology: TopologySettings | None = None,
) -> Rematch:
    """Match all tracks of a store, in time order, from an empty gallery.

    Args:
        folder: of the store.
        settings: of matching.
        bundle: the embedder.
        embed: its network.
        on_progress: called with (tracks read, tracks in all).
        topology: stated facts about cameras; None states nothing.

    Raises:
        ConfigError: there is no track, or one is broken.
    """
    began = time.perf_counter()
    read = read_store(folder, bundle, embed, on_progress)
    read_at = time.perf_counter()
    people, probabilities = _matched(read.tracks, settings, bundle, topology)
    tracks = dict(zip(read.names, (one.track for one in read.tracks), strict=True))
    keys = {name: (one.camera, one.run, one.track) for name, one in tracks.items()}
    times = [at for track in tracks.values() for at in (track.times[0], track.times[-1])]
    return Rematch(
        people={name: people.get(key, (None, 0)) for name, key in keys.items()},
        before={name: one.global_id for name, one in tracks.items()},
        probabilities={name: probabilities.get(key) for name, key in keys.items()},
        crops=sum(len(one.vectors) for one in read.tracks),
        embedded=read.embedded,
        span_s=max(times) - min(times),
        seconds=time.perf_counter() - began,
        embed_s=read_at - began,
    )


def read_store(
    folder: Path, bundle: EmbedderBundle, embed: Embed, on_progress: Callable[[int, int], None] | None = None
) -> StoredTracks:
    """Read the tracks of a store; crops are embedded again where vectors are missing or of another bundle.

    Raises:
        ConfigError: there is no track, or one is broken.
    """
    places = list(store.tracks(folder))
    if not places:
        raise ConfigError(f"a tracklet store must hold <camera>/<day>/<run>-<track>/track.json, {folder} holds none")
    replayed: list[StoredReplay] = []
    names: list[str] = []
    embedded = 0
    for number, place in enumerate(places):
        if on_progress is not None:
            on_progress(number + 1, len(places))
        try:
            track, crops = store.read(place)
            vectors = store.vectors_of(place, track) if track.bundle == bundle.hash else None
        except ValueError as error:
            raise ConfigError(str(error)) from error
        if not crops:
            continue
        if vectors is None:
            vectors = _embedded(crops, embed)
            embedded += len(crops)
        replayed.append(StoredReplay(track, vectors))
        names.append(str(place.relative_to(folder)))
    if not replayed:
        raise ConfigError(f"the tracks of a store must have crops, those of {folder} have none")
    return StoredTracks(tuple(names), tuple(replayed), embedded)


def agreement(before: Mapping[str, str | None], after: Mapping[str, str | None]) -> tuple[float, float]:
    """Return (precision, recall) of `after` over pairs of tracks with one identity, with `before` as the reference.

    A track without an identity counts as an identity of its own.
    """
    names = sorted(set(before) & set(after))
    old = [before[name] or f"?{name}" for name in names]
    new = [after[name] or f"?{name}" for name in names]
    both = _pairs(Counter(zip(old, new, strict=True)))
    was, now = _pairs(Counter(old)), _pairs(Counter(new))
    return (both / now if now else 1.0), (both / was if was else 1.0)


def write_back(folder: Path, found: Rematch) -> int:
    """Write the new identities into the store; return the number of tracks that changed."""
    changed = 0
    for name, (person, revision) in found.people.items():
        track, _ = store.read(folder / name)
        if track.global_id != person:
            named = GlobalId(person) if person is not None else None
            store.relabel(folder / name, msgspec.structs.replace(track, global_id=named, revision=revision))
            changed += 1
    return changed


def _pairs(counts: Mapping[object, int]) -> int:
    return sum(count * (count - 1) // 2 for count in counts.values())


def _embedded(crops: Sequence[Path], embed: Embed) -> Floats:
    vectors = []
    for start in range(0, len(crops), _BATCH):
        vectors.append(embed([_picture(path) for path in crops[start : start + _BATCH]]))
    return np.concatenate(vectors)


def _picture(path: Path) -> UInt8:
    try:
        return decode(read_file(path))
    except (OSError, ValueError) as error:
        raise ConfigError(f"a stored crop must be an image, {path} {error}; remove its folder") from error


def _matched(
    tracks: Sequence[StoredReplay], settings: Match, bundle: EmbedderBundle, topology: TopologySettings | None
) -> tuple[dict[Key, tuple[str | None, int]], dict[Key, float | None]]:
    """Return the final identity of each track, and the probability in its latest sighting."""
    site, first = _numbering(tracks)
    matcher = matcher_for(settings, EmbedderInfo.of(bundle), site, topology=topology, first_number=first)
    people: dict[Key, tuple[str | None, int]] = {}
    probabilities: dict[Key, float | None] = {}
    for now, records in batches(tracks, bundle.hash):
        decisions = matcher.update(records, now)
        _apply(decisions, people)
        for decision in decisions:
            if isinstance(decision, Sighting):
                seen = decision.observation
                probabilities[seen.camera, seen.run, seen.track] = decision.probability
    return people, probabilities


def _apply(decisions: Sequence[Decision], people: dict[Key, tuple[str | None, int]]) -> None:
    for decision in decisions:
        match decision:
            case Sighting():
                seen = decision.observation
                people[seen.camera, seen.run, seen.track] = (decision.person, decision.revision)
            case Merge():
                for key, (person, _) in people.items():
                    if person == decision.gone:
                        people[key] = (decision.into, decision.revision)
            case Split():
                for key in decision.last_parts:
                    people[key] = (decision.into, decision.revision)


def _numbering(tracks: Sequence[StoredReplay]) -> tuple[str, int]:
    """Return the site's name and a number above all those in the store, so that no ID is used twice."""
    site, highest = "store", 0
    for one in tracks:
        name, _, number = (one.track.global_id or "").rpartition("-")
        if number.isdigit():
            site, highest = name, max(highest, int(number))
    return site, highest + 1
