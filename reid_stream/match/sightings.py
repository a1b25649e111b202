"""Who was seen, and who is believed: what the matcher says of every observation, once its track has a person (pure)."""

from collections.abc import Iterable
from dataclasses import dataclass

from reid_stream.match.identities import Identities
from reid_stream.match.tracklets import MAX_PENDING, OpenTracks, Tracklet
from reid_stream.records import Confirmation, Decision, GlobalId, Observation, Sighting


@dataclass(slots=True)
class SightingBuffer:
    """Holds observations back until it is decided who they are; none is told twice or forgotten in silence."""

    site: str
    people: Identities
    tracks: OpenTracks
    confirm_vectors: int
    unnamed: int = 0
    """Observations that were never told of anybody: of tracks that had no vector to their end."""

    def name(self, number: int) -> GlobalId:
        """Return a person's global ID."""
        return GlobalId(f"{self.site}-{number}")

    def see(self, seen: Observation, out: list[Decision]) -> None:
        """Tell of an observation, or hold it back."""
        tracklet = self.tracks.find(seen)
        if tracklet is None:
            return
        tracklet.pending.append(seen)
        if tracklet.person is None:
            self.unnamed += len(tracklet.pending[:-MAX_PENDING])
            del tracklet.pending[:-MAX_PENDING]
        else:
            self._tell(tracklet, tracklet.person, out)

    def catch_up(self, bound: Iterable[Tracklet], out: list[Decision]) -> None:
        """Tell what was held back of tracks that have a person now, though nothing new came of them."""
        for tracklet in bound:
            if tracklet.person is not None and tracklet.person in self.people:  # else evicted in this very update
                self._tell(tracklet, tracklet.person, out)

    def confirm(self, fresh: Iterable[int], out: list[Decision]) -> None:
        """Believe people with enough vectors; `fresh`: serials of the tracks with new ones."""
        for serial in fresh:
            tracklet = self.tracks.get(serial)
            if tracklet is None or tracklet.person is None:
                continue  # its person was evicted in this very update, or there is no room for one
            person = self.people[tracklet.person]
            if person.state == "provisional" and person.num_vectors >= self.confirm_vectors:
                person.state = "confirmed"
                assert tracklet.last is not None, "a track is made by an observation"
                name = self.name(person.number)
                out.append(Confirmation(name, person.revision, tracklet.last.seen_at, tracklet.last))

    def close(self, tracklet: Tracklet) -> None:
        """Count what is left of a track that is over."""
        if tracklet.person is None:
            self.unnamed += len(tracklet.pending)

    def _tell(self, tracklet: Tracklet, number: int, out: list[Decision]) -> None:
        person, because = self.people[number], (tracklet.similarity, tracklet.probability)
        name = self.name(number)
        out.extend(Sighting(name, person.state, *because, person.revision, seen) for seen in tracklet.pending)
        tracklet.pending.clear()
