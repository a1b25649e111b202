"""Compare pictures and stored tracks as the matcher does: centred by camera, folded by the verification head.

A person is the weighted mean of the tracks' templates (average linkage, see match.scoring). P(same) of a candidate is
the posterior over all candidates and "none of these", which has even odds before anything is seen:

    P(i) = exp(llr_i) / (n + sum_j exp(llr_j))        n candidates, llr: log likelihood ratio of the calibration
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reid_stream.bundles.bundle import EmbedderBundle
from reid_stream.bundles.calibration import sigmoid
from reid_stream.config.settings import Match as MatchSettings
from reid_stream.match.camera_bias import CameraBias, CameraBiasState, CameraShifts
from reid_stream.match.scoring import EvidenceDiscount, Scorer
from reid_stream.records import CameraId, Floats, GlobalId
from reid_stream.web.track_index import IndexedTrack


@dataclass(frozen=True, slots=True, eq=False)
class Appearances:
    """The stored tracks of all people, ready to be compared."""

    tracks: list[IndexedTrack]
    people: list[GlobalId]
    """Global ID of each track."""
    numbers: npt.NDArray[np.int64]
    """(n,) of the people, from 0."""
    weights: npt.NDArray[np.float64]
    """(n,) effective number of independent vectors of each track."""
    templates: Floats
    """(n, d) unit vectors times the head."""
    squares: Floats
    """(n,) squared lengths of the templates."""
    bias: CameraBias
    scorer: Scorer

    def template(self, vector: Floats, camera: CameraId | None) -> Floats:
        """Return the template (d,) of a vector (d,); of a camera unknown it is centred by the mean of all."""
        shift = self.bias.shifts.get(camera) if camera is not None else None
        if shift is None and self.bias.shifts:
            shift = np.mean(np.stack(list(self.bias.shifts.values())), axis=0).astype(np.float32)
        return np.asarray(self.scorer.fold((vector if shift is None else vector - shift)[None])[0].vector)

    def evidence(self, template: Floats, others: Floats) -> Floats:
        """Return the log likelihood ratios (n,) of a template (d,) and others (n, d)."""
        # By products: no copy of all templates.
        squares = self.squares if others is self.templates else np.einsum("nd,nd->n", others, others)
        squared = np.maximum(squares + np.float32(template @ template) - 2 * (others @ template), 0).astype(np.float32)
        return np.asarray(self.scorer.llr(squared, self.scorer.floor(self.bias)), dtype=np.float32)

    def rank(self, template: Floats, count: int | None = None) -> list["Ranking"]:
        """Return all people, or `count` of them, the most likely first, each with the most similar track."""
        if not self.tracks:
            return []
        llr = self.evidence(template, self.templates).astype(np.float64)
        # The margin of two people is the mean margin of their tracks; evidence is near linear in it.
        totals = np.bincount(self.numbers, llr * self.weights) / np.bincount(self.numbers, self.weights)
        shares = _posterior(totals) if self.scorer.is_calibrated else None
        best = np.full(len(totals), -1)
        rising = np.argsort(llr, kind="stable")
        best[self.numbers[rising]] = rising  # the last one written is the most similar
        return [
            Ranking(
                person=self.people[best[place]],
                track=self.tracks[best[place]],
                similarity=self._cosine(template, self.templates[best[place]]),
                probability=None if shares is None else float(shares[place]),
                evidence=float(totals[place]),
            )
            for place in np.argsort(-totals, kind="stable")[:count].tolist()
        ]

    def same(self, template: Floats, others: Floats) -> Floats | None:
        """Return P(same person) (n,) of pairs, with even odds; None without a calibration."""
        if not self.scorer.is_calibrated:
            return None
        return np.asarray(sigmoid(self.evidence(template, others)), dtype=np.float32)

    def _cosine(self, a: Floats, b: Floats) -> float:
        if self.scorer.head is not None:
            head = np.maximum(self.scorer.head, np.float32(1e-6))
            a, b = np.asarray(a / head, np.float32), np.asarray(b / head, np.float32)
        return float(a @ b) / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-6)


@dataclass(frozen=True, slots=True)
class Ranking:
    """A person and the probability of a match."""

    person: GlobalId
    track: IndexedTrack
    """The most similar one."""
    similarity: float
    """Cosine to that track, camera means taken off."""
    probability: float | None
    evidence: float
    """Log likelihood ratio, mean of the tracks."""


def collect(
    bundle: EmbedderBundle, settings: MatchSettings, rows: Sequence[tuple[IndexedTrack, GlobalId, Floats]]
) -> Appearances:
    """Make templates of tracks, their owners and their mean vectors (d,)."""
    scorer = Scorer(settings, bundle.verifier, bundle.calibrated)
    sums: dict[str, Floats] = {}
    counts: dict[str, int] = {}
    for track, _, mean in rows:
        camera, count = track.key[0], len(track.times)
        sums[camera] = sums.get(camera, np.zeros_like(mean)) + mean * np.float32(count)
        counts[camera] = counts.get(camera, 0) + count
    shifts = CameraShifts()
    shifts.restore(
        {
            camera: CameraBiasState(counts[camera], np.asarray(total / counts[camera], np.float32).tobytes())
            for camera, total in sums.items()
        }
    )
    bias = shifts.bias()
    centred = [mean - bias.shifts[track.key[0]] for track, _, mean in rows]
    templates = [template.vector for template in scorer.fold(np.stack(centred))] if centred else []
    order: dict[GlobalId, int] = {}
    discount = EvidenceDiscount()
    matrix = np.stack(templates) if templates else np.zeros((0, bundle.dim), np.float32)
    return Appearances(
        tracks=[track for track, _, _ in rows],
        people=[person for _, person, _ in rows],
        numbers=np.asarray([order.setdefault(person, len(order)) for _, person, _ in rows], dtype=np.int64),
        weights=np.asarray([discount.independent(len(track.times)) for track, _, _ in rows], dtype=np.float64),
        templates=matrix,
        squares=np.einsum("nd,nd->n", matrix, matrix).astype(np.float32),
        bias=bias,
        scorer=scorer,
    )


def _posterior(llr: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    most = max(float(llr.max()), 0.0)
    weights = np.exp(llr - most)
    return np.asarray(weights / (weights.sum() + len(llr) * np.exp(-most)))
