"""Open tracks: their vectors, times, neighbours and identity (pure)."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property

import msgspec
import numpy as np

from reid_stream.match.reentry import Spot, spot
from reid_stream.records import Box, CameraId, Floats, Observation, TrackEnded, TrackId

Key = tuple[str, CameraId, TrackId]
"""(run, camera, track)."""

StoredVector = tuple[float, bytes, float]
"""(quality, float16 unit vector, capture time)."""

MAX_VECTORS = 16
"""Vectors kept of an open track."""
REVIEW_AT = (2, 3, 5, 8, 12)
"""Numbers of vectors at which the identity of a track is reviewed, then at every twelfth: each review costs a product
with all identities, and one more vector of many changes little."""
_LATEST = 4
"""Number of the kept vectors that are the latest ones, of any quality: they show whether the track is still on the
same person."""
MAX_PENDING = 256
"""Observations buffered until the track is identified; the oldest are dropped first."""


class Stay(msgspec.Struct):
    """Record of one track, or part of a track, on one camera; kept by its identity after the track has ended."""

    serial: int
    """Number of the track within the matcher, in order of creation."""
    run: str
    camera: CameraId
    track: TrackId
    first_at: float
    last_at: float
    apart: set[int] = set()
    """Serials of tracks seen side by side with it: other people."""
    moves: int = 0
    """Number of moves to another identity."""
    held: bool = False
    """Whether an operator pinned it to its identity: it is not reviewed."""
    barred: set[int] = set()
    """Serials of tracks that an operator declared to be of another person."""
    since: float | None = None
    """Start of this part where the track was cut before it; None from the start of the track."""
    until: float | None = None
    """End of this part where the track was cut after it; None to the end of the track."""
    twins: set[int] = set()
    """Serials of tracks seen side by side that an operator declared to be the same person."""
    came: Spot | None = None
    """Position when first seen; None where the track was cut."""
    left: Spot | None = None
    """Position when last seen; None where the track was cut."""
    area: float = 0.0
    """Area of the image in pixels."""

    @property
    def key(self) -> Key:
        """Key of its observations."""
        return self.run, self.camera, self.track


class Tracklet(msgspec.Struct, dict=True):
    """One open track; what follows from `vectors` is computed once, until they change."""

    stay: Stay
    updated_at: float = msgspec.field(name="heard_at")
    """`now` of the latest update with a record of it, independent of cameras' clocks."""
    ended_at: float | None = None
    person: int | None = None
    bound_at: float = 0.0
    similarity: float | None = None
    probability: float | None = None
    vectors: list[StoredVector] = []
    """Vectors in order of time: the `MAX_VECTORS` of best quality, always including the latest `_LATEST`."""
    num_vectors: int = 0
    """Number of vectors so far, kept or not."""
    last: Observation | None = None
    """Latest observation, without its vector."""
    pending: list[Observation] = []
    """Observations buffered until the track is identified."""
    split_from: int | None = None
    """Identity it was detached from, until it has another."""
    in_doubt: bool = False
    """Whether its best candidate was neither a clear match nor clearly another person when it was last scored."""

    @property
    def serial(self) -> int:
        """Serial of its stay."""
        return self.stay.serial

    @property
    def camera(self) -> CameraId:
        """Camera of its stay."""
        return self.stay.camera

    def add(self, vector: Floats, quality: float, at: float) -> None:
        """Add a unit vector (d,) of a quality, seen at a time; beyond `MAX_VECTORS` the worst older one is dropped."""
        self.num_vectors += 1
        self.vectors.append((quality, vector.astype(np.float16).tobytes(), at))
        if len(self.vectors) > MAX_VECTORS:
            del self.vectors[min(range(MAX_VECTORS - _LATEST), key=lambda index: self.vectors[index][0])]
        self._forget()

    def replace_vectors(self, vectors: list[StoredVector]) -> None:
        """Keep these vectors alone."""
        self.vectors = vectors
        self._forget()

    def _forget(self) -> None:
        for name in ("matrix", "shares", "mean"):
            self.__dict__.pop(name, None)

    def has_changed(self) -> bool:
        """Return whether its number of vectors calls for a review, see `REVIEW_AT`."""
        return self.num_vectors in REVIEW_AT or self.num_vectors % REVIEW_AT[-1] == 0

    @cached_property
    def matrix(self) -> Floats:
        """Kept vectors (n, d)."""
        data = b"".join(data for _, data, _ in self.vectors)
        return np.frombuffer(data, dtype=np.float16).reshape(len(self.vectors), -1).astype(np.float32)

    @cached_property
    def shares(self) -> Floats:
        """Weights (n,) of the kept vectors by quality, summing to 1."""
        quality = np.asarray([quality for quality, _, _ in self.vectors], dtype=np.float32) + np.float32(1e-3)
        return np.asarray(quality / quality.sum(), dtype=np.float32)

    @cached_property
    def mean(self) -> Floats:
        """Quality-weighted mean (d,) of the raw vectors."""
        return np.asarray(self.shares @ self.matrix, dtype=np.float32)

    def quality(self) -> float:
        """Return the mean quality of the kept vectors, 0 without any."""
        return sum(quality for quality, _, _ in self.vectors) / max(1, len(self.vectors))


def by_time(stay: Stay) -> tuple[float, int]:
    """Return the sort key of stays."""
    return stay.first_at, stay.serial


def spans_of(stays: Iterable[Stay]) -> tuple[tuple[float | None, float | None], ...]:
    """Return the span [since, until) of each stay within its track; empty if all are whole tracks."""
    spans = tuple((stay.since, stay.until) for stay in stays)
    return spans if any(span != (None, None) for span in spans) else ()


def are_apart(a: Box, b: Box) -> bool:
    """Return whether two boxes of one instant are surely two people and not a duplicate detection.

    A duplicate box of a person (head and shoulders, or with a bag) lies mostly within the other one.
    """
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return True
    smaller = min((a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1]))
    return width * height < 0.7 * smaller


_LINGER_S = 10.0
"""Time for which ended tracks are kept, for observations that arrive late."""
_SILENT_S = 60.0
"""Time without records after which a track is closed although no end was reported."""

Instant = tuple[float, dict[int, Box]]
"""Capture time, and the boxes seen then by serial."""


class OpenTracks:
    """Open tracks by serial."""

    def __init__(self, answer_s: float = 0.0, doubt_s: float = 0.0) -> None:
        """Start without tracks; `answer_s`, `doubt_s`: see `match.answer_s` and `match.doubt_s`."""
        self._answer_s, self._doubt_s = answer_s, doubt_s
        self._tracks: dict[int, Tracklet] = {}
        self._serials: dict[Key, int] = {}
        self._instant: dict[CameraId, Instant] = {}
        self.next_serial = 1

    def __iter__(self) -> Iterator[Tracklet]:
        return iter(self._tracks.values())

    def __getitem__(self, serial: int) -> Tracklet:
        return self._tracks[serial]

    def __contains__(self, serial: int) -> bool:
        return serial in self._tracks

    def get(self, serial: int) -> Tracklet | None:
        """Return an open track; None if it is closed."""
        return self._tracks.get(serial)

    def put(self, tracklet: Tracklet) -> None:
        """Add an existing track."""
        self._tracks[tracklet.serial] = tracklet
        self._serials[tracklet.stay.key] = tracklet.serial

    def instants(self) -> dict[str, Instant]:
        """Return the boxes of the latest instant, by camera."""
        return {str(camera): (at, dict(boxes)) for camera, (at, boxes) in self._instant.items()}

    def restore_instants(self, instants: Mapping[str, Instant]) -> None:
        """Restore earlier `instants`."""
        self._instant = {CameraId(camera): (at, dict(boxes)) for camera, (at, boxes) in instants.items()}

    def find(self, seen: Observation | TrackEnded) -> Tracklet | None:
        """Return the open track of a record; None without one."""
        serial = self._serials.get((seen.run, seen.camera, seen.track))
        return None if serial is None else self._tracks[serial]

    def see(self, seen: Observation, now: float) -> Tracklet:
        """Return the track of an observation received at `now`, opened if it is new, with its times updated."""
        tracklet = self.find(seen)
        if tracklet is None:
            stay = Stay(self.next_serial, seen.run, seen.camera, seen.track, seen.seen_at, seen.seen_at)
            stay.came, stay.area = spot(seen.box), float(seen.frame_size[0] * seen.frame_size[1])
            tracklet = Tracklet(stay, now)
            self.next_serial += 1
            self.put(tracklet)
        tracklet.updated_at = now
        stay = tracklet.stay
        if tracklet.last is None or seen.seen_at >= stay.last_at:
            tracklet.last = msgspec.structs.replace(seen, vector=None)
            stay.left = spot(seen.box)
        if seen.seen_at < stay.first_at and stay.since is None:
            stay.came = spot(seen.box)
        stay.last_at = max(stay.last_at, seen.seen_at)
        stay.first_at = min(stay.first_at, seen.seen_at if stay.since is None else max(seen.seen_at, stay.since))
        return tracklet

    def note_neighbours(self, seen: Observation, tracklet: Tracklet) -> list[Tracklet]:
        """Record the tracks seen side by side with a track at this instant; return those not recorded before."""
        at, boxes = self._instant.get(seen.camera, (-np.inf, {}))
        if at - _SILENT_S < seen.seen_at < at:
            return []  # late: its instant has passed
        if seen.seen_at != at:  # a new instant, or a clock that was set back
            boxes = {}
            self._instant[seen.camera] = (seen.seen_at, boxes)
        new = []
        for serial, box in boxes.items():
            other = self._tracks.get(serial)
            if other is None or other is tracklet or serial in tracklet.stay.apart:
                continue
            if serial in tracklet.stay.twins or not are_apart(seen.box, box):
                continue
            tracklet.stay.apart.add(serial)
            other.stay.apart.add(tracklet.serial)
            new.append(other)
        boxes[tracklet.serial] = seen.box
        return new

    def rename(self, gone: int, into: int) -> None:
        """Reassign the tracks of identity `gone` to `into`."""
        for tracklet in self._tracks.values():
            if tracklet.person == gone:
                tracklet.person = into
            if tracklet.split_from == gone:
                tracklet.split_from = into

    def forget(self, person: int) -> None:
        """Remove the tracks of an identity that was removed; it has no track in view."""
        for tracklet in list(self._tracks.values()):
            if tracklet.person == person:
                self._remove(tracklet)

    def is_due(self, tracklet: Tracklet, now: float) -> bool:
        """Return whether a track must be identified now, with the vectors it has.

        As many vectors as the wait brings at one a second, and one more, are also enough.
        """
        waited = max(now, tracklet.stay.last_at) - tracklet.stay.first_at
        wait_s = self._answer_s + (self._doubt_s if tracklet.in_doubt else 0.0)
        return tracklet.num_vectors > 1 + wait_s or tracklet.ended_at is not None or waited >= wait_s

    def close(self, now: float) -> list[Tracklet]:
        """Remove and return the tracks that ended `_LINGER_S` ago, or had no record for `_SILENT_S`."""
        done = [
            t for t in self._tracks.values() if now - t.updated_at > (_SILENT_S if t.ended_at is None else _LINGER_S)
        ]
        for tracklet in done:
            self._remove(tracklet)
        return done

    def cut(self, tracklet: Tracklet, place: int, now: float, find: Callable[[int], Stay | None]) -> Tracklet:
        """Cut a track in two and return the later part, which has no identity.

        Args:
            tracklet: the track; it becomes the earlier part.
            place: index of the first vector of the later part.
            now: of the update.
            find: returns the stay of a serial, of an open or closed track.
        """
        old, at = tracklet.stay, (tracklet.vectors[place - 1][2] + tracklet.vectors[place][2]) / 2
        stay = Stay(self.next_serial, old.run, old.camera, old.track, at, max(at, old.last_at), since=at)
        stay.until, old.until, old.last_at = old.until, at, min(at, old.last_at)
        stay.left, old.left, stay.area = old.left, None, old.area
        self.next_serial += 1
        fresh = Tracklet(stay, now, tracklet.ended_at, last=tracklet.last)
        fresh.vectors = tracklet.vectors[place:]
        tracklet.replace_vectors(tracklet.vectors[:place])
        fresh.num_vectors = len(fresh.vectors)
        tracklet.num_vectors = max(1, tracklet.num_vectors - fresh.num_vectors)
        fresh.pending = [seen for seen in tracklet.pending if seen.seen_at >= at]
        tracklet.pending = [seen for seen in tracklet.pending if seen.seen_at < at]
        tracklet.ended_at = at
        for serial in sorted(old.apart):
            other = find(serial)
            if other is None or other.last_at < at:
                continue
            stay.apart.add(serial)
            other.apart.add(stay.serial)
            if other.first_at >= at:
                old.apart.discard(serial)
                other.apart.discard(old.serial)
        stay.barred = set(old.barred)  # an operator's bar holds for every part
        for serial in old.barred:
            barred = find(serial)
            if barred is not None:
                barred.barred.add(stay.serial)
        _, boxes = self._instant.get(old.camera, (at, {}))
        if old.serial in boxes:
            boxes[stay.serial] = boxes.pop(old.serial)
        self.put(fresh)
        return fresh

    def _remove(self, tracklet: Tracklet) -> None:
        del self._tracks[tracklet.serial]
        if self._serials.get(tracklet.stay.key) == tracklet.serial:  # else the key belongs to a later part
            del self._serials[tracklet.stay.key]
