"""Who a track, or a person, may be: everybody who is known, and "somebody new" (pure).

    template, stays -> log odds of each candidate = appearance + topology, against what the dial and the prior ask for

Appearance is the log likelihood ratio of two templates (evidence.py), topology that of the time and place between stays
(topology.py); the two are independent given who it is. The threshold is the greater of the dial's threshold, which
bounds false matches per comparison, and the prior odds of somebody new among so many (NewIdentityPrior).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from reid_stream.match.gallery import FAR, Gallery
from reid_stream.match.identities import Identities
from reid_stream.match.scoring import Scorer, Template, squared_distance
from reid_stream.match.topology import CEILING, Topology
from reid_stream.match.tracklets import Stay

_LEAST, _MOST = 0.05, 0.95
"""Bounds of the share: somebody new may always come, and anybody may come back."""
_MEMORY = 500.0
"""Older tracks fade from the share."""


class NewIdentityPrior(msgspec.Struct):
    """Counts of tracks that are over, with one of each kind to begin with."""

    new: float = 1.0
    """Began a person."""
    known: float = 1.0
    """Were somebody known."""

    def learn(self, *, is_new: bool) -> None:
        """Count a track."""
        fade = 1 - 1 / _MEMORY
        self.new = self.new * fade + is_new
        self.known = self.known * fade + (not is_new)

    @property
    def share(self) -> float:
        """Share of tracks that begin a person."""
        return min(_MOST, max(_LEAST, self.new / (self.new + self.known)))

    def log_odds(self, people: int) -> float:
        """Return the log prior odds of somebody new against one given person of so many."""
        return math.log(self.share * max(1, people) / (1 - self.share))


_SHORTLIST = 12
"""People per template that are looked at with care, by appearance."""


@dataclass(frozen=True, slots=True)
class Query:
    """What is threshold about: a track, or a person who may be another."""

    template: Template
    stays: Sequence[Stay]
    """In order of time."""
    forbidden: set[int]
    """People it cannot be."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One person that an query may be."""

    person: int
    surplus: float
    """Log odds of being this person above what is threshold for; accepted where positive."""
    llr: float
    """Log likelihood ratio of appearance and topology."""
    similarity: float
    """Cosine of the templates, on the scale of raw vectors."""
    probability: float | None
    """P(this person | everybody known, somebody new); none without calibration."""


class Candidates:
    """Looks for candidates in the gallery."""

    def __init__(
        self, scorer: Scorer, gallery: Gallery, people: Identities, topology: Topology, prior: NewIdentityPrior
    ) -> None:
        self._scorer, self._gallery, self._people = scorer, gallery, people
        self._topology, self._new_identity_prior = topology, prior

    @property
    def threshold(self) -> float:
        """Evidence that is threshold for before somebody is taken for a known person."""
        return max(self._scorer.threshold, self._new_identity_prior.log_odds(len(self._people)))

    def find(self, queries: Sequence[Query]) -> list[list[Candidate]]:
        """Return each one's candidates with a positive surplus, best first."""
        if not queries or len(self._gallery) == 0:
            return [[] for _ in queries]
        threshold = self.threshold
        numbers = self._gallery.people()
        squared = self._gallery.distances([query.template for query in queries])
        found = []
        for row, query in zip(squared, queries, strict=True):
            for number in query.forbidden:
                at = self._gallery.row(number)
                if at >= 0:
                    row[at] = FAR
            near = np.argpartition(row, _SHORTLIST)[:_SHORTLIST] if len(row) > _SHORTLIST else np.arange(len(row))
            near = near[row[near] < FAR]
            looks = self._scorer.llr(row[near], self._gallery.floor)
            good = looks >= threshold - CEILING
            found.append(self._score(query, numbers[near[good]].tolist(), looks[good].tolist(), threshold))
        return found

    def appearance_llrs(self, squared: Sequence[float]) -> list[float]:
        """Return the evidence of appearance of squared distances."""
        found: list[float] = self._scorer.llr(np.asarray(squared, dtype=np.float32), self._gallery.floor).tolist()
        return found

    def transit_llr(self, a: Sequence[Stay], b: Sequence[Stay]) -> float:
        """Return the evidence of time and place that two sets of stays, each in order of time, are one person's."""
        return self._topology.transit_llr(a, b)

    def pair_llr(self, a: Query, b: Query) -> float:
        """Return the evidence that two queries are one."""
        squared = np.asarray(squared_distance(a.template, b.template))
        looks = float(self._scorer.llr(squared, self._gallery.floor))
        return looks + self._topology.transit_llr(a.stays, b.stays)

    def _score(self, query: Query, people: list[int], looks: list[float], threshold: float) -> list[Candidate]:
        totals = {}
        rules_out = self._topology.rules_out
        for number, look in zip(people, looks, strict=True):
            stays = self._people[number].stays
            if rules_out and any(self._topology.excludes(a, b) for a in query.stays for b in stays):
                continue
            totals[number] = look + self._topology.transit_llr(query.stays, stays)
        if not totals:
            return []
        # Odds against "somebody new", whose share is 1; a tenth of a billionth of doubt always stays.
        log_prior = self._new_identity_prior.log_odds(len(self._people))
        odds = {number: float(np.exp(min(23.0, total - log_prior))) for number, total in totals.items()}
        whole = 1.0 + sum(odds.values())
        is_calibrated = self._scorer.is_calibrated
        found = [
            Candidate(
                person=number,
                surplus=total - threshold,
                llr=total,
                similarity=self.similarity(query.template, number),
                probability=odds[number] / whole if is_calibrated else None,
            )
            for number, total in totals.items()
            if total > threshold
        ]
        return sorted(found, key=lambda candidate: (-candidate.surplus, candidate.person))

    def similarity(self, template: Template, person: int) -> float:
        """Return the cosine of a template to a person's, on the scale of raw vectors."""
        other = self._gallery.template(person)
        assert other is not None, "a candidate has a template"
        cosine = self._scorer.similarity(template, other)
        return min(1.0, cosine * (1 - self._gallery.floor) + self._gallery.floor)
