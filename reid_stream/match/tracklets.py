"""What is known of one open track: its vectors, when and beside whom it was seen, and whose it is (pure)."""

from collections.abc import Callable, Iterable, Iterator, Mapping

import msgspec
import numpy as np

from reid_stream.match.reentry import Spot, spot
from reid_stream.records import Box, CameraId, Floats, Observation, TrackEnded, TrackId

Key = tuple[str, CameraId, TrackId]
"""(run, camera, track)."""

StoredVector = tuple[float, bytes, float]
"""(quality, float16 unit vector, when it was seen)."""

MAX_VECTORS = 16
"""Vectors kept of an open track."""
ANSWER_S = 0.9
"""A track with a vector waits no longer than this for a better one before it gets an answer."""
REVIEW_AT = (2, 3, 5, 8, 12)
"""A track is looked at anew when it has so many vectors, then with every twelfth: each look costs a product with
everybody, and one more vector of many changes little."""
_LATEST = 4
"""Of them, how many of the latest: what a track looks like now tells whether it is still on the same person."""
MAX_PENDING = 64
"""Observations held back until it is decided who they are; the oldest go first."""


class Stay(msgspec.Struct):
    """One track's time on one camera; a person keeps it when the track is long over."""

    serial: int
    """Names the track within the matcher; rises with time of birth."""
    run: str
    camera: CameraId
    track: TrackId
    first_at: float
    last_at: float
    apart: set[int] = set()
    """Serials of tracks seen beside it at the same instant: somebody else."""
    moves: int = 0
    """How often it was given to another person."""
    held: bool = False
    """A person said whose it is: no second thoughts."""
    barred: set[int] = set()
    """Serials of tracks that a person said are somebody else's."""
    since: float | None = None
    """When the track came to be this person's, where it was cut; none: from its beginning."""
    until: float | None = None
    """When it went over to somebody else, where it was cut; none: to its end."""
    twins: set[int] = set()
    """Serials of tracks seen beside it that a person said are the same body."""
    came: Spot | None = None
    """Where it was first seen; none where it was cut."""
    left: Spot | None = None
    """Where it was last seen; none where it was cut."""
    area: float = 0.0
    """Of the picture, in pixels."""

    @property
    def key(self) -> Key:
        """What its observations name it by."""
        return self.run, self.camera, self.track


class Tracklet(msgspec.Struct):
    """One open track."""

    stay: Stay
    heard_at: float
    """`now` of the update that last brought something of it; clocks of cameras play no part."""
    ended_at: float | None = None
    person: int | None = None
    bound_at: float = 0.0
    similarity: float | None = None
    probability: float | None = None
    vectors: list[StoredVector] = []
    """In order of time; the best `MAX_VECTORS`, the latest few whatever they are like."""
    num_vectors: int = 0
    """All it ever had."""
    last: Observation | None = None
    """Its latest observation, without the vector."""
    pending: list[Observation] = []
    """Held back until it has a person."""
    split_from: int | None = None
    """Person it was just taken from, until it has another."""

    @property
    def serial(self) -> int:
        """Of its stay."""
        return self.stay.serial

    @property
    def camera(self) -> CameraId:
        """Of its stay."""
        return self.stay.camera

    def add(self, vector: Floats, quality: float, at: float) -> None:
        """Remember a unit vector (d,), in place of the worst where there are many."""
        self.num_vectors += 1
        self.vectors.append((quality, vector.astype(np.float16).tobytes(), at))
        if len(self.vectors) > MAX_VECTORS:
            del self.vectors[min(range(MAX_VECTORS - _LATEST), key=lambda index: self.vectors[index][0])]

    def is_due(self, now: float) -> bool:
        """Say whether it must get an answer, be it by what little is known."""
        waited = max(now, self.stay.last_at) - self.stay.first_at
        return self.num_vectors > 1 or self.ended_at is not None or waited >= ANSWER_S

    def has_changed(self) -> bool:
        """Say whether the newest vector may have changed what it looks like."""
        return self.num_vectors in REVIEW_AT or self.num_vectors % REVIEW_AT[-1] == 0

    def matrix(self) -> Floats:
        """Return the vectors (n, d)."""
        data = b"".join(data for _, data, _ in self.vectors)
        return np.frombuffer(data, dtype=np.float16).reshape(len(self.vectors), -1).astype(np.float32)

    def shares(self) -> Floats:
        """Return how much each vector counts (n,), summing to 1: by its quality."""
        quality = np.asarray([quality for quality, _, _ in self.vectors], dtype=np.float32) + np.float32(1e-3)
        return np.asarray(quality / quality.sum(), dtype=np.float32)

    def mean(self) -> Floats:
        """Return the mean (d,) of the vectors by quality, as they came: raw."""
        return np.asarray(self.shares() @ self.matrix(), dtype=np.float32)

    def quality(self) -> float:
        """Return the mean quality of the vectors."""
        return sum(quality for quality, _, _ in self.vectors) / max(1, len(self.vectors))


def by_time(stay: Stay) -> tuple[float, int]:
    """Return what stays are put in order by."""
    return stay.first_at, stay.serial


def spans_of(stays: Iterable[Stay]) -> tuple[tuple[float | None, float | None], ...]:
    """Return [since, until) of each stay within its track; empty where all are whole tracks."""
    spans = tuple((stay.since, stay.until) for stay in stays)
    return spans if any(span != (None, None) for span in spans) else ()


def are_apart(a: Box, b: Box) -> bool:
    """Say whether two boxes of one instant are surely two people, and not one person detected twice.

    A second box of the same person (head and shoulders, or with a bag) lies mostly within the first.
    """
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return True
    smaller = min((a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1]))
    return width * height < 0.7 * smaller


_LINGER_S = 10.0
"""Ended tracks are remembered so long, for observations that come late."""
_SILENT_S = 60.0
"""Tracks whose camera fell silent without ending them are closed after so long."""

Instant = tuple[float, dict[int, Box]]
"""When, and the boxes seen then by serial."""


class OpenTracks:
    """Open tracks by serial."""

    def __init__(self) -> None:
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
        """Return an open track; none if it is over."""
        return self._tracks.get(serial)

    def put(self, tracklet: Tracklet) -> None:
        """Take in a track as known from elsewhere."""
        self._tracks[tracklet.serial] = tracklet
        self._serials[tracklet.stay.key] = tracklet.serial

    def instants(self) -> dict[str, Instant]:
        """Return who was last seen at once, by camera."""
        return {str(camera): (at, dict(boxes)) for camera, (at, boxes) in self._instant.items()}

    def restore_instants(self, instants: Mapping[str, Instant]) -> None:
        """Go on from earlier `instants`."""
        self._instant = {CameraId(camera): (at, dict(boxes)) for camera, (at, boxes) in instants.items()}

    def find(self, seen: Observation | TrackEnded) -> Tracklet | None:
        """Return the track of a record, if it is open."""
        serial = self._serials.get((seen.run, seen.camera, seen.track))
        return None if serial is None else self._tracks[serial]

    def see(self, seen: Observation, now: float) -> Tracklet:
        """Return the track of an observation, opened if it is new, with its times brought up to date."""
        tracklet = self.find(seen)
        if tracklet is None:
            stay = Stay(self.next_serial, seen.run, seen.camera, seen.track, seen.seen_at, seen.seen_at)
            stay.came, stay.area = spot(seen.box), float(seen.frame_size[0] * seen.frame_size[1])
            tracklet = Tracklet(stay, now)
            self.next_serial += 1
            self.put(tracklet)
        tracklet.heard_at = now
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
        """Note beside whom a track is seen at this very instant; return those who are new beside it."""
        at, boxes = self._instant.get(seen.camera, (-np.inf, {}))
        if at - _SILENT_S < seen.seen_at < at:
            return []  # late: the instant it belongs to is over
        if seen.seen_at != at:  # a new instant, or a clock that jumped back
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
        """Let the tracks of `gone` be `into`'s."""
        for tracklet in self._tracks.values():
            if tracklet.person == gone:
                tracklet.person = into
            if tracklet.split_from == gone:
                tracklet.split_from = into

    def forget(self, person: int) -> None:
        """Drop everything about a person who is no longer known; such a person has no track in view."""
        for tracklet in list(self._tracks.values()):
            if tracklet.person == person:
                self._remove(tracklet)

    def close(self, now: float) -> list[Tracklet]:
        """Remove and return the tracks that ended long enough ago, or whose camera fell silent."""
        done = [t for t in self._tracks.values() if now - t.heard_at > (_SILENT_S if t.ended_at is None else _LINGER_S)]
        for tracklet in done:
            self._remove(tracklet)
        return done

    def cut(self, tracklet: Tracklet, place: int, now: float, find: Callable[[int], Stay | None]) -> Tracklet:
        """End a track where it went over to somebody else, and return the track of that other.

        Args:
            tracklet: the track.
            place: its vectors from this one on are the other's.
            now: of the update.
            find: the stay of a serial, of open tracks and of those that are over.
        """
        old, at = tracklet.stay, (tracklet.vectors[place - 1][2] + tracklet.vectors[place][2]) / 2
        stay = Stay(self.next_serial, old.run, old.camera, old.track, at, max(at, old.last_at), since=at)
        stay.until, old.until, old.last_at = old.until, at, min(at, old.last_at)
        stay.left, old.left, stay.area = old.left, None, old.area
        self.next_serial += 1
        fresh = Tracklet(stay, now, tracklet.ended_at, last=tracklet.last)
        fresh.vectors, tracklet.vectors = tracklet.vectors[place:], tracklet.vectors[:place]
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
        stay.barred = set(old.barred)  # what a person said holds for every part
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
        if self._serials.get(tracklet.stay.key) == tracklet.serial:  # else a later part of the track goes on
            del self._serials[tracklet.stay.key]
