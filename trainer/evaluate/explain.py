"""Choose pairs of a test set to explain: mistakes first, then right matches.

A pair is a query and the answer that the verification head ranks first, junk and the query's own camera left out.

Letters: g gallery images, d dimensions.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from reid_stream.embed.preprocess import UInt8
from trainer.data.crops import decode
from trainer.data.test_sets import TestSet
from trainer.errors import DataError
from trainer.evaluate.network import TrainedNetwork, folded
from trainer.evaluate.ranked_lists import ranking
from trainer.evaluate.retrieval import squared_distances


@dataclass(frozen=True, slots=True)
class Pair:
    """Two places in a test set's images."""

    query: int
    answer: int
    is_same: bool
    """Whether they are the same person."""


def read_crop(file: Path) -> UInt8:
    """Return the RGB image (h, w, 3) of a file.

    Raises:
        DataError: there is none, or it is no whole image.
    """
    try:
        return decode(file.read_bytes(), str(file))
    except OSError as error:
        raise DataError(f"an image must be readable, {file}: {error.strerror or error}") from error


def choose(network: TrainedNetwork, tested: TestSet, count: int, mistakes: int, seed: int = 0) -> list[Pair]:
    """Return `mistakes` of the surest wrong first answers, two persons once, and right ones drawn by `seed`.

    Raises:
        DataError: the network makes fewer mistakes, or gives fewer right answers.
    """
    if not 0 <= mistakes <= count:
        raise DataError(f"the mistakes must be at most the {count} pairs, got {mistakes}")
    vectors = folded(network.embed(tested.images.pixels, False), network.verifier)
    asked, searched = vectors[tested.query], vectors[tested.gallery]
    found: list[tuple[float, Pair]] = []
    row = 0
    for block in squared_distances(asked, searched):
        for distances in block:
            order, right = ranking(distances, tested.labels, row, top=1)
            if order:
                pair = Pair(int(tested.query[row]), int(tested.gallery[order[0]]), right[0])
                found.append((float(distances[order[0]]), pair))
            row += 1
    wrong: dict[frozenset[int], Pair] = {}
    for _, pair in sorted((item for item in found if not item[1].is_same), key=lambda item: item[0]):
        wrong.setdefault(frozenset(tested.images.persons[[pair.query, pair.answer]].tolist()), pair)
    good = [pair for _, pair in found if pair.is_same]
    if len(wrong) < mistakes or len(good) < count - mistakes:
        raise DataError(
            f"{tested.name} must give {mistakes} wrong and {count - mistakes} right first answers, "
            f"got {len(wrong)} and {len(good)}; ask for fewer"
        )
    drawn = np.sort(np.random.default_rng(seed).choice(len(good), count - mistakes, replace=False))
    return list(wrong.values())[:mistakes] + [good[index] for index in drawn]
