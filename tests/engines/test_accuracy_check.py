"""Comparison with float32: 16-bit noise passes; NaN, another ranking or one wrong image fails."""

import numpy as np

from reid_stream.engines.accuracy_check import compare, worst


def _vectors(rows: int = 40, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, 64)).astype(np.float32)


def test_rounding_passes() -> None:
    vectors = _vectors()
    parity = compare("embedder", vectors, vectors.astype(np.float16).astype(np.float32))
    assert parity.faults == ()
    assert parity.ranked == 1
    assert parity.cosine is not None
    assert parity.cosine > 0.9999


def test_one_bad_image_of_many_is_enough() -> None:
    vectors = _vectors()
    altered = vectors.copy()
    altered[7] = vectors[8]
    assert any("cosine" in fault for fault in compare("embedder", vectors, altered).faults)
    assert any("lie within" in fault for fault in compare("detector", vectors, altered).faults)


def test_one_nan_is_enough() -> None:
    vectors = _vectors()
    altered = vectors.copy()
    altered[3, 5] = np.nan
    assert any("NaN" in fault for fault in compare("embedder", vectors, altered).faults)


def test_vectors_that_change_the_ranking_are_reported() -> None:
    """A common direction hides from the cosine that the rest, which distinguishes people, is noise."""
    centre = np.zeros(64, np.float32)
    centre[0] = 75
    parity = compare("embedder", centre + _vectors(), centre + _vectors(seed=1))
    assert parity.cosine is not None
    assert parity.cosine > 0.98
    assert parity.ranked is not None
    assert parity.ranked < 0.95
    assert any("nearest neighbour" in fault for fault in parity.faults)


def test_twins_may_change_places() -> None:
    twins = np.repeat(_vectors(20), 3, axis=0)
    near = twins + np.random.default_rng(2).normal(scale=1e-3, size=twins.shape).astype(np.float32)
    assert compare("embedder", twins, near).faults == ()


def test_the_worst_of_several_sizes_counts() -> None:
    good, bad = _vectors(4), _vectors(4, 1)
    found = worst([compare("detector", good, good), compare("detector", good, bad)])
    assert found.pictures == 8
    assert found.faults != ()
