"""Assign the tracks of all cameras to identities (pure).

    observations -> open tracks collect vectors -> one template per track -> candidates among known identities
                 -> joint assignment of all waiting tracks -> known identity | new provisional identity -> confirmation
                 -> review (corrections.py): merge | split -> retirement

Invariant: an identity never has two tracks side by side on one camera. Tracks seen side by side never share an identity
again; where two tracks of one identity turn out to be side by side, the one less like the rest is split off. A track is
identified within `match.answer_s` of its first vector; where that was too early, a Merge or Split follows.

`Matcher.state` returns the complete state as one serialisable value.
"""

from collections.abc import Collection, Sequence

import numpy as np

from reid_stream.bundles.bundle import Calibration, Verifier
from reid_stream.config.settings import Match as MatchSettings
from reid_stream.config.settings import TopologySettings
from reid_stream.instructions import Instruction
from reid_stream.match.assignment import assign, grouped
from reid_stream.match.camera_bias import CameraShifts, shifted
from reid_stream.match.candidates import Candidate, Candidates, NewIdentityPrior, Query
from reid_stream.match.change_point import find_change
from reid_stream.match.corrections import Corrections
from reid_stream.match.gallery import Gallery
from reid_stream.match.identities import Identities, Person, RetirementReason
from reid_stream.match.input_checks import InputChecks
from reid_stream.match.override_log import OverrideLog
from reid_stream.match.overrides import Overrides
from reid_stream.match.scoring import EvidenceDiscount, Scorer, Template
from reid_stream.match.sightings import SightingBuffer
from reid_stream.match.site_strangers import SiteStrangers, SiteThreshold
from reid_stream.match.snapshot import MatcherSnapshot, MatcherState, join
from reid_stream.match.topology import Topology
from reid_stream.match.tracklets import OpenTracks, Stay, Tracklet
from reid_stream.records import (
    Decision,
    Floats,
    GlobalId,
    Observation,
    Perceived,
    Retirement,
    Split,
    TrackEnded,
)

_CLEAR = 2.0
"""Surplus over the threshold that lets a single vector decide."""
_LEARN_VECTORS = 5
"""Vectors per track that enter its camera's mean, so that a person who stays does not dominate it."""
_SURE = 1.0
"""Surplus over the threshold from which the topology is learned from a match."""
_IMPOSTORS = 48
"""Recently seen identities that serve as pairs of different people when the topology learns from a match."""


class Matcher:
    """Matcher of one site; not thread-safe."""

    def __init__(
        self,
        settings: MatchSettings,
        site: str,
        model: str,
        verifier: Verifier | None = None,
        calibration: Calibration | None = None,
        dim: int | None = None,
        state: MatcherState | None = None,
        first_number: int = 1,
        topology: TopologySettings | None = None,
        cameras: Collection[str] | None = None,
    ) -> None:
        """Create a matcher, or restore one from an earlier `state`; `factory.matcher_for` states the other arguments.

        Of the embedder, `model` is the hash of its bundle, whose vectors alone are accepted; without `verifier` pairs
        are scored by cosine; without `dim` the length of the first vector is accepted.
        """
        self._settings = settings
        self.site = site
        """Prefix of global IDs."""
        self._model = model
        self._input_checks = InputChecks(model, dim, cameras)
        self._scorer = Scorer(settings, verifier, calibration)
        self._gallery = Gallery(settings.exemplars, settings.max_identities, self._scorer.fold)
        self._people = Identities(settings, self._gallery, first_number)
        self._camera_shifts = CameraShifts()
        self._tracks = OpenTracks(settings.answer_s)
        self.topology = Topology(topology or TopologySettings())
        """Stated and learned transitions between cameras."""
        self._prior = state.newcomers if state is not None else NewIdentityPrior()
        self._discount = state.redundancy if state is not None else EvidenceDiscount()
        self._strangers = state.strangers if state is not None and state.model == model else SiteStrangers()
        threshold = self._site_threshold = SiteThreshold(self._scorer, self._strangers, settings.false_match_rate)
        self._candidates = Candidates(self._scorer, self._gallery, self._people, self.topology, self._prior, threshold)
        self._sightings = SightingBuffer(site, self._people, self._tracks, settings.confirm_vectors)
        self._corrections = Corrections(
            self._people, self._gallery, self._tracks, self._candidates, self._sightings.global_id, settings.settle_s
        )
        self.override_log = state.override_log if state is not None else OverrideLog()
        """Instructions applied."""
        self._overrides = Overrides(
            site, self._people, self._tracks, self._corrections, self._retire, self.override_log
        )
        if state is not None:
            self._restore(state)

    def __len__(self) -> int:
        """Return the number of known identities."""
        return len(self._people)

    @property
    def rejected(self) -> dict[str, int]:
        """Rejected vectors by cause; their observations still count as sightings."""
        return self._input_checks.rejected

    @property
    def odd(self) -> dict[str, int]:
        """Observations used although late, out of order, ahead of time or of an unknown camera, by cause."""
        return self._input_checks.odd

    def change_cameras(self, cameras: Collection[str]) -> None:
        """Count observations of cameras other than these as odd from now on."""
        self._input_checks.change_cameras(cameras)

    @property
    def unnamed(self) -> int:
        """Observations never attributed to an identity, since their track ended without one."""
        return self._sightings.unnamed

    def update(self, records: Sequence[Perceived], now: float) -> list[Decision]:
        """Process perceived records and return the resulting decisions.

        Args:
            records: in time order per camera.
            now: UTC seconds; does not depend on cameras' clocks.
        """
        fresh: dict[int, None] = {}
        for record in records:
            if isinstance(record, TrackEnded):
                self._end_track(record, now)
            else:
                self._observe(record, fresh, now)
        self._gallery.apply_bias(self._camera_shifts.bias())
        self._cut(fresh, now)
        decisions, waiting = self._identify(fresh, now)
        decisions += self._corrections.review(self._changed_identities(fresh), now)
        for record in records:
            if isinstance(record, Observation):
                decisions += self._sightings.see(record)
        decisions += self._sightings.flush(waiting)
        decisions += self._sightings.confirm(fresh)
        self._close(self._tracks.close(now), now)
        for person in self._people.expired(now):
            decisions.append(self._retire(person, "expired", now))
        return decisions

    def labels(self) -> dict[GlobalId, str]:
        """Return the operators' labels by global ID."""
        return {self._sightings.global_id(person.number): person.label for person in self._people.all() if person.label}

    def instruct(self, instruction: Instruction, now: float) -> list[Decision]:
        """Apply an operator instruction at `now` (UTC seconds); the last decision is its `Answer`, done or refused.

        The answer to an erasure follows when stored data is deleted. An instruction applied before gives no decision.
        """
        return self._overrides.apply(instruction, now)

    def state(self) -> MatcherState:
        """Return the complete state as an independent value."""
        return join(self.capture().parts())

    def capture(self) -> MatcherSnapshot:
        """Return a snapshot that can be written while the matcher continues."""
        people = self._people.all()
        state = MatcherState(
            model=self._model,
            next_number=self._people.next_number,
            next_serial=self._tracks.next_serial,
            people=people,
            exemplars={},
            tracks=list(self._tracks),
            cameras=self._camera_shifts.state(),
            topology=self.topology.state(),
            newcomers=self._prior,
            redundancy=self._discount,
            override_log=self.override_log,
            gallery=self._gallery.state(),
            recent=self._people.seen_order(),
            turn=self._corrections.queue,
            instants=self._tracks.instants(),
            strangers=self._strangers,
        )
        return MatcherSnapshot(state, self._gallery.freeze())

    def _restore(self, state: MatcherState) -> None:
        self._people.next_number = max(state.next_number, self._people.next_number)
        self._tracks.next_serial = state.next_serial
        self.topology.restore(state.topology)
        if state.model != self._model:
            self.override_log.done.clear()
            return
        self._camera_shifts.restore(state.cameras)
        if state.gallery is not None:
            self._gallery.restore(state.gallery, state.exemplars, self._camera_shifts.bias())
        else:
            self._gallery.apply_bias(self._camera_shifts.bias())
        stays: dict[int, Stay] = {}
        for person in state.people:
            self._people.put(person, [] if state.gallery is not None else state.exemplars.get(person.number, []))
            stays.update((stay.serial, stay) for stay in person.stays)
        for tracklet in state.tracks:
            tracklet.stay = stays.get(tracklet.serial, tracklet.stay)  # the object that its identity holds
            self._tracks.put(tracklet)
        self._people.order(state.recent)
        self._corrections.queue = list(state.turn)
        self._tracks.restore_instants(state.instants)
        lengths = (len(e.vector) // 2 for known in state.exemplars.values() for e in known)
        self._input_checks.dim = next(lengths, self._input_checks.dim)

    def _observe(self, seen: Observation, fresh: dict[int, None], now: float) -> None:
        self._input_checks.check_times(seen, now)
        tracklet = self._tracks.see(seen, now)
        if tracklet.person is not None:
            self._people.see(tracklet.person, seen.seen_at, now)
        vector = self._input_checks.usable_vector(seen)
        if vector is not None:
            tracklet.add(vector, seen.quality, seen.seen_at)
            fresh[tracklet.serial] = None
            if tracklet.num_vectors <= _LEARN_VECTORS:
                self._camera_shifts.learn(seen.camera, vector)
            if tracklet.person is not None:
                self._people[tracklet.person].num_vectors += 1
                self._update_view(tracklet)
        for other in self._tracks.note_neighbours(seen, tracklet):
            if tracklet.person is not None and tracklet.person == other.person:
                self._corrections.detach_one(tracklet, other)
        if tracklet.person is not None and self.topology.rules_out:
            for serial in self._people[tracklet.person].in_view - {tracklet.serial}:
                if self.topology.excludes(tracklet.stay, self._tracks[serial].stay):
                    self._corrections.detach_one(tracklet, self._tracks[serial])
                    break

    def _cut(self, fresh: dict[int, None], now: float) -> None:
        """Cut tracks that switched from one person to another."""
        for serial in list(fresh) if self._settings.settle_s else ():
            tracklet = self._tracks.get(serial)
            if tracklet is None or len(tracklet.vectors) < 2 or tracklet.stay.held:
                continue
            vectors = shifted(tracklet.matrix, self._gallery.shift_of(tracklet.camera))
            place = find_change(vectors, tracklet.shares, self._scorer, self._scorer.floor(self._gallery.bias))
            if place is None:
                continue
            other = self._tracks.cut(tracklet, place, now, self._stay)
            fresh[other.serial] = None
            if tracklet.person is not None:
                person = self._people[tracklet.person]
                person.in_view.discard(serial)
                person.num_vectors = max(1, person.num_vectors - other.num_vectors)
                other.split_from = tracklet.person
                self._update_view(tracklet)
            elif tracklet.split_from is not None:
                other.split_from = tracklet.split_from

    def _stay(self, serial: int) -> Stay | None:
        track = self._tracks.get(serial)
        return track.stay if track is not None else self._people.stay(serial)

    def _end_track(self, record: TrackEnded, now: float) -> None:
        tracklet = self._tracks.find(record)
        if tracklet is not None:
            tracklet.ended_at, tracklet.updated_at = record.seen_at, now
            if tracklet.person is not None:
                self._people[tracklet.person].in_view.discard(tracklet.serial)

    def _template(self, tracklet: Tracklet) -> Template:
        return self._gallery.fold(tracklet.mean, tracklet.camera)

    def _update_view(self, tracklet: Tracklet) -> None:
        """Update the view of a track in the gallery."""
        assert tracklet.person is not None, "only tracks with an identity have a view"
        weight = self._discount.independent(len(tracklet.vectors)) * tracklet.quality()
        self._gallery.put(tracklet.person, tracklet.mean, weight, tracklet.camera, tracklet.serial)

    def _identify(self, fresh: dict[int, None], now: float) -> tuple[list[Decision], list[Tracklet]]:
        """Assign all tracks without an identity jointly; return the decisions and the tracks considered."""
        waiting = [t for t in self._tracks if t.person is None and t.vectors]
        waiting = [t for t in waiting if t.serial in fresh or self._tracks.is_due(t, now)]  # others have not changed
        if not waiting:
            return [], []
        decisions: list[Decision] = []
        queries = [Query(self._template(t), [t.stay], self._people.beside(t.stay)) for t in waiting]
        found = self._candidates.find(queries)
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
        return other.serial in one.apart or self.topology.excludes(one, other)

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
        self._update_view(tracklet)
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

    def _changed_identities(self, fresh: dict[int, None]) -> list[int]:
        """Return the identities to review, since one of their tracks has changed enough."""
        tracks = [track for serial in fresh if (track := self._tracks.get(serial)) is not None]
        return [track.person for track in tracks if track.person is not None and track.has_changed()]

    def _close(self, tracklets: Sequence[Tracklet], now: float) -> None:
        """Close tracks and learn discount, prior and topology from them."""
        for tracklet in tracklets:
            self._sightings.close(tracklet)
            if tracklet.person is not None:
                self._people[tracklet.person].tracks.discard(tracklet.serial)
                self._people[tracklet.person].in_view.discard(tracklet.serial)
        seen = [tracklet for tracklet in tracklets if tracklet.person is not None and tracklet.vectors]
        templates = [self._template(tracklet) for tracklet in seen]
        for tracklet, template, squared in zip(seen, templates, self._gallery.distances(templates), strict=True):
            self._learn(tracklet, template, squared, now)

    def _learn(self, tracklet: Tracklet, template: Template, squared: Floats, now: float) -> None:
        person, stay = self._people[tracklet.person or 0], tracklet.stay
        mean = tracklet.shares @ shifted(tracklet.matrix, self._gallery.shift_of(tracklet.camera))
        self._discount.learn(len(tracklet.vectors), float(np.linalg.norm(mean)))
        beside = (self._tracks[serial] for serial in sorted(stay.apart) if serial in self._tracks)
        self._site_threshold.learn(tracklet, beside, self._template, self._scorer.floor(self._gallery.bias))
        before = person.before(stay)
        query = Query(template, [stay], self._people.beside(stay) | {person.number})
        self._prior.learn(is_new=before is None and not self._candidates.resembles_known(query, squared))
        if before is None or before.key == stay.key:  # parts of one track are no transition
            return
        if self._corrections.appearance_llr(person, stay) >= self._candidates.threshold + _SURE:
            self.topology.learn(before, stay, self._people.others_before(person, stay, _IMPOSTORS), now)

    def _retire(self, person: Person, reason: RetirementReason, now: float) -> Retirement:
        self._tracks.forget(person.number)
        return Retirement(self._sightings.global_id(person.number), reason, now, person.last_at, person.revision)
