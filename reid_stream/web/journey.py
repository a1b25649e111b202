"""A person's visits and tracks as the API gives them, from the projection and from stored tracks (pure)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import quote

from reid_stream.publish.projection import PersonView, TrackView, Visit
from reid_stream.store.labels import Key
from reid_stream.web.schemas import Picture, TrackRecord, VisitRecord
from reid_stream.web.track_index import IndexedTrack

API = "/api/v1"
VISITS, TRACKS = 100, 20
"""Visits of a person, and tracks of a visit, in one answer, unless more or fewer are asked for."""
_SAME_VISIT_S = 60.0
"""Largest gap, seconds, between stored tracks of one camera shown as one visit where no events state the visits."""
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Window:
    """A part of a list that is in the order of time: the latest `limit` but for the last `offset`."""

    limit: int
    offset: int = 0

    def of(self, ordered: Sequence[_T]) -> Sequence[_T]:
        """Return that part."""
        end = max(0, len(ordered) - self.offset)
        return ordered[max(0, end - self.limit) : end]


def crop_url(key: Key, number: int) -> str:
    """Return the path of a crop."""
    camera, run, track = key
    return f"{API}/tracks/{quote(camera)}/{quote(run)}/{track}/crops/{number}"


def snapshot_url(name: str) -> str:
    """Return the path of a snapshot by the name that events give it, or of a track's by <camera>/<run>/<track>."""
    return f"{API}/snapshots/{quote(name)}"


def best_picture(tracks: Iterable[IndexedTrack]) -> str | None:
    """Return the path of the best crop of several tracks; None without any."""
    best = max(tracks, key=lambda track: max(track.qualities), default=None)
    return None if best is None else crop_url(best.key, best.best)


def stored_visits(tracks: Iterable[IndexedTrack]) -> list[list[IndexedTrack]]:
    """Return stored tracks as visits, by the time between those of one camera; all in the order of time.

    Args:
        tracks: of one person, in the order of their first crops.
    """
    visits: list[list[IndexedTrack]] = []
    latest: dict[str, tuple[list[IndexedTrack], float]] = {}
    for track in tracks:
        visit, last_at = latest.get(track.key[0], ([], float("-inf")))
        if track.times[0] - last_at >= _SAME_VISIT_S:
            visit, last_at = [], track.times[-1]
            visits.append(visit)
        visit.append(track)
        latest[track.key[0]] = visit, max(last_at, track.times[-1])
    return visits


def stored_visit_record(visit: list[IndexedTrack], shown: Window) -> VisitRecord:
    """Return a visit of stored tracks; `shown`: which of its tracks."""
    return VisitRecord(
        camera=visit[0].key[0],
        since=visit[0].times[0],
        last_at=max(track.times[-1] for track in visit),
        is_over=True,
        track_count=len(visit),
        tracks=[track_record(track.key, None, track) for track in shown.of(visit)],
    )


def visit_record(
    visit: Visit, known: PersonView, stored: Mapping[Key, IndexedTrack], snapshot: str | None, shown: Window
) -> VisitRecord:
    """Return a visit of the projection; `shown`: which of its tracks."""
    keys = sorted(visit.tracks, key=lambda key: min(_times(known.tracks.get(key), stored.get(key)), default=0.0))
    return VisitRecord(
        camera=visit.camera,
        since=visit.since,
        last_at=visit.last_at,
        is_over=visit.is_over,
        track_count=len(keys),
        tracks=[track_record(key, known.tracks.get(key), stored.get(key)) for key in shown.of(keys)],
        snapshot=snapshot,
    )


def track_record(key: Key, seen: TrackView | None, stored: IndexedTrack | None) -> TrackRecord:
    """Return a track by what is known of it: sighted, stored, or both."""
    camera, run, number = key
    pictures = [
        Picture(url=crop_url(key, place), seen_at=at, quality=quality)
        for place, (at, quality) in enumerate(zip(stored.times, stored.qualities, strict=True), 1)
    ] if stored is not None else []  # fmt: skip
    times = _times(seen, stored)
    return TrackRecord(
        camera=camera,
        run=run,
        track=number,
        first_at=min(times, default=0.0),
        last_at=max(times, default=0.0),
        similarity=seen.similarity if seen is not None else None,
        probability=seen.probability if seen is not None else None,
        pictures=pictures,
    )


def _times(seen: TrackView | None, stored: IndexedTrack | None) -> list[float]:
    return [
        *((stored.times[0], stored.times[-1]) if stored is not None else ()),
        *((seen.first_at, seen.last_at) if seen is not None else ()),
    ]
