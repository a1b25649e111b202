"""The cache of teachers' outputs: in order, resumable, and for exactly the views that were computed."""

import os
from pathlib import Path

import numpy as np
import pytest

from tests.full_disk import files_of_at_most
from trainer.distill.cache import AnswerCache, set_hash
from trainer.errors import DataError, TrainerError

VIEWS = np.random.default_rng(1).integers(0, 256, (6, 8, 4, 3), dtype=np.uint8)
VECTORS = np.random.default_rng(2).normal(size=(6, 5)).astype(np.float32)
UNIT = VECTORS / np.linalg.norm(VECTORS, axis=1, keepdims=True)


def opened(folder: Path, dim: int = 5) -> AnswerCache:
    return AnswerCache(folder, "teacher", "images", dim)


def test_answers_are_kept_at_unit_length_and_read_back_by_view(tmp_path: Path) -> None:
    cache = opened(tmp_path)
    cache.append(VECTORS[:4], VIEWS[:4])
    cache.append(VECTORS[4:], VIEWS[4:])
    again = opened(tmp_path)
    assert len(again) == 6
    np.testing.assert_allclose(again.read(2, VIEWS[2:5]), UNIT[2:5], atol=1e-3)


def test_the_file_is_an_array_that_numpy_reads(tmp_path: Path) -> None:
    cache = opened(tmp_path)
    cache.append(VECTORS, VIEWS)
    loaded = np.load(cache.path)
    assert loaded.dtype == np.float16
    np.testing.assert_allclose(loaded, UNIT, atol=1e-3)


@pytest.mark.parametrize("torn", ["vectors", "digests"])
def test_a_row_that_a_kill_tore_is_cut_off_and_asked_again(tmp_path: Path, torn: str) -> None:
    cache = opened(tmp_path)
    cache.append(VECTORS[:4], VIEWS[:4])
    file = cache.path if torn == "vectors" else cache.path.with_suffix(".digests")
    os.truncate(file, file.stat().st_size - 3)
    again = opened(tmp_path)
    assert len(again) == 3
    again.append(VECTORS[3:], VIEWS[3:])
    np.testing.assert_allclose(opened(tmp_path).read(0, VIEWS), UNIT, atol=1e-3)


def test_other_pixels_than_those_answered_are_refused(tmp_path: Path) -> None:
    cache = opened(tmp_path)
    cache.append(VECTORS, VIEWS)
    changed = VIEWS.copy()
    changed[3, 0, 0, 0] ^= 1
    with pytest.raises(DataError, match="pixels differ"):
        cache.read(0, changed)


def test_a_teacher_of_another_size_midway_is_refused_and_costs_no_answer(tmp_path: Path) -> None:
    cache = opened(tmp_path)
    cache.append(VECTORS[:4], VIEWS[:4])
    with pytest.raises(DataError, match=r"must give \(2, 5\) numbers .* got \(2, 3\)"):
        cache.append(VECTORS[4:, :3], VIEWS[4:])
    with pytest.raises(DataError, match="vectors of another length"):
        opened(tmp_path, dim=3)
    assert len(opened(tmp_path)) == 4


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_answers_that_are_not_finite_are_refused_with_the_view(tmp_path: Path, bad: float) -> None:
    vectors = VECTORS.copy()
    vectors[2, 1] = bad
    cache = opened(tmp_path)
    with pytest.raises(DataError, match="finite numbers, view 2"):
        cache.append(vectors, VIEWS)
    assert len(cache) == 0


def test_a_full_disk_reports_it_and_keeps_earlier_answers(tmp_path: Path) -> None:
    cache = opened(tmp_path)
    cache.append(VECTORS[:2], VIEWS[:2])
    with (
        files_of_at_most(cache.path.stat().st_size + 7),
        pytest.raises(TrainerError, match=r"must have room.*2 answers are kept"),
    ):
        cache.append(VECTORS[2:], VIEWS[2:])
    assert len(cache) == 2
    cache.append(VECTORS[2:], VIEWS[2:])
    np.testing.assert_allclose(opened(tmp_path).read(0, VIEWS), UNIT, atol=1e-3)


def test_a_file_that_is_no_cache_is_named(tmp_path: Path) -> None:
    file = tmp_path / "teacher" / "images.npy"
    file.parent.mkdir()
    file.write_bytes(b"nothing of the kind" * 20)
    with pytest.raises(DataError, match=r"must be a \.npy file"):
        opened(tmp_path)


def test_another_crop_or_setting_makes_another_set() -> None:
    changed = VIEWS.copy()
    changed[5, 7, 3, 2] ^= 1
    assert len({set_hash(VIEWS, 1), set_hash(VIEWS, 2), set_hash(changed, 1), set_hash(VIEWS[:5], 1)}) == 4
