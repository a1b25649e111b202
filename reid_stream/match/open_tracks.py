"""The tracks that are open on all cameras, and which of them were seen side by side (pure)."""

from collections.abc import Callable, Iterator, Mapping

import msgspec
import numpy as np

from reid_stream.match.tracklet import Key, Stay, Tracklet, are_apart
from reid_stream.match.walk import spot
from reid_stream.records import Box, CameraId, Observation, TrackEnded

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

    def recall(self, instants: Mapping[str, Instant]) -> None:
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

    def beside(self, seen: Observation, tracklet: Tracklet) -> list[Tracklet]:
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
