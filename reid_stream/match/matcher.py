"""Assign the tracks of all cameras to identities (pure).

    observations -> open tracks collect vectors -> one template per track -> candidates among known identities
                 -> joint assignment of all waiting tracks -> known identity | new provisional identity -> confirmation
                 -> review (corrections.py): merge | split -> retirement

Invariant: an identity never has two tracks side by side on one camera. Tracks seen side by side never share an identity
again; where two tracks of one identity turn out to be side by side, the one less like the rest is split off. When a
track is identified, `identification` states; where that was too early, a Merge or Split follows.

`Matcher.state` returns the complete state as one serialisable value.
"""

from collections.abc import Collection, Sequence

import numpy as np

from reid_stream.bundles.bundle import Calibration, Verifier
from reid_stream.config.settings import Match as MatchSettings
from reid_stream.config.settings import TopologySettings
from reid_stream.instructions import Instruction
from reid_stream.match.camera_bias import CameraShifts, shifted
from reid_stream.match.candidates import Candidates, NewIdentityPrior, Query
from reid_stream.match.change_point import find_change
from reid_stream.match.corrections import Corrections
from reid_stream.match.gallery import Gallery
from reid_stream.match.identification import TrackIdentification
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
    TrackEnded,
)

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
        self._tracks = OpenTracks(settings.answer_s, settings.doubt_s)
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
        self._identification = TrackIdentification(
            self._people,
            self._gallery,
            self._tracks,
            self._candidates,
            self._corrections,
            self.topology,
            self._discount,
            self._retire,
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
        decisions, waiting = self._identification.identify(fresh, now)
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
                self._identification.update_view(tracklet)
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
                self._identification.update_view(tracklet)
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
        templates = [self._identification.template(tracklet) for tracklet in seen]
        for tracklet, template, squared in zip(seen, templates, self._gallery.distances(templates), strict=True):
            self._learn(tracklet, template, squared, now)

    def _learn(self, tracklet: Tracklet, template: Template, squared: Floats, now: float) -> None:
        person, stay = self._people[tracklet.person or 0], tracklet.stay
        mean = tracklet.shares @ shifted(tracklet.matrix, self._gallery.shift_of(tracklet.camera))
        self._discount.learn(len(tracklet.vectors), float(np.linalg.norm(mean)))
        beside = (self._tracks[serial] for serial in sorted(stay.apart) if serial in self._tracks)
        self._site_threshold.learn(
            tracklet, beside, self._identification.template, self._scorer.floor(self._gallery.bias)
        )
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
