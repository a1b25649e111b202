"""Distillation losses by values that were computed by hand."""

import pytest
import torch

from trainer.distill.losses import centred, pair_loss, vector_loss

RIGHT, UP = [1.0, 0.0], [0.0, 1.0]


def test_the_vector_loss_is_one_less_the_cosine() -> None:
    projected = torch.tensor([[3.0, 0.0], [0.0, 2.0]])
    target = torch.tensor([RIGHT, RIGHT])
    assert float(vector_loss(projected, target)) == pytest.approx((0 + 1) / 2)


def test_the_pair_loss_compares_cosines_and_weighs_alike_pairs_more() -> None:
    student = torch.tensor([[2.0, 0.0], [0.0, 5.0]])  # cosine 0
    teacher = torch.tensor([RIGHT, [0.6, 0.8]])  # cosine 0.6
    assert float(pair_loss(student, [teacher], [1.0], 0.0)) == pytest.approx(0.36)
    assert float(pair_loss(student, [teacher], [1.0], 4.0)) == pytest.approx(0.36 * (1 + 4 * 0.6))


def test_several_teachers_give_the_mean_of_their_cosines_by_weight() -> None:
    student = torch.tensor([RIGHT, UP])
    alike, different = torch.tensor([RIGHT, RIGHT]), torch.tensor([RIGHT, UP])
    assert float(pair_loss(student, [alike, different], [3.0, 1.0], 0.0)) == pytest.approx(0.75**2)


def test_a_student_that_agrees_with_its_teacher_has_no_loss() -> None:
    vectors = torch.nn.functional.normalize(torch.randn(6, 5, generator=torch.Generator().manual_seed(1)), dim=1)
    assert float(pair_loss(3 * vectors, [vectors], [1.0], 4.0)) == pytest.approx(0, abs=1e-6)
    assert float(vector_loss(3 * vectors, vectors)) == pytest.approx(0, abs=1e-6)


def test_centring_takes_off_what_all_vectors_share() -> None:
    vectors = torch.tensor([[1.0, 0.1], [1.0, -0.1]])
    found = centred(vectors, vectors.mean(dim=0))
    torch.testing.assert_close(found, torch.tensor([[0.0, 1.0], [0.0, -1.0]]))
