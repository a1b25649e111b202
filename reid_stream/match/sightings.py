"""Buffer observations until their track is identified, then emit sightings and confirmations (pure)."""

from collections.abc import Iterable
from dataclasses import dataclass

from reid_stream.match.identities import Identities
from reid_stream.match.tracklets import MAX_PENDING, OpenTracks, Tracklet
from reid_stream.records import Confirmation, GlobalId, Observation, Sighting


@dataclass(slots=True)
class SightingBuffer:
    """Buffer of the observations of tracks without an identity; each is emitted once or counted in `unnamed`."""

    site: str
    people: Identities
    tracks: OpenTracks
    confirm_vectors: int
    unnamed: int = 0
    """Observations never emitted, since their track ended without an identity or the buffer overflowed."""

    def global_id(self, number: int) -> GlobalId:
        """Return the global ID of an identity."""
        return GlobalId(f"{self.site}-{number}")

    def see(self, seen: Observation) -> list[Sighting]:
        """Buffer an observation; return the sightings of its track that are due: none until it is identified."""
        tracklet = self.tracks.find(seen)
        if tracklet is None:
            return []
        tracklet.pending.append(seen)
        if tracklet.person is None:
            self.unnamed += len(tracklet.pending[:-MAX_PENDING])
            del tracklet.pending[:-MAX_PENDING]
            return []
        return self._emit(tracklet, tracklet.person)

    def flush(self, tracklets: Iterable[Tracklet]) -> list[Sighting]:
        """Return the buffered sightings of tracks that have just been identified."""
        return [
            sighting
            for tracklet in tracklets
            if tracklet.person is not None and tracklet.person in self.people  # else evicted in this update
            for sighting in self._emit(tracklet, tracklet.person)
        ]

    def confirm(self, fresh: Iterable[int]) -> list[Confirmation]:
        """Confirm identities that have enough vectors; `fresh`: serials of the tracks with new ones."""
        confirmations = []
        for serial in fresh:
            tracklet = self.tracks.get(serial)
            if tracklet is None or tracklet.person is None:
                continue  # its identity was evicted in this update, or there is no room for one
            person = self.people[tracklet.person]
            if person.state == "provisional" and person.num_vectors >= self.confirm_vectors:
                person.state = "confirmed"
                assert tracklet.last is not None, "a track is made by an observation"
                name = self.global_id(person.number)
                confirmations.append(Confirmation(name, person.revision, tracklet.last.seen_at, tracklet.last))
        return confirmations

    def close(self, tracklet: Tracklet) -> None:
        """Count the observations left in the buffer of a track that has ended."""
        if tracklet.person is None:
            self.unnamed += len(tracklet.pending)

    def _emit(self, tracklet: Tracklet, number: int) -> list[Sighting]:
        person, because = self.people[number], (tracklet.similarity, tracklet.probability)
        name = self.global_id(number)
        sightings = [Sighting(name, person.state, *because, person.revision, seen) for seen in tracklet.pending]
        tracklet.pending.clear()
        return sightings
