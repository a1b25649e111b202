"""Retrieval figures from distances and labels, as functions of arrays (pure).

    distance blocks (rows of queries) + Labels -> score -> Scores (CMC, mAP, mINP, open-set scores)

The Market-1501 protocol, exactly: gallery images of the query's person from the query's own camera are taken out, junk
(person -1) is taken out, distractors (a person no query shows) stay in, and a query without a match is not counted.
Ties keep gallery order, as a stable sort would.

Sources: Zheng et al., "Scalable Person Re-identification: A Benchmark", ICCV 2015; torchreid/metrics/rank.py (MIT) for
the step AP, which equals sklearn's average_precision_score; their Matlab code for the triangular AP; Ye et al.,
"Deep Learning for Person Re-identification", TPAMI 2021, for mINP; Grother & Ngan, NIST IR 8009, for open-set rates.

Letters: q queries, g gallery images, d dimensions, p positives of one query.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

JUNK = -1
# 256 rows of 20,000 floats are 20 MB: large enough for a fast product, small enough for two copies.
BLOCK = 256


@dataclass(frozen=True, eq=False)
class RetrievalLabels:
    """Persons and cameras of queries and gallery."""

    query_persons: Ints
    """(q,)"""
    query_cameras: Ints
    """(q,)"""
    gallery_persons: Ints
    """(g,), -1 for junk."""
    gallery_cameras: Ints
    """(g,)"""

    def __post_init__(self) -> None:
        if (
            self.query_persons.shape != self.query_cameras.shape
            or self.gallery_persons.shape != self.gallery_cameras.shape
        ):
            raise ValueError("every image needs a person and a camera")


@dataclass(frozen=True, eq=False)
class Scores:
    """Retrieval over all counted queries."""

    cmc: Doubles
    """(ranks,), share of queries with a match at or before that rank; [0] is Rank-1."""
    mean_ap: float
    """Step AP: precision at each match, averaged."""
    mean_ap_triangular: float
    """Trapezoids below the precision-recall points, as in Matlab codes; never more than the step AP."""
    mean_inp: float
    """Matches / rank of the last match, averaged: the cost of finding everyone."""
    queries: int
    """Counted."""
    skipped: int
    """Without a match in the gallery."""
    average_precision: Doubles
    """(counted,) of each query."""
    nearest: Doubles
    """(counted,), distance of the nearest gallery image."""
    nearest_is_right: Bools
    """(counted,)"""
    nearest_other: Doubles
    """(counted,), distance of the nearest image of another person: the query as if it were not enrolled."""


def squared_distances(query: Floats, gallery: Floats, block: int = BLOCK) -> Iterator[Floats]:
    """Yield squared L2 distances (at most `block`, g) of query rows (q, d) to gallery rows (g, d), in query order."""
    norms = np.einsum("gd,gd->g", gallery, gallery)
    transposed = np.ascontiguousarray(gallery.T)
    for start in range(0, len(query), block):
        rows = query[start : start + block]
        products = rows @ transposed  # (block, g)
        products *= np.float32(-2)
        products += norms
        products += np.einsum("qd,qd->q", rows, rows)[:, None]
        yield np.maximum(products, 0, out=products)


def score(blocks: Iterable[Floats], labels: RetrievalLabels, ranks: int = 50) -> Scores:
    """Measure retrieval from distances, block by block of queries.

    Only the ranks of the matches are needed, so distances are sorted without their places, which is many times faster.

    Raises:
        ValueError: a distance is not a number, rows do not fit the labels, or no query has a match.
    """
    places: list[Ints] = []
    nearest: list[float] = []
    others: list[float] = []
    row = 0
    for block in blocks:
        persons, cameras = labels.query_persons[row : row + len(block)], labels.query_cameras[row : row + len(block)]
        if block.shape != (len(persons), len(labels.gallery_persons)):
            raise ValueError(f"a block must be ({len(persons)}, {len(labels.gallery_persons)}), got {block.shape}")
        if np.isnan(block).any():
            raise ValueError(f"distances must be numbers, got NaN between query {row} and {row + len(block)}")
        same = persons[:, None] == labels.gallery_persons
        removed = (same & (cameras[:, None] == labels.gallery_cameras)) | (labels.gallery_persons == JUNK)
        matches = same & ~removed
        distances = np.where(removed, np.float32(np.inf), block)
        other = np.where(same, np.float32(np.inf), distances).min(axis=1, initial=np.inf)
        for index in np.flatnonzero(matches.any(axis=1)):
            places.append(ranks_of(distances[index], np.flatnonzero(matches[index])))
            nearest.append(float(distances[index].min()))
            others.append(float(other[index]))
        row += len(block)
    if row != len(labels.query_persons):
        raise ValueError(f"there must be a row for each of {len(labels.query_persons)} queries, got {row}")
    if not places:
        raise ValueError("at least one query must have a match of another camera in the gallery, got none")
    return _summarise(places, nearest, others, row, ranks)


def ranks_of(distances: Floats, matches: Ints) -> Ints:
    """Return the places (p,), from 0 and rising, that `matches` take when `distances` (g,) are sorted stably."""
    ordered = np.sort(distances)
    values = distances[matches]
    places = np.searchsorted(ordered, values, side="left")
    tied = np.searchsorted(ordered, values, side="right") - places > 1
    for index in np.flatnonzero(tied):  # of equal distances, those earlier in the gallery come first
        places[index] += np.count_nonzero(distances[: matches[index]] == values[index])
    return np.sort(places).astype(np.int64)


def average_precision(places: Ints) -> float:
    """Return the step AP of matches at `places` (p,), from 0 and rising."""
    return float(np.mean(np.arange(1, len(places) + 1) / (places + 1)))


def average_precision_triangular(places: Ints) -> float:
    """Return the AP with trapezoids: before a match at place r the precision of the r images above it counts too."""
    found = np.arange(len(places))
    before = np.where(places > 0, found / np.maximum(places, 1), 1.0)
    return float(np.mean((before + (found + 1) / (places + 1)) / 2))


def detection_rate(scores: Scores, false_alarm_rate: float) -> tuple[float, float]:
    """Return (DIR, threshold distance): how many enrolled are named rightly when that share of strangers is named.

    Every query is used twice: with its person in the gallery, and as a stranger with its person taken out.
    """
    threshold = threshold_at(-scores.nearest_other, false_alarm_rate)
    right = scores.nearest_is_right & (-scores.nearest >= threshold)
    return float(right.mean()), float(-threshold)


def true_positive_rate(positives: npt.ArrayLike, negatives: npt.ArrayLike, false_positive_rate: float) -> float:
    """Return the share of `positives` (scores of same-person pairs) accepted when that share of `negatives` is."""
    return float(np.mean(np.asarray(positives) >= threshold_at(np.asarray(negatives), false_positive_rate)))


def threshold_at(negatives: npt.ArrayLike, rate: float) -> float:
    """Return the lowest threshold at which at most `rate` of the negatives (scores) reach it.

    With fewer than 1 / rate negatives that means none of them.
    """
    ordered = np.sort(np.asarray(negatives, dtype=np.float64))[::-1]
    allowed = int(np.floor(rate * len(ordered) + 1e-9))
    return -np.inf if allowed >= len(ordered) else float(np.nextafter(ordered[allowed], np.inf))


def pair_distances(blocks: Iterable[Floats], labels: RetrievalLabels) -> tuple[Floats, Floats]:
    """Return distances of all same-person and of all other pairs across cameras, junk left out."""
    same, other, row = [], [], 0
    for block in blocks:
        persons, cameras = labels.query_persons[row : row + len(block)], labels.query_cameras[row : row + len(block)]
        across = (cameras[:, None] != labels.gallery_cameras) & (labels.gallery_persons != JUNK)
        match = persons[:, None] == labels.gallery_persons
        same.append(block[across & match])
        other.append(block[across & ~match])
        row += len(block)
    return np.concatenate(same), np.concatenate(other)


def _summarise(places: Sequence[Ints], nearest: list[float], others: list[float], rows: int, ranks: int) -> Scores:
    first = np.array([match[0] for match in places])
    precision = np.array([average_precision(match) for match in places])
    return Scores(
        cmc=np.array([np.mean(first <= rank) for rank in range(ranks)]),
        mean_ap=float(precision.mean()),
        mean_ap_triangular=float(np.mean([average_precision_triangular(match) for match in places])),
        mean_inp=float(np.mean([len(match) / (match[-1] + 1) for match in places])),
        queries=len(places),
        skipped=rows - len(places),
        average_precision=precision,
        nearest=np.array(nearest),
        nearest_is_right=first == 0,
        nearest_other=np.array(others),
    )
