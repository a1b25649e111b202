"""Tracks of a site, most of them nameless -> who is probably one person, to learn from (pure).

    one vector a track ─▶ less its camera's mean ─▶ Jaccard distance ─▶ DBSCAN ─▶ clusters that break no known fact

Facts come first: a track is one person (must-link, given by using tracks and not images), tracks seen side by side on
one camera are two people (cannot-link), and identities that somebody has reviewed are what he said.

Sources: Jaccard distance with DBSCAN: Ge et al., SpCL, NeurIPS 2020 (arXiv 2006.02713), and Dai et al., Cluster
Contrast, ACCV 2022 (arXiv 2103.11568); camera means: Gu et al., 1st Place Solution to
VisDA-2020 (arXiv 2012.13498), section 3.

Letters: t tracks, d embedding dimensions.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from sklearn.cluster import DBSCAN

from trainer.rerank import jaccard_distances
from trainer.retrieval import Floats, Ints

NOBODY = -1
K1, K2 = 6, 2
"""Those papers cluster images, 20 and more a person, and ask 30 and 6 neighbours; a person has few tracks."""
REACH = 0.4
"""DBSCAN's eps: tracks nearer than this are neighbours. With K1 and K2 the best on 300 persons of CUHK01, two tracks
each, with a network that had not seen them: of the pairs it joins 35 % are right, of the true ones it joins 38 %."""
_CAMERA_TRACKS = 20
"""A camera with fewer tracks has no mean worth taking off."""


def cluster(
    vectors: Floats, cameras: Ints, apart: Sequence[tuple[int, int]], named: Mapping[int, str], reach: float = REACH
) -> Ints:
    """Return the cluster (t,) of each track, from 0, `NOBODY` where no other track is like it.

    Args:
        vectors: (t, d) unit length, the mean of a track's images.
        cameras: (t,) numbers.
        apart: pairs of tracks that are two people.
        named: track -> who it is, where somebody has said so.
        reach: DBSCAN's eps.
    """
    if len(vectors) < 2:
        return np.full(len(vectors), NOBODY, dtype=np.int64)
    distances = jaccard_distances(centred(vectors, cameras), min(K1, len(vectors) - 1), K2)
    distances = np.minimum(distances, distances.T)
    for first, second in apart:
        distances[first, second] = distances[second, first] = 1
    for first, name in named.items():
        for second, other in named.items():
            distances[first, second] = float(name != other)
    np.fill_diagonal(distances, 0)
    found = DBSCAN(eps=reach, min_samples=2, metric="precomputed").fit_predict(distances)
    forbidden = {frozenset(pair) for pair in apart}
    forbidden |= {frozenset((a, b)) for a, one in named.items() for b, other in named.items() if one != other}
    labels = np.full(len(vectors), NOBODY, dtype=np.int64)
    number = 0
    for label in np.unique(found[found >= 0]):
        for members in _split(np.flatnonzero(found == label).tolist(), distances, forbidden):
            if len(members) > 1 or members[0] in named:
                labels[members] = number
                number += 1
    return _join_named(labels, named)


def centred(vectors: Floats, cameras: Ints) -> Floats:
    """Take each camera's mean off its vectors (t, d), so that tracks are not alike for being of one camera."""
    moved = vectors.copy()
    for camera in np.unique(cameras):
        here = cameras == camera
        if here.sum() >= _CAMERA_TRACKS:
            moved[here] -= vectors[here].mean(axis=0)
    return np.asarray(moved / np.maximum(np.linalg.norm(moved, axis=1, keepdims=True), 1e-12), dtype=np.float32)


def side_by_side(cameras: Sequence[str], times: Sequence[Sequence[float]]) -> list[tuple[int, int]]:
    """Return the pairs of tracks of one camera that overlap in time: one camera never shows a person twice at once."""
    pairs = []
    spans = sorted(
        (camera, seen[0], seen[-1], row) for row, (camera, seen) in enumerate(zip(cameras, times, strict=True))
    )
    for place, (camera, _, last, row) in enumerate(spans):
        for other_camera, first, _, other in spans[place + 1 :]:
            if other_camera != camera or first > last:
                break
            pairs.append((row, other))
    return pairs


def _split(members: list[int], distances: Floats, forbidden: set[frozenset[int]]) -> list[list[int]]:
    """Take a cluster apart where it holds two who cannot be one: each joins the nearest part that may have it."""
    parts: list[list[int]] = []
    inner = distances[np.ix_(members, members)].sum(axis=1)
    for row in (members[place] for place in np.argsort(inner, kind="stable")):  # the most central first
        fitting = [part for part in parts if not any(frozenset((row, other)) in forbidden for other in part)]
        if fitting:
            min(fitting, key=lambda part: float(distances[row, part].mean())).append(row)
        else:
            parts.append([row])
    return parts


def _join_named(labels: Ints, named: Mapping[int, str]) -> Ints:
    """Let clusters of one name be one, and give a reviewed track that is alone a cluster of its own."""
    cluster_of: dict[str, int] = {}
    for row, name in named.items():
        if labels[row] == NOBODY:
            labels[row] = cluster_of.get(name, labels.max() + 1)
        elif name in cluster_of and cluster_of[name] != labels[row]:
            labels[labels == labels[row]] = cluster_of[name]
        cluster_of.setdefault(name, int(labels[row]))
    kept = np.unique(labels[labels >= 0])
    renumbered = np.full(int(labels.max()) + 2, NOBODY, dtype=np.int64)
    renumbered[kept] = np.arange(len(kept))
    return renumbered[labels]  # the last entry is NOBODY's
