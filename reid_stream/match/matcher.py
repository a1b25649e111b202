"""Observations of all cameras in, decisions about who is who out (pure).

    observations -> open tracks gather vectors -> one product with the gallery -> one-to-one assignment per camera
                 -> bind to a known person | found somebody new (provisional) -> confirm | merge | split | retire

The law: never one person twice at once on one camera. Tracks seen side by side are apart for good; people seen side by
side never merge; where two tracks of one person turn out to be side by side, the later one is split off. A track gets
an answer within `ANSWER_S` of its first vector; where that was too early a Merge corrects it, never silence.

`Matcher.state` is everything the matcher knows, in one serialisable value.
"""

from collections.abc import Sequence

import msgspec
import numpy as np
from scipy.optimize import linear_sum_assignment

from reid_stream.bundle import Calibration, Verifier
from reid_stream.config import Match as MatchSettings
from reid_stream.match.cameras import CameraShifts, shifted
from reid_stream.match.intake import Intake
from reid_stream.match.open_tracks import OpenTracks
from reid_stream.match.people import People, Person, RetirementReason
from reid_stream.match.state import State
from reid_stream.match.tracklet import MAX_PENDING, Tracklet
from reid_stream.match.verifier import Answer, Judge
from reid_stream.records import (
    Confirmation,
    Decision,
    Floats,
    GlobalId,
    Ints,
    Merge,
    Observation,
    Perceived,
    Retirement,
    Sighting,
    Split,
    TrackEnded,
)

ANSWER_S = 0.9
"""A track with a vector waits no longer than this for a better one before it gets an answer."""
_LEARN_VECTORS = 5
"""Vectors of one track that count for its camera's mean: somebody who stands about must not become the mean."""
_REVIEW_FACTOR = 2
"""A new person may still turn out to be a known one up to so many times `confirm_vectors`."""
_CANDIDATES = 10
"""People per track that are weighed with care."""


class Matcher:
    """Give every track a person; one matcher a site, called from one thread."""

    def __init__(
        self,
        settings: MatchSettings,
        site: str,
        model: str,
        verifier: Verifier | None = None,
        calibration: Calibration | None = None,
        dim: int | None = None,
        state: State | None = None,
        first_number: int = 1,
    ) -> None:
        """Begin, or go on from an earlier `state`.

        Args:
            settings: the dials.
            site: prefix of global IDs.
            model: hash of the embedder's bundle; observations of another are refused.
            verifier: the bundle's verification head.
            calibration: of that head.
            dim: length of the vectors; none takes the first one's.
            first_number: of the first new person; beyond every number ever given on this site.
            state: of an earlier matcher; people known by vectors of another model are left out, their numbers are not
                used again.
        """
        self._settings = settings
        self._site = site
        self._model = model
        self._intake = Intake(model, dim)
        self._judge = Judge(settings, verifier, calibration)
        self._people = People(settings, first_number)
        self._gallery = self._people.gallery
        self._cameras = CameraShifts()
        self._tracks = OpenTracks()
        if state is not None:
            self._restore(state)

    def __len__(self) -> int:
        """Return how many people can be matched."""
        return len(self._people)

    @property
    def rejected(self) -> dict[str, int]:
        """Vectors that could not be used, by cause; their observations still count as sightings."""
        return self._intake.rejected

    def update(self, records: Sequence[Perceived], now: float) -> list[Decision]:
        """Take in what was perceived, in time order per camera, and say what follows from it at `now` (UTC seconds)."""
        out: list[Decision] = []
        fresh: set[int] = set()
        for record in records:
            if isinstance(record, TrackEnded):
                self._end(record)
            else:
                self._take(record, fresh)
        self._gallery.move(self._cameras.centring())
        self._review(fresh, out)
        self._decide(fresh, now, out)
        for record in records:
            if isinstance(record, Observation):
                self._tell(record, out)
        self._confirm(fresh, out)
        for tracklet in self._tracks.close(now):
            if tracklet.person is not None:
                self._people[tracklet.person].tracks.discard(tracklet.serial)
                self._people[tracklet.person].in_view.discard(tracklet.serial)
        for person in self._people.expired(now):
            self._retire(person, "expired", now, out)
        return out

    def state(self) -> State:
        """Return everything the matcher knows; the value shares nothing with it."""
        people = self._people.all()
        state = State(
            model=self._model,
            next_number=self._people.next_number,
            next_serial=self._tracks.next_serial,
            people=people,
            exemplars={person.number: self._gallery.export(person.number) for person in people},
            tracks=list(self._tracks),
            cameras=self._cameras.state(),
        )
        return msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=State)

    def _restore(self, state: State) -> None:
        self._people.next_number, self._tracks.next_serial = (
            state.next_number,
            state.next_serial,
        )
        if state.model != self._model:
            return
        self._cameras.restore(state.cameras)
        for person in state.people:
            self._people.put(person, state.exemplars.get(person.number, []))
        self._gallery.move(self._cameras.centring())
        for tracklet in state.tracks:
            self._tracks.put(tracklet)
        lengths = (len(e.vector) // 2 for known in state.exemplars.values() for e in known)
        self._intake.dim = next(lengths, self._intake.dim)

    def _name(self, number: int) -> GlobalId:
        return GlobalId(f"{self._site}-{number}")

    def _take(self, seen: Observation, fresh: set[int]) -> None:
        tracklet = self._tracks.see(seen)
        if tracklet.person is not None:
            person = self._people[tracklet.person]
            person.last_at = max(person.last_at, seen.seen_at)
        vector = self._intake.vector(seen)
        if vector is not None:
            tracklet.add(vector, seen.quality)
            fresh.add(tracklet.serial)
            if tracklet.num_vectors <= _LEARN_VECTORS:
                self._cameras.learn(seen.camera, vector)
            if tracklet.person is not None:
                self._people.teach(tracklet.person, tracklet, vector, seen.quality)
        for other in self._tracks.beside(seen, tracklet):
            if tracklet.person is not None and other.person is not None:
                if tracklet.person == other.person:
                    self._take_away(
                        max(
                            tracklet,
                            other,
                            key=lambda track: (track.bound_at, track.serial),
                        )
                    )
                else:
                    self._people.part(tracklet.person, other.person)

    def _end(self, record: TrackEnded) -> None:
        tracklet = self._tracks.find(record)
        if tracklet is not None:
            tracklet.ended_at = record.seen_at
            if tracklet.person is not None:
                self._people[tracklet.person].in_view.discard(tracklet.serial)

    def _mean(self, tracklet: Tracklet) -> Floats:
        mean = tracklet.weights() @ shifted(tracklet.matrix(), self._gallery.shift_of(tracklet.camera))
        return np.asarray(mean / np.linalg.norm(mean), dtype=np.float32)

    def _decide(self, fresh: set[int], now: float, out: list[Decision]) -> None:
        """Bind the tracks that have no person yet, camera by camera, so that one camera's answer helps the next."""
        waiting = [t for t in self._tracks if t.person is None and t.vectors]
        waiting = [t for t in waiting if t.serial in fresh or _is_due(t, now)]  # else nothing has changed
        for camera in sorted({t.camera for t in waiting}):
            here = [t for t in waiting if t.camera == camera]
            # Those who are known come first, so that they are in view before anybody is evicted for somebody new.
            answers = sorted(zip(here, self._assign(here), strict=True), key=lambda pair: pair[1] is None)
            for tracklet, found in answers:
                is_due = _is_due(tracklet, now)
                if found is not None:
                    person, answer = found
                    if is_due or answer.evidence >= self._judge.least + self._judge.clear:
                        self._bind(tracklet, person, answer, now, out)
                elif is_due or not self._could_be_known(tracklet):
                    self._found(tracklet, now, out)

    def _could_be_known(self, tracklet: Tracklet) -> bool:
        """Say whether there is anybody that a first vector could belong to."""
        return len(self._people) > sum(number in self._people for number in self._tracks.forbidden(tracklet))

    def _assign(self, here: list[Tracklet]) -> list[tuple[int, Answer] | None]:
        """Pair tracks of one camera with known people, one to one, for the greatest sum of evidence."""
        found: list[tuple[int, Answer] | None] = [None] * len(here)
        people = self._gallery.people()
        cosines = self._gallery.similarities(np.stack([self._mean(t) for t in here]))
        gain: dict[tuple[int, int], Answer] = {}
        for row, tracklet in enumerate(here):
            for answer, person in self._candidates(tracklet, cosines[row], people, self._tracks.forbidden(tracklet)):
                gain[row, person] = answer
        columns = sorted({person for _, person in gain})
        if not columns:
            return found
        table = np.zeros((len(here), len(columns)))
        for (row, person), answer in gain.items():
            table[row, columns.index(person)] = answer.evidence - self._judge.least + 1e-6
        rows, picked = linear_sum_assignment(table, maximize=True)
        for row, column in zip(rows.tolist(), picked.tolist(), strict=True):
            if table[row, column] > 0:
                found[row] = (columns[column], gain[row, columns[column]])
        return found

    def _candidates(
        self, tracklet: Tracklet, cosines: Floats, people: Ints, forbidden: set[int]
    ) -> list[tuple[Answer, int]]:
        """Return the people a track may be, best first."""
        near = np.flatnonzero(cosines >= self._judge.candidates)
        if len(near) > _CANDIDATES:
            near = near[np.argsort(-cosines[near], kind="stable")[:_CANDIDATES]]
        answers = []
        vectors = shifted(tracklet.matrix(), self._gallery.shift_of(tracklet.camera))
        for slot in near:
            person = int(people[slot])
            if person in forbidden:
                continue
            exemplars = self._gallery.exemplars(person)
            answer = self._judge.weigh(float(cosines[slot]), vectors, exemplars, self._gallery.spread)
            if answer.evidence >= self._judge.least:
                answers.append((answer, person))
        return sorted(answers, key=lambda pair: (-pair[0].evidence, pair[1]))

    def _bind(self, tracklet: Tracklet, number: int, answer: Answer | None, now: float, out: list[Decision]) -> None:
        person = self._people[number]
        tracklet.person, tracklet.bound_at = number, now
        if answer is not None:
            tracklet.similarity = min(1.0, answer.similarity)
            tracklet.probability = answer.probability
        person.tracks.add(tracklet.serial)
        person.last_at = max(person.last_at, tracklet.last_at)
        if tracklet.ended_at is None:
            person.in_view.add(tracklet.serial)
        for other in self._tracks.forbidden(tracklet):
            self._people.part(number, other)
        for (quality, _), vector in zip(tracklet.vectors, tracklet.matrix(), strict=True):
            self._people.teach(number, tracklet, vector, quality)
        if tracklet.split_from is not None and tracklet.split_from in self._people:
            out.append(
                Split(
                    person=self._name(tracklet.split_from),
                    into=self._name(number),
                    tracks=((tracklet.camera, tracklet.run, tracklet.track),),
                    revision=self._people[tracklet.split_from].revision,
                    at=tracklet.last_at,
                    observation=_latest(tracklet),
                )
            )
        tracklet.split_from = None

    def _found(self, tracklet: Tracklet, now: float, out: list[Decision]) -> None:
        """Make a track somebody new; the longest unseen person goes if the gallery is full."""
        has_room, evicted = self._people.make_room()
        if evicted is not None:
            self._retire(evicted, "gallery full", now, out)
        if has_room:  # else everybody is in view, and the track stays unnamed until somebody leaves
            person = self._people.new(tracklet.first_at, tracklet.last_at)
            self._bind(tracklet, person.number, None, now, out)

    def _review(self, fresh: set[int], out: list[Decision]) -> None:
        """Merge new people whose later vectors show that they are known."""
        for serial in sorted(fresh):
            tracklet = self._tracks[serial]
            if tracklet.person is None or tracklet.num_vectors < 2:
                continue
            person = self._people[tracklet.person]
            if person.num_vectors > _REVIEW_FACTOR * self._settings.confirm_vectors:
                continue
            forbidden = self._tracks.forbidden(tracklet) | person.apart | {person.number}
            cosines = self._gallery.similarities(self._mean(tracklet)[None])[0]
            found = self._candidates(tracklet, cosines, self._gallery.people(), forbidden)
            older = [(answer, number) for answer, number in found if number < person.number]
            if older:
                self._merge(person, self._people[older[0][1]], older[0][0], tracklet, out)

    def _merge(self, gone: Person, into: Person, answer: Answer, tracklet: Tracklet, out: list[Decision]) -> None:
        self._people.merge(gone, into)
        self._tracks.rename(gone.number, into.number)
        tracklet.similarity, tracklet.probability = (
            min(1.0, answer.similarity),
            answer.probability,
        )
        out.append(
            Merge(
                gone=self._name(gone.number),
                into=self._name(into.number),
                revision=into.revision,
                similarity=min(1.0, answer.similarity),
                probability=answer.probability,
                at=tracklet.last_at,
                observation=_latest(tracklet),
            )
        )

    def _take_away(self, tracklet: Tracklet) -> None:
        """Take a track from its person, who is seen beside it; it gets another in this very update."""
        if tracklet.person is None:
            return
        person = self._people[tracklet.person]
        person.tracks.discard(tracklet.serial)
        person.in_view.discard(tracklet.serial)
        person.revision += 1
        self._gallery.remove_source(person.number, tracklet.serial)
        tracklet.split_from = person.number if tracklet.split_from is None else tracklet.split_from
        tracklet.person = tracklet.similarity = tracklet.probability = None

    def _tell(self, seen: Observation, out: list[Decision]) -> None:
        tracklet = self._tracks.find(seen)
        if tracklet is None:
            return
        tracklet.pending.append(seen)
        if tracklet.person is None:
            del tracklet.pending[:-MAX_PENDING]
            return
        person = self._people[tracklet.person]
        for observation in tracklet.pending:
            out.append(
                Sighting(
                    person=self._name(person.number),
                    state=person.state,
                    similarity=tracklet.similarity,
                    probability=tracklet.probability,
                    revision=person.revision,
                    observation=observation,
                )
            )
        tracklet.pending.clear()

    def _confirm(self, fresh: set[int], out: list[Decision]) -> None:
        """Believe people with enough vectors."""
        for serial in sorted(fresh):
            if serial not in self._tracks:
                continue  # its person was evicted in this very update
            tracklet = self._tracks[serial]
            if tracklet.person is None:
                continue
            person = self._people[tracklet.person]
            if person.state == "provisional" and person.num_vectors >= self._settings.confirm_vectors:
                person.state = "confirmed"
                seen = _latest(tracklet)
                out.append(Confirmation(self._name(person.number), person.revision, seen.seen_at, seen))

    def _retire(self, person: Person, reason: RetirementReason, now: float, out: list[Decision]) -> None:
        self._tracks.forget(person.number)
        out.append(Retirement(self._name(person.number), reason, now, person.last_at, person.revision))


def _is_due(tracklet: Tracklet, now: float) -> bool:
    """Say whether a track must get an answer, be it by what little is known."""
    waited = max(now, tracklet.last_at) - tracklet.first_at
    return tracklet.num_vectors > 1 or tracklet.ended_at is not None or waited >= ANSWER_S


def _latest(tracklet: Tracklet) -> Observation:
    assert tracklet.last is not None, "a track is made by an observation"
    return tracklet.last
