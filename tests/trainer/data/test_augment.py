"""Augmentation keeps shapes and ranges, is repeatable and does nothing when it is switched off."""

import torch

from trainer.config import AugmentSettings
from trainer.data.augment import augment, erase, recolour

OFF = AugmentSettings(
    flip=0, shift=0, zoom=0, erase=0, brightness=0, contrast=0, saturation=0, tint=0, grey=0, blur=0
)  # fmt: skip
PICTURES = torch.rand(6, 3, 32, 16, generator=torch.Generator().manual_seed(0))


def chance(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_everything_off_changes_nothing() -> None:
    assert torch.allclose(augment(PICTURES, OFF, chance())[0], PICTURES, atol=1e-5)


def test_the_same_seed_makes_the_same_images_and_leaves_the_input_alone() -> None:
    before = PICTURES.clone()
    settings = AugmentSettings(blur=0.5)
    once, again = augment(PICTURES, settings, chance(3))[0], augment(PICTURES, settings, chance(3))[0]
    assert torch.equal(once, again)
    assert torch.equal(PICTURES, before)
    assert not torch.equal(once, augment(PICTURES, settings, chance(4))[0])
    assert once.min() >= 0
    assert once.max() <= 1
    assert once.shape == PICTURES.shape


def test_a_flip_mirrors() -> None:
    flipped = augment(PICTURES, OFF.model_copy(update={"flip": 1.0}), chance())[0]
    assert torch.allclose(flipped, PICTURES.flip(3), atol=1e-5)


def test_grey_images_have_equal_channels() -> None:
    grey = recolour(PICTURES, OFF.model_copy(update={"grey": 1.0}), chance())
    assert torch.allclose(grey[:, 0], grey[:, 1], atol=1e-6)
    assert torch.allclose(grey[:, 1], grey[:, 2], atol=1e-6)


def test_contrast_keeps_the_mean_brightness() -> None:
    pictures = 0.4 + 0.2 * PICTURES
    changed = recolour(pictures, OFF.model_copy(update={"contrast": 0.3}), chance())
    luma = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    assert torch.allclose((changed * luma).sum(1).mean((1, 2)), (pictures * luma).sum(1).mean((1, 2)), atol=1e-3)


def test_erasing_fills_a_rectangle_of_the_wanted_size() -> None:
    erased = erase(PICTURES, 1.0, (0.2, 0.2), chance())
    changed = (erased != PICTURES).any(dim=1).float().mean(dim=(1, 2))
    assert ((changed > 0.1) & (changed < 0.3)).all()
