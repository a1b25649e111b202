"""Rank the known identities that a track, or another identity, may belong to (pure).

    template, stays -> log likelihood ratio of each candidate = appearance + transit, compared with a threshold

The appearance ratio is of two templates (scoring.py), the transit ratio of the cameras and the time between stays
(topology.py); given the identity the two are independent. A candidate is accepted above

    threshold = max(site threshold, min(prior odds of a new identity, prior cap))

where the site threshold (`site_strangers`) bounds false matches per comparison at `match.false_match_rate`, and the
prior cap is what half of the pairs of one person reach by the calibration (`Scorer.prior_cap`): beyond it most true
matches would be refused, whatever the prior. A query that resembles many people must exceed it by more
(`competitors`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import msgspec
import numpy as np
import numpy.typing as npt

from reid_stream.match.competitors import excess
from reid_stream.match.gallery import FAR, Gallery
from reid_stream.match.identities import Identities
from reid_stream.match.scoring import Scorer, Template, squared_distance
from reid_stream.match.site_strangers import SiteThreshold
from reid_stream.match.topology import MAX_LLR, Topology
from reid_stream.match.tracklets import Stay
from reid_stream.records import Floats

Doubles = npt.NDArray[np.float64]

_LEAST, _MOST = 0.05, 0.95
"""Bounds of the share of new identities."""
_MEMORY = 500.0
"""Tracks after which an older one has faded to 1/e."""
_MAX_LOG_ODDS = 23.0
"""Odds against a new identity are cut here, so that a probability never reaches 1."""
_SHORTLIST = 12
"""Nearest identities per query that are scored."""


class NewIdentityPrior(msgspec.Struct):
    """Decayed counts of closed tracks, starting with one of each kind.

    What counts as known must not depend on the share itself: see `Candidates.resembles_known`. Otherwise a share that
    is too high refuses matches, every refused match counts as new, and the share rises further.
    """

    new: float = 1.0
    """Tracks of a new identity."""
    known: float = 1.0
    """Tracks of an identity seen before."""

    def learn(self, *, is_new: bool) -> None:
        """Count a closed track."""
        fade = 1 - 1 / _MEMORY
        self.new = self.new * fade + is_new
        self.known = self.known * fade + (not is_new)

    @property
    def share(self) -> float:
        """Share of tracks that start a new identity."""
        return min(_MOST, max(_LEAST, self.new / (self.new + self.known)))

    def log_odds(self, people: int) -> float:
        """Return the log prior odds of a new identity against one given identity of `people` known ones."""
        return math.log(self.share * max(1, people) / (1 - self.share))


@dataclass(frozen=True, slots=True)
class Query:
    """A track, or an identity that may be the same as another."""

    template: Template
    stays: Sequence[Stay]
    """Stays in order of time."""
    forbidden: set[int]
    """Identities it cannot be."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """An identity that a query may be."""

    person: int
    surplus: float
    """`llr` above what is required of it."""
    llr: float
    """Log likelihood ratio of appearance and transit."""
    similarity: float
    """Cosine of the templates, on the scale of raw vectors."""
    probability: float | None
    """P(this identity), against all other known ones and a new one; None without calibration."""


@dataclass(frozen=True, slots=True)
class _Scored:
    """An identity of a query's shortlist."""

    person: int
    llr: float
    """Log likelihood ratio of appearance and transit."""
    appearance: float
    """Log likelihood ratio of appearance alone."""
    required: float
    """What `llr` must exceed."""


class Candidates:
    """Search for candidates in the gallery."""

    def __init__(
        self,
        scorer: Scorer,
        gallery: Gallery,
        people: Identities,
        topology: Topology,
        prior: NewIdentityPrior,
        site_threshold: SiteThreshold,
    ) -> None:
        self._scorer, self._gallery, self._people = scorer, gallery, people
        self._topology, self._prior, self._site_threshold = topology, prior, site_threshold

    @property
    def threshold(self) -> float:
        """Log likelihood ratio above which a candidate is accepted."""
        prior = min(self._prior.log_odds(len(self._people)), self._scorer.prior_cap)
        return max(self._site_threshold.threshold, prior)

    def find(self, queries: Sequence[Query], least: float = 0.0) -> list[list[Candidate]]:
        """Return the candidates of each query with a surplus above `least`, 0 or less, best first."""
        threshold = self.threshold
        ranked = self._ranked(queries, self._gallery.distances([query.template for query in queries]), threshold)
        return [self._candidates(query, scored, least) for query, scored in zip(queries, ranked, strict=True)]

    def resembles_known(self, query: Query, squared: Floats) -> bool:
        """Return whether an identity seen before the query exceeds the site threshold, whatever the prior.

        Args:
            query: a track.
            squared: (s,) its squared distances to all rows of the gallery; changed.
        """
        at = query.stays[0]
        (scored,) = self._ranked([query], squared[None], self._site_threshold.threshold)
        return any(each.llr > each.required and self._people[each.person].before(at) is not None for each in scored)

    def appearance_llrs(self, squared: Sequence[float]) -> list[float]:
        """Return the log likelihood ratios by appearance of squared distances."""
        found: list[float] = self._scorer.llr(np.asarray(squared, dtype=np.float32), self._floor).tolist()
        return found

    def transit_llr(self, a: Sequence[Stay], b: Sequence[Stay]) -> float:
        """Return the log likelihood ratio by transit of two sets of stays, each in order of time."""
        return self._topology.transit_llr(a, b)

    def pair_llr(self, a: Query, b: Query) -> float:
        """Return the log likelihood ratio of two queries being one person."""
        squared = np.asarray(squared_distance(a.template, b.template))
        appearance = float(self._scorer.llr(squared, self._floor))
        return appearance + self._topology.transit_llr(a.stays, b.stays)

    def similarity(self, template: Template, person: int) -> float:
        """Return the cosine of a template and that of an identity, on the scale of raw vectors."""
        other = self._gallery.template(person)
        assert other is not None, "a candidate has a template"
        cosine, floor = self._scorer.similarity(template, other), self._gallery.bias.floor
        return min(1.0, cosine * (1 - floor) + floor)

    @property
    def _floor(self) -> float:
        return self._scorer.floor(self._gallery.bias)

    def _ranked(self, queries: Sequence[Query], squared: Floats, threshold: float) -> list[list[_Scored]]:
        """Score each query's shortlist, as far as it may pass a threshold; `squared` (t, s) is changed."""
        if not queries or len(self._gallery) == 0:
            return [[] for _ in queries]
        for row, query in zip(squared, queries, strict=True):
            row[[at for number in query.forbidden if (at := self._gallery.row(number)) >= 0]] = FAR
        size = squared.shape[1]
        near = np.argpartition(squared, _SHORTLIST, axis=1)[:, :_SHORTLIST] if size > _SHORTLIST else np.arange(size)
        near = np.broadcast_to(near, (len(queries), near.shape[-1]))
        # One call for all queries: with 1,000 identities the calls cost more than the product.
        nearest = np.take_along_axis(squared, near, axis=1)
        llrs = self._scorer.llr(nearest, self._floor)
        good = (nearest < FAR) & (llrs >= threshold - MAX_LLR)
        people = self._gallery.people()
        return [
            self._rank(query, threshold, squared[place], people[near[place, chosen]].tolist(), llrs[place, chosen])
            for place, (query, chosen) in enumerate(zip(queries, good, strict=True))
        ]

    def _rank(
        self, query: Query, threshold: float, row: Floats, people: Sequence[int], appearance: Doubles
    ) -> list[_Scored]:
        """Score some identities for a query; `row` (s,) are its squared distances to all."""
        rules_out = self._topology.rules_out
        scored = []
        for number, llr in zip(people, appearance.tolist(), strict=True):
            stays = self._people[number].stays
            if not (rules_out and any(self._topology.excludes(a, b) for a in query.stays for b in stays)):
                with_transit = llr + self._topology.transit_llr(query.stays, stays)
                scored.append(_Scored(number, with_transit, llr, threshold))
        if any(each.llr > threshold for each in scored):
            looks = np.asarray([each.appearance for each in scored])
            added = excess(self._scorer, row, looks, self._floor, len(self._gallery) - 1).tolist()
            scored = [replace(each, required=threshold + more) for each, more in zip(scored, added, strict=True)]
        return scored

    def _candidates(self, query: Query, scored: Sequence[_Scored], least: float) -> list[Candidate]:
        prior = self._prior.log_odds(len(self._people))
        odds = {each.person: float(np.exp(min(_MAX_LOG_ODDS, each.llr - prior))) for each in scored}
        total = 1.0 + sum(odds.values())  # a new identity has odds of 1
        is_calibrated = self._scorer.is_calibrated
        found = [
            Candidate(
                person=each.person,
                surplus=each.llr - each.required,
                llr=each.llr,
                similarity=self.similarity(query.template, each.person),
                probability=odds[each.person] / total if is_calibrated else None,
            )
            for each in scored
            if each.llr - each.required > least
        ]
        return sorted(found, key=lambda candidate: (-candidate.surplus, candidate.person))
