"""Pairs of tracks of which the matcher is not sure, and operators' answers about them.

    doubtful    a track that was given to a person with little certainty, beside another track of that person
    missed      tracks of two people that look so alike that they might be one person's

`same` merges the two people of a missed pair, `different` splits the track off a doubtful one; the other answers change
nothing and are kept all the same, on `reid:<site>:reviews`, as labels for training and so that no pair is asked twice.
"""

import hashlib
import time
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import structlog

from reid_stream.instructions import Instruction, MergePeople, SplitTracks
from reid_stream.publish.redis_client import translated
from reid_stream.records import GlobalId
from reid_stream.store.labels import Key
from reid_stream.web.directory import Directory
from reid_stream.web.feed import Feed
from reid_stream.web.schemas import Outcome, Pair, PairSide, Reviewed
from reid_stream.web.search import Search
from reid_stream.web.track_index import IndexedTrack, TrackIndex

if TYPE_CHECKING:
    import redis

Answer = Literal["same", "different", "unsure"]
_SURE = 0.97
"""Probability from which an assignment is not reviewed."""
_LEAST = 0.30
"""Probability of being one person below which two people are not reviewed."""
_TRACKS = 1500
"""Number of latest tracks among which pairs are searched."""
_NOTE = msgspec.json.Decoder(dict[str, Any])
_log = structlog.get_logger(__name__)


class _Note(msgspec.Struct):
    """Required fields of a stored answer."""

    pair: str
    answer: Answer
    people: tuple[str, str]


_SHAPE = msgspec.json.Decoder(_Note)


def reviews_key(site: str) -> str:
    """Name of the stream of operators' answers to pairs."""
    return f"reid:{site}:reviews"


class Reviews:
    """Find pairs, keep answers."""

    def __init__(
        self,
        client: "redis.Redis",
        site: str,
        where: str,
        feed: Feed,
        index: TrackIndex,
        directory: Directory,
        search: Search,
    ) -> None:
        self._client: Any = client
        self._site, self._where = site, where
        self._feed, self._index, self._directory, self._search = feed, index, directory, search
        self._has_refused = False
        self._found: tuple[tuple[int, int], list[tuple[Pair, Key, Key]]] = ((-1, -1), [])

    def pairs(self, count: int) -> tuple[list[Pair], int]:
        """Return pairs not reviewed yet, and how many are."""
        reviewed = {answer["pair"] for _, answer in self.answers()}
        open_ = [pair for pair, _, _ in self._all() if pair.pair not in reviewed]
        return open_[:count], len(reviewed)

    def find(self, pair: str) -> tuple[Pair, Key, Key] | None:
        """Return a pair under review, with the keys of its tracks; None if it no longer exists."""
        return next((one for one in self._all() if one[0].pair == pair), None)

    def consequence(self, found: tuple[Pair, Key, Key], answer: Answer, who: str) -> Instruction | None:
        """Return the correction that follows from an answer; None where nothing has to change."""
        pair, left, _ = found
        why = f"review of pair {pair.pair}"
        if pair.kind == "missed" and answer == "same":
            gone, into = sorted((pair.left.person, pair.right.person), key=lambda one: one.first_seen_at, reverse=True)
            return MergePeople(at=time.time(), who=who, why=why, gone=GlobalId(gone.person), into=GlobalId(into.person))
        if pair.kind == "doubtful" and answer == "different":
            person = GlobalId(pair.left.person.person)
            return SplitTracks(at=time.time(), who=who, why=why, person=person, tracks=(left,))
        return None

    def keep(self, found: tuple[Pair, Key, Key], answer: Answer, who: str, outcome: Outcome | None) -> Reviewed:
        """Keep an answer.

        Raises:
            BrokerError: Redis does not take it.
        """
        pair, left, right = found
        people = (pair.left.person.person, pair.right.person.person)
        at = time.time()
        note = {
            "pair": pair.pair, "answer": answer, "at": at, "by": who, "people": people, "left": left, "right": right,
            "instruction": outcome.instruction if outcome is not None else None,
        }  # fmt: skip
        with translated(self._where):
            place: bytes = self._client.xadd(reviews_key(self._site), {"review": msgspec.json.encode(note)})
        return Reviewed(review=place.decode(), answer=answer, at=at, by=who, people=people, outcome=outcome)

    def drop(self, review: str) -> str | None:
        """Take an answer back; return the id of the instruction to undo, None where there is none.

        Raises:
            LookupError: there is no such answer.
        """
        with translated(self._where):
            found = self._client.xrange(reviews_key(self._site), min=review, max=review)
            if not found:
                raise LookupError(review)
            self._client.xdel(reviews_key(self._site), review)
        try:
            instruction = _NOTE.decode(found[0][1][b"review"]).get("instruction")
        except (KeyError, ValueError, RecursionError):
            return None
        return None if instruction is None else str(instruction)

    def answers(self) -> list[tuple[str, dict[str, Any]]]:
        """Return all answers with their ids, oldest first."""
        with translated(self._where):
            entries = self._client.xrange(reviews_key(self._site))
        found: list[tuple[str, dict[str, Any]]] = []
        for place, fields in entries:
            try:
                _SHAPE.decode(fields[b"review"])
                found.append((place.decode(), _NOTE.decode(fields[b"review"])))
            except (KeyError, ValueError, RecursionError) as error:
                if not self._has_refused:
                    _log.warning("review_refused", position=place.decode(), reason=f"{type(error).__name__}: {error}")
                self._has_refused = True
        return found

    def confirmed_ids(self) -> list[str]:
        """Return people of today who were called the same in a review and never another: `ids.txt` for training."""
        same, other = set[str](), set[str]()
        with self._feed.lock:
            for _, note in self.answers():
                people = {self._feed.view.successor(GlobalId(person)) for person in note["people"]}
                is_one = note["answer"] == "same" and len(people) == 1
                (same if is_one else other if note["answer"] == "unsure" else set()).update(people)
        return sorted(same - other)

    def _all(self) -> list[tuple[Pair, Key, Key]]:
        self._directory.owned()
        version = (self._feed.version, self._index.version)
        if version != self._found[0]:
            self._found = (version, [*self._doubtful(), *self._missed()])
        return self._found[1]

    def _doubtful(self) -> list[tuple[Pair, Key, Key]]:
        found: list[tuple[float, Pair, Key, Key]] = []
        with self._feed.lock:
            doubts = [
                (track.probability, person.person, track.key)
                for person in self._feed.view.people.values()
                for track in person.tracks.values()
                if track.probability is not None and track.probability < _SURE
            ]
        owned = self._directory.owned()
        for sure, person, key in sorted(doubts)[:200]:
            stored = {track.key: track for track in owned.get(person, ())}
            mine = stored.pop(key, None)
            if mine is None or not stored:
                continue
            # The best track that was there before it: what it was compared with.
            other = min(stored.values(), key=lambda one: (one.times[0] > mine.times[0], -max(one.qualities)))
            pair = self._pair("doubtful", sure, mine, other)
            if pair is not None:
                found.append((abs(sure - 0.5), pair, key, other.key))
        return [one[1:] for one in sorted(found, key=lambda one: one[0])]

    def _missed(self) -> list[tuple[Pair, Key, Key]]:
        known = self._search.appearances()
        rows = sorted(range(len(known.tracks)), key=lambda row: known.tracks[row].times[-1], reverse=True)[:_TRACKS]
        best: dict[tuple[GlobalId, GlobalId], tuple[float, IndexedTrack, IndexedTrack]] = {}
        apart: set[tuple[GlobalId, GlobalId]] = set()
        for place, row in enumerate(rows[1:], 1):
            track, person = known.tracks[row], known.people[row]
            found = known.same(known.templates[row], known.templates[rows[:place]])
            if found is None:
                return []
            for before, sure in enumerate(found.tolist()):
                other, someone = known.tracks[rows[before]], known.people[rows[before]]
                people = (min(person, someone), max(person, someone))
                if someone == person:
                    continue
                if _side_by_side(track, other):
                    apart.add(people)
                elif sure > max(_LEAST, best.get(people, (0.0,))[0]):
                    best[people] = (sure, track, other)
        pairs = sorted((one for people, one in best.items() if people not in apart), key=lambda one: -one[0])[:200]
        made = ((self._pair("missed", sure, track, other), track.key, other.key) for sure, track, other in pairs)
        return [(pair, left, right) for pair, left, right in made if pair is not None]

    def _pair(
        self, kind: Literal["doubtful", "missed"], sure: float, left: IndexedTrack, right: IndexedTrack
    ) -> Pair | None:
        sides = []
        for track in (left, right):
            owner = self._directory.owner(track.key, track)
            summary = self._directory.summary(owner) if owner is not None else None
            if summary is None:
                return None
            sides.append(PairSide(person=summary, track=self._directory.track(track)))
        name = hashlib.sha256(repr((kind, *sorted((left.key, right.key)))).encode()).hexdigest()[:16]
        return Pair(pair=name, kind=kind, probability=sure, left=sides[0], right=sides[1])


def _side_by_side(a: IndexedTrack, b: IndexedTrack) -> bool:
    """Whether one camera saw both at once: two people, or one body found twice."""
    return a.key[0] == b.key[0] and a.times[0] <= b.times[-1] and b.times[0] <= a.times[-1]
