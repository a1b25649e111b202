"""k-reciprocal re-ranking: distances within and between queries and gallery -> better distances; offline only (pure).

Two images that name each other as neighbours, and share neighbours, are more alike than their distance suggests. The
result depends on the whole gallery and is no probability, so the daemon never uses it.

Source: Zhong et al., "Re-ranking Person Re-identification with k-reciprocal Encoding", CVPR 2017 (arXiv 1701.08398),
and zhunzhong07/person-re-ranking (MIT), whose numbers it gives.

Letters: q queries, g gallery images, n = q + g images, d dimensions.
"""

import numpy as np
import numpy.typing as npt
from scipy import sparse

from trainer.evaluate.retrieval import Floats, Ints, squared_distances


def rerank(query: Floats, gallery: Floats, k1: int = 20, k2: int = 6, weight: float = 0.3) -> Floats:
    """Return distances (q, g) of query vectors (q, d) and gallery vectors (g, d).

    Args:
        query: vectors whose squared L2 distance is the first ranking.
        gallery: vectors of the images that are searched.
        k1: neighbours that must name each other.
        k2: neighbours over which the encoding is averaged.
        weight: of the original distance, lambda in the paper.
    """
    distances, encoding = _encoded(np.concatenate([query, gallery]), k1, k2)
    jaccard = _jaccard(encoding, len(query))
    mixed = (1 - weight) * jaccard + weight * distances[: len(query)]
    return np.asarray(mixed[:, len(query) :], dtype=np.float32)


def _encoded(vectors: Floats, k1: int, k2: int) -> tuple[Floats, sparse.csr_array]:
    """Return distances (n, n), each row over its largest, and the averaged encoding (n, n) of vectors (n, d)."""
    distances = np.concatenate(list(squared_distances(vectors, vectors)))  # (n, n)
    np.fill_diagonal(distances, 0)
    distances = np.ascontiguousarray((distances / np.maximum(distances.max(axis=0), 1e-12)).T)
    neighbours = np.argsort(distances, axis=1, kind="stable")[:, : k1 + 1]  # (n, k1 + 1), the image itself first
    encoding = _encode(distances, neighbours, k1)
    k2 = min(k2, neighbours.shape[1])
    if k2 > 1:
        averaging = sparse.csr_array(
            (np.full(len(vectors) * k2, 1 / k2), neighbours[:, :k2].ravel(), np.arange(len(vectors) + 1) * k2),
            shape=encoding.shape,
        )
        encoding = sparse.csr_array(averaging @ encoding)
    return distances, encoding


def _encode(distances: Floats, neighbours: Ints, k1: int) -> sparse.csr_array:
    """Return the weights (n, n) of each image's k-reciprocal neighbours, rows summing to 1."""
    rows, columns, values = [], [], []
    half = round(k1 / 2)
    narrow = [_reciprocal(neighbours, image, half) for image in range(len(neighbours))]
    for image in range(len(neighbours)):
        mutual = _reciprocal(neighbours, image, k1)
        members = [mutual]
        # A neighbour's own neighbours join when two thirds of them are known already (section 3.2 of the paper).
        members += [narrow[near] for near in mutual if np.isin(narrow[near], mutual).sum() > 2 / 3 * len(narrow[near])]
        joined = np.unique(np.concatenate(members))
        weights = np.exp(-distances[image, joined])
        rows.append(np.full(len(joined), image))
        columns.append(joined)
        values.append(weights / weights.sum())
    place = (np.concatenate(rows), np.concatenate(columns))
    return sparse.csr_array((np.concatenate(values), place), shape=distances.shape)


def _reciprocal(neighbours: Ints, image: int, k: int) -> Ints:
    forward = neighbours[image, : k + 1]
    named = (neighbours[forward, : k + 1] == image).any(axis=1)
    return np.asarray(forward[named])


def _jaccard(encoding: sparse.csr_array, queries: int) -> npt.NDArray[np.float64]:
    """Return Jaccard distances (q, n) of the encodings; both sum to 1, so the union is 2 - the intersection."""
    by_column = sparse.csc_array(encoding)
    result = np.empty((queries, encoding.shape[0]))
    for row in range(queries):
        shared = np.zeros(encoding.shape[0])
        for place in range(encoding.indptr[row], encoding.indptr[row + 1]):
            column, value = encoding.indices[place], encoding.data[place]
            span = slice(by_column.indptr[column], by_column.indptr[column + 1])
            shared[by_column.indices[span]] += np.minimum(value, by_column.data[span])
        result[row] = 1 - shared / (2 - shared)
    return result
