"""Identify tracks: which known identity each is, or a new one, and when that is decided (pure).

    waiting tracks -> candidates -> clear match: now | clearly new: `answer_s` | in doubt: `answer_s + doubt_s`
                   -> joint assignment -> known identity | new identity, one for tracks that match each other

Most tracks are decided by their first vector, and rightly so; of the false and missed matches of simulated sites three
quarters had their best candidate within `_CLEAR` of what is required of it, of the right ones a quarter. Those wait for
more vectors (Wald, "Sequential tests of statistical hypotheses", Annals of Mathematical Statistics 16, 1945).
"""

from collections.abc import Callable, Collection, Sequence

from reid_stream.match.assignment import assign, grouped
from reid_stream.match.candidates import Candidate, Candidates, Query
from reid_stream.match.corrections import Corrections
from reid_stream.match.gallery import Gallery
from reid_stream.match.identities import Identities, Person, RetirementReason
from reid_stream.match.scoring import EvidenceDiscount, Template
from reid_stream.match.topology import Topology
from reid_stream.match.tracklets import OpenTracks, Tracklet
from reid_stream.records import Decision, Retirement, Split

_CLEAR = 3.0
"""Surplus over what is required from which a match is clear; below its negative a candidate is clearly another."""


class TrackIdentification:
    """Assignment of the tracks without an identity."""

    def __init__(
        self,
        people: Identities,
        gallery: Gallery,
        tracks: OpenTracks,
        candidates: Candidates,
        corrections: Corrections,
        topology: Topology,
        discount: EvidenceDiscount,
        retire: Callable[[Person, RetirementReason, float], Retirement],
    ) -> None:
        self._people, self._gallery, self._tracks = people, gallery, tracks
        self._candidates, self._corrections, self._topology = candidates, corrections, topology
        self._discount, self._retire = discount, retire

    def template(self, tracklet: Tracklet) -> Template:
        """Return the template of a track."""
        return self._gallery.fold(tracklet.mean, tracklet.camera)

    def update_view(self, tracklet: Tracklet) -> None:
        """Update the view of a track in the gallery."""
        assert tracklet.person is not None, "only tracks with an identity have a view"
        weight = self._discount.independent(len(tracklet.vectors)) * tracklet.quality()
        self._gallery.put(tracklet.person, tracklet.mean, weight, tracklet.camera, tracklet.serial)

    def identify(self, fresh: Collection[int], now: float) -> tuple[list[Decision], list[Tracklet]]:
        """Assign all tracks without an identity jointly; return the decisions and the tracks considered.

        Args:
            fresh: serials of the tracks with new vectors.
            now: UTC seconds.
        """
        waiting = [t for t in self._tracks if t.person is None and t.vectors]
        waiting = [t for t in waiting if t.serial in fresh or self._tracks.is_due(t, now)]  # others have not changed
        if not waiting:
            return [], []
        decisions: list[Decision] = []
        queries = [Query(self.template(t), [t.stay], self._people.beside(t.stay)) for t in waiting]
        found = self._candidates.find(queries, -_CLEAR)
        for track, candidates in zip(waiting, found, strict=True):
            track.in_doubt = bool(candidates) and candidates[0].surplus < _CLEAR
        gains = {
            (row, candidate.person): candidate.surplus
            for row, candidates in enumerate(found)
            for candidate in candidates
            if self._tracks.is_due(waiting[row], now) or candidate.surplus >= _CLEAR
        }
        conflicts = {
            (a, b) for a in range(len(waiting)) for b in range(a + 1, len(waiting)) if self._conflict(waiting, a, b)
        }
        left = []
        for row, person in enumerate(assign(gains, conflicts, len(waiting))):
            if person is not None:
                best = next(c for c in found[row] if c.person == person)
                decisions += self._bind(waiting[row], person, best, now)
            elif self._tracks.is_due(waiting[row], now) or not self._can_be_known(queries[row]):
                left.append(row)
        return decisions + self._add_identities(left, waiting, queries, now), waiting

    def _add_identities(
        self, left: list[int], waiting: list[Tracklet], queries: list[Query], now: float
    ) -> list[Decision]:
        """Create identities for tracks, one for several tracks that match each other, as on overlapping cameras."""
        groups = grouped(
            left,
            conflict=lambda a, b: self._conflict(waiting, a, b),
            llr=lambda a, b: self._candidates.pair_llr(queries[a], queries[b]),
            threshold=self._candidates.threshold,
        )
        return [decision for group in groups for decision in self._add_identity([waiting[row] for row in group], now)]

    def _conflict(self, waiting: list[Tracklet], a: int, b: int) -> bool:
        """Return whether two tracks cannot be one person."""
        one, other = waiting[a].stay, waiting[b].stay
        return other.serial in one.apart or self._topology.excludes(one, other)

    def _can_be_known(self, query: Query) -> bool:
        """Return whether any known identity is not forbidden to a query."""
        return len(self._people) > sum(number in self._people for number in query.forbidden)

    def _bind(self, tracklet: Tracklet, number: int, found: Candidate | None, now: float) -> list[Split]:
        person = self._people[number]
        tracklet.person, tracklet.bound_at = number, now
        if found is not None:
            tracklet.similarity, tracklet.probability = found.similarity, found.probability
        person.tracks.add(tracklet.serial)
        self._people.give(tracklet.stay, number)
        self._people.see(number, tracklet.stay.last_at, now)
        if tracklet.ended_at is None:
            person.in_view.add(tracklet.serial)
        person.num_vectors += tracklet.num_vectors
        self.update_view(tracklet)
        former, tracklet.split_from = tracklet.split_from, None
        if former in (None, number) or former not in self._people:
            return []
        return [self._corrections.split(self._people[former], number, [tracklet.stay])]

    def _add_identity(self, tracklets: Sequence[Tracklet], now: float) -> list[Decision]:
        """Create one identity for tracks; the longest unseen one is evicted if the gallery is full."""
        has_room, evicted = self._people.make_room()
        decisions: list[Decision] = []
        if evicted is not None:
            decisions.append(self._retire(evicted, "gallery full", now))
        if not has_room:
            return decisions  # all identities are in view: the tracks wait until one leaves
        first, last = min(t.stay.first_at for t in tracklets), max(t.stay.last_at for t in tracklets)
        person = self._people.new(first, last, now)
        for tracklet in tracklets:
            decisions += self._bind(tracklet, person.number, None, now)
        return decisions
