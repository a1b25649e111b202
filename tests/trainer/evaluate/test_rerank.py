"""k-reciprocal re-ranking gives the numbers of the authors' loop."""

import numpy as np
import numpy.typing as npt

from trainer.evaluate.rerank import rerank
from trainer.evaluate.retrieval import Floats, Ints, RetrievalLabels, score, squared_distances


def authors_loop(query: Floats, gallery: Floats, k1: int, k2: int, weight: float) -> npt.NDArray[np.float64]:
    """The algorithm as zhunzhong07/person-re-ranking states it, dense and unhurried."""
    everyone = np.concatenate([query, gallery]).astype(np.float64)
    distances = ((everyone[:, None] - everyone) ** 2).sum(axis=2)
    distances = (distances / distances.max(axis=0)).T
    ranks = np.argsort(distances, axis=1, kind="stable")
    encoding = np.zeros_like(distances)

    def mutual(image: int, k: int) -> npt.NDArray[np.int64]:
        forward = ranks[image, : k + 1]
        return forward[np.where(ranks[forward, : k + 1] == image)[0]]

    for image in range(len(everyone)):
        first = mutual(image, k1)
        members = first
        for near in first:
            its = mutual(near, round(k1 / 2))
            if len(np.intersect1d(its, first)) > 2 / 3 * len(its):
                members = np.append(members, its)
        members = np.unique(members)
        encoding[image, members] = np.exp(-distances[image, members]) / np.exp(-distances[image, members]).sum()
    encoding = np.stack([encoding[ranks[image, :k2]].mean(axis=0) for image in range(len(everyone))])
    shared = np.minimum(encoding[: len(query), None], encoding[None]).sum(axis=2)
    final = (1 - shared / (2 - shared)) * (1 - weight) + distances[: len(query)] * weight
    return np.asarray(final[:, len(query) :])


def people(seed: int = 0, persons: int = 12, images: int = 8) -> tuple[Floats, Ints, Ints]:
    random = np.random.default_rng(seed)
    centres = random.normal(size=(persons, 16))
    vectors = np.repeat(centres, images, axis=0) + 0.9 * random.normal(size=(persons * images, 16))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return vectors, np.repeat(np.arange(persons), images), np.tile([0, 1], persons * images // 2)


def test_it_equals_the_authors_loop() -> None:
    vectors, _, _ = people()
    found = rerank(vectors[:20], vectors[20:], k1=7, k2=3, weight=0.3)
    np.testing.assert_allclose(found, authors_loop(vectors[:20], vectors[20:], 7, 3, 0.3), atol=2e-5)


def test_it_finds_more_of_clustered_people() -> None:
    vectors, persons, cameras = people(1)
    asks = cameras == 0
    labels = RetrievalLabels(persons[asks], cameras[asks], persons[~asks], cameras[~asks])
    plain = score(squared_distances(vectors[asks], vectors[~asks]), labels)
    better = score([rerank(vectors[asks], vectors[~asks], k1=7, k2=3)], labels)
    assert better.mean_ap > plain.mean_ap
