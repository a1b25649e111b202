"""Correct earlier assignments: merge identities of one person, split identities of several (pure).

    identities whose views changed, and the recently seen in turn -> Merge | Split

Assigning tracks one by one gives a good partition of tracks into identities, not the best. Two local moves improve it:
two identities are merged, or tracks move to another identity, known or new (Kernighan & Lin, "An efficient heuristic
procedure for partitioning graphs", 1970; with joins: Keuper et al., "Efficient decomposition of image and mesh graphs
by lifted multicuts", ICCV 2015; for tracks with re-identification: Tang et al., "Multiple people tracking by lifted
multicut and person re-identification", CVPR 2017). A merge needs the threshold of a match; a track stays unless another
identity is clearly likelier, so that no track oscillates. The number of moves per update is bounded.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

from reid_stream.match.candidates import Candidate, Candidates, Query
from reid_stream.match.gallery import Gallery
from reid_stream.match.identities import Identities, Person
from reid_stream.match.tracklets import OpenTracks, Stay, Tracklet, by_time, spans_of
from reid_stream.records import Decision, GlobalId, Merge, Split

REVIEWS = 3
"""Recently seen identities reviewed per update, in turn."""
HOLD = 1.0
"""Margin below the threshold at which tracks become a new identity, log likelihood ratio."""
PREFER = 0.5
"""Margin by which the ratio to another identity must be greater before a track moves there."""
SURE = 3.0
"""Surplus over the threshold from which no other identity is considered for a track."""
_MOVES = 3
"""Moves of one track at most."""


@dataclass(frozen=True, slots=True)
class _Doubtful:
    """A track that may belong to another identity."""

    person: Person
    stay: Stay
    fit: float
    """Log likelihood ratio of the track and the rest of its identity."""
    query: Query


class Corrections:
    """Incremental improvement of the partition of tracks into identities."""

    def __init__(
        self,
        people: Identities,
        gallery: Gallery,
        tracks: OpenTracks,
        candidates: Candidates,
        global_id: Callable[[int], GlobalId],
        settle_s: float,
    ) -> None:
        self._people, self._gallery, self._tracks = people, gallery, tracks
        self._candidates, self._global_id, self._settle_s = candidates, global_id, settle_s
        self.queue: list[int] = []
        """Recently seen identities still to be reviewed, the next one last."""

    def review(self, touched: Iterable[int], now: float) -> list[Decision]:
        """Return merges and splits of the identities whose views just changed and of some recently seen ones."""
        if not self._settle_s:
            return []
        decisions: list[Decision] = []
        numbers = dict.fromkeys(touched)
        if not self.queue:
            recent = islice(self._people.recent(), 4096)
            self.queue = [person.number for person in recent if now - person.updated_at <= self._settle_s]
        for _ in range(min(REVIEWS, len(self.queue))):
            numbers[self.queue.pop()] = None
        for number in numbers:
            if number in self._people:
                decisions += self._split_off(self._people[number])
        people = [self._people[number] for number in numbers if number in self._people and number in self._gallery]
        doubts = [doubt for person in people for doubt in self._doubts(person)]
        # One product with the gallery for all queries.
        queries = [doubt.query for doubt in doubts] + [self._query(person) for person in people]
        found = self._candidates.find(queries)
        splits, moved = self._move(doubts, found[: len(doubts)])
        decisions += splits
        for person, candidates in zip(people, found[len(doubts) :], strict=True):
            if candidates and not moved & {person.number, candidates[0].person}:
                decisions += self._merge(person.number, candidates[0])
        return decisions

    def detach_one(self, a: Tracklet, b: Tracklet) -> None:
        """Detach one of two tracks seen side by side from their common identity: the one less like the rest of it."""
        assert a.person is not None, "only tracks with an identity can be detached"
        person = self._people[a.person]
        fits = {track.serial: self._fit(person, track.stay) for track in (a, b)}
        loser = min((a, b), key=lambda track: (fits[track.serial], -track.bound_at, -track.serial))
        if fits[a.serial] == fits[b.serial]:
            loser = max((a, b), key=lambda track: (track.bound_at, track.serial))
        if a.stay.held != b.stay.held:
            loser = b if a.stay.held else a
        self._release(loser.stay, person)
        loser.split_from = person.number if loser.split_from is None else loser.split_from
        loser.person = loser.similarity = loser.probability = None

    def appearance_llr(self, person: Person, stay: Stay) -> float:
        """Return the log likelihood ratio by appearance of a stay and the others of its identity; 0 without others."""
        view = self._gallery.view(person.number, stay.serial)
        rest = self._gallery.template(person.number, without=stay.serial)
        if view is None or rest is None:
            return 0.0
        return self._candidates.pair_llr(Query(view, (), set()), Query(rest, (), set()))

    def _fit(self, person: Person, stay: Stay) -> float:
        """Return the log likelihood ratio of a stay and the others of its identity; infinite without others."""
        view = self._gallery.view(person.number, stay.serial)
        rest = self._gallery.template(person.number, without=stay.serial)
        if view is None or rest is None:
            return float("inf")
        others = [kept for kept in person.stays if kept.serial != stay.serial]
        return self._candidates.pair_llr(Query(view, [stay], set()), Query(rest, others, set()))

    def _query(self, person: Person) -> Query:
        template = self._gallery.template(person.number)
        assert template is not None, "only identities with views are queried"
        return Query(template, person.stays, self._people.apart(person) | {person.number})

    def _doubts(self, person: Person) -> list[_Doubtful]:
        """Return the tracks of an identity whose fit is not clearly above the threshold."""
        views = self._gallery.similarities(person.number)
        if views is None or len(views.sources) < 2:
            return []
        stays = {stay.serial: stay for stay in person.stays}
        doubts = []
        looks = self._candidates.appearance_llrs(views.fits())
        for place, (source, look) in enumerate(zip(views.sources, looks, strict=True)):
            stay = stays.get(source)
            if stay is None or stay.moves >= _MOVES or stay.held:
                continue
            fit = look + self._candidates.transit_llr([stay], [kept for kept in person.stays if kept is not stay])
            if fit < self._candidates.threshold + SURE:
                query = Query(views.templates[place], [stay], self._people.beside(stay) | {person.number})
                doubts.append(_Doubtful(person, stay, fit, query))
        return doubts

    def _move(self, doubts: Sequence[_Doubtful], found: Sequence[Sequence[Candidate]]) -> tuple[list[Split], set[int]]:
        """Move the track with the greatest gain of each identity; return the splits and the identities changed."""
        splits: list[Split] = []
        best: dict[int, tuple[float, _Doubtful, Candidate]] = {}
        for doubt, candidates in zip(doubts, found, strict=True):
            if candidates:
                gain = candidates[0].llr - doubt.fit
                if gain > PREFER and gain > best.get(doubt.person.number, (PREFER,))[0]:
                    best[doubt.person.number] = gain, doubt, candidates[0]
        moved: set[int] = set()
        for number, (_, doubt, candidate) in best.items():
            if not moved & {number, candidate.person}:
                splits.append(self._reassign([doubt.stay], doubt.person, candidate.person, candidate))
                moved |= {number, candidate.person}
        return splits, moved

    def _split_off(self, person: Person) -> list[Split]:
        """Split the less fitting half of an identity off, to an identity that fits better or a new one."""
        views = self._gallery.similarities(person.number)
        stays = {stay.serial: stay for stay in person.stays}
        places = [] if views is None else [n for n, source in enumerate(views.sources) if source in stays]
        if views is None or len(places) < 2:
            return []
        halves = views.halves(places)
        rest, outliers = sorted(halves, key=lambda half: (-len(half), min(views.sources[place] for place in half)))
        leaving = sorted((stays[views.sources[place]] for place in outliers), key=by_time)
        if any(stay.moves >= _MOVES or stay.held for stay in leaving):
            return []
        staying = [stay for stay in person.stays if stay not in leaving]
        look = float(self._candidates.appearance_llrs([views.apart(rest, outliers)])[0])
        fit = look + self._candidates.transit_llr(staying, leaving)
        if fit >= self._candidates.threshold:
            return []
        b = self._gallery.template_of(person.number, [views.sources[place] for place in outliers])
        assert b is not None, "a source has a view"
        forbidden = {person.number}.union(*(self._people.beside(stay) for stay in leaving))
        best = next(iter(self._candidates.find([Query(b, leaving, forbidden)])[0]), None)
        if best is not None and best.llr > fit + PREFER:
            return [self._reassign(leaving, person, best.person, best)]
        if fit < self._candidates.threshold - HOLD and best is None and len(self._people) < self._people.bound:
            fresh = self._people.new(leaving[0].first_at, max(s.last_at for s in leaving), person.updated_at)
            return [self._reassign(leaving, person, fresh.number, None)]
        return []

    def _reassign(self, stays: list[Stay], person: Person, into: int, best: Candidate | None) -> Split:
        """Move stays with their views to another person."""
        self.reassign(stays, person, into, best)
        return self.split(person, into, stays)

    def similarity(self, a: Person, b: Person) -> float:
        """Return the cosine of the templates of two identities; 0 where one has no view."""
        template = self._gallery.template(a.number)
        return self._candidates.similarity(template, b.number) if template and b.number in self._gallery else 0.0

    def reassign(self, stays: Sequence[Stay], person: Person, into: int, best: Candidate | None) -> None:
        """Move stays with their views to another person."""
        heir = self._people[into]
        for stay in stays:
            track = self._tracks.get(stay.serial)
            in_view = stay.serial in person.in_view
            count = track.num_vectors if track is not None else 1
            self._gallery.move_source(person.number, into, stay.serial)
            self._people.take(stay, person.number)
            stay.moves += 1
            self._people.give(stay, into)
            heir.num_vectors += count
            person.num_vectors = max(0, person.num_vectors - count)
            heir.last_at = max(heir.last_at, stay.last_at)
            heir.updated_at = max(heir.updated_at, person.updated_at)
            if track is not None:
                heir.tracks.add(stay.serial)
                if in_view:
                    heir.in_view.add(stay.serial)
                track.person = into
                track.similarity = best.similarity if best is not None else None
                track.probability = best.probability if best is not None else None
        person.revision += 1

    def split(self, person: Person, into: int, stays: Sequence[Stay]) -> Split:
        """Return the decision that stays have left `person`."""
        return Split(
            person=self._global_id(person.number),
            into=self._global_id(into),
            tracks=tuple((stay.camera, stay.run, stay.track) for stay in stays),
            revision=person.revision,
            into_revision=self._people[into].revision,
            into_state=self._people[into].state,
            at=max(stay.last_at for stay in stays),
            spans=spans_of(stays),
        )

    def _release(self, stay: Stay, person: Person) -> None:
        self._people.take(stay, person.number)
        self._gallery.remove_source(person.number, stay.serial)
        person.revision += 1

    def _merge(self, number: int, found: Candidate) -> list[Merge]:
        """Merge the identity with the higher number into the other one."""
        if number not in self._people or found.person not in self._people:
            return []  # one of them was merged earlier in this update
        into, gone = (self._people[n] for n in sorted((number, found.person)))
        if gone.number in self._people.apart(into):
            return []  # a merge earlier in this update added a track seen beside it
        label = "" if into.label else gone.label
        self._people.merge(gone, into)
        self._tracks.rename(gone.number, into.number)
        for serial in into.tracks:
            track = self._tracks[serial]
            track.similarity, track.probability = found.similarity, found.probability
        return [
            Merge(
                gone=self._global_id(gone.number),
                into=self._global_id(into.number),
                revision=into.revision,
                similarity=found.similarity,
                probability=found.probability,
                at=into.stays[-1].last_at,
                label=label,
            )
        ]
