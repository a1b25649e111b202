"""Batches are balanced and repeatable; pairs cross cameras first."""

import numpy as np
import pytest
import torch

from trainer.config import SamplerSettings
from trainer.data.crops import Images
from trainer.data.sampler import Sampler, pairs
from trainer.errors import DataError


def world(sizes: tuple[int, ...] = (90, 10), cameras: int = 3, shots: int = 4) -> Images:
    rows = [
        (domain, person, camera)
        for domain, size in enumerate(sizes)
        for person in range(sum(sizes[:domain]), sum(sizes[: domain + 1]))
        for camera in range(cameras)
        for _ in range(shots)
    ]
    table = np.array(rows, dtype=np.int64)
    return Images(
        np.zeros((len(rows), 1, 1, 3), np.uint8), table[:, 1], table[:, 2] + cameras * table[:, 0], table[:, 0],
        ("",) * len(rows), tuple(f"p{n}" for n in range(sum(sizes))),
        tuple(f"c{n}" for n in range(cameras * len(sizes))),
        tuple(f"d{n}" for n in range(len(sizes))),
    )  # fmt: skip


def test_a_batch_holds_p_persons_with_k_different_images_spread_over_cameras() -> None:
    images = world()
    sampler = Sampler(images, SamplerSettings(persons=8, images=3), seed=0)
    for step in range(20):
        rows = sampler.batch(step)
        persons, counts = np.unique(images.persons[rows], return_counts=True)
        assert len(persons) == 8
        assert set(counts) == {3}
        assert len(np.unique(rows)) == 24
        for person in persons:
            assert len(np.unique(images.cameras[rows][images.persons[rows] == person])) == 3


def test_domains_share_a_batch_by_the_root_of_their_persons() -> None:
    images = world((90, 10))
    sampler = Sampler(images, SamplerSettings(persons=8, images=2), seed=0)
    share = np.mean([(images.domains[sampler.batch(step)] == 0).mean() for step in range(300)])
    assert sampler.shares == pytest.approx([0.75, 0.25])  # 3 to 1, not 9 to 1
    assert share == pytest.approx(0.75, abs=0.02)


def test_a_batch_depends_on_seed_and_step_alone() -> None:
    settings = SamplerSettings(persons=8, images=2)
    one, other = Sampler(world(), settings, seed=5), Sampler(world(), settings, seed=5)
    one.batch(0)
    assert np.array_equal(one.batch(7), other.batch(7))
    assert not np.array_equal(one.batch(7), one.batch(8))
    assert not np.array_equal(one.batch(7), Sampler(world(), settings, seed=6).batch(7))


def test_every_image_is_seen_in_time() -> None:
    images = world((12, 12))
    sampler = Sampler(images, SamplerSettings(persons=8, images=4), seed=1)
    assert len(np.unique(np.concatenate([sampler.batch(step) for step in range(150)]))) == len(images)


def test_a_person_with_few_images_fills_its_place_by_repetition() -> None:
    sampler = Sampler(world((6,), cameras=1, shots=1), SamplerSettings(persons=4, images=3), seed=1)
    assert len(sampler.batch(0)) == 12
    assert len(sampler.alone) == 6


def test_one_person_or_fewer_than_a_batch_is_refused() -> None:
    with pytest.raises(DataError, match="at least 2 persons, got 1"):
        Sampler(world((1,)), SamplerSettings(persons=2), 0)
    with pytest.raises(DataError, match="at most the 3 persons"):
        Sampler(world((3,)), SamplerSettings(persons=4), 0)


def test_positives_cross_cameras_first_and_hard_negatives_are_the_most_similar() -> None:
    persons = torch.tensor([0, 0, 0, 1, 1, 2, 2])
    cameras = torch.tensor([0, 0, 1, 0, 0, 0, 1])
    vectors = torch.nn.functional.one_hot(persons, 4).float()
    vectors[3] = torch.tensor([0.9, 0.4, 0.0, 0.0])  # person 1 once looks like person 0
    for seed in range(10):
        first, second, same = pairs(persons, cameras, vectors, 2, True, torch.Generator().manual_seed(seed))
        positive = {(int(a), int(b)) for a, b in zip(first[same], second[same], strict=True)}
        assert (0, 2) in positive
        assert (1, 2) in positive
        assert (3, 4) in positive
        assert len(positive) == 7
        assert int((~same).sum()) == 14
        negative = {(int(a), int(b)) for a, b in zip(first[~same], second[~same], strict=True)}
        assert {(0, 3), (1, 3), (2, 3)} <= negative
        assert all(persons[a] != persons[b] for a, b in negative)
