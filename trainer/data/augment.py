"""Augmentation of a batch of training images, vectorised: (b, 3, h, w) in [0, 1] -> the same.

Every kind is one tensor operation over the whole batch, so that preparing it costs a few per cent of a step. Geometry
(flip, shift, zoom) is one resampling; colour (gain, contrast, saturation, tint, grey) is one 3x3 matrix per image.
Repeatable: all chance comes from the generator.

Sources: random erasing: Zhong et al., AAAI 2020 (arXiv 1708.04896); colour jitter instead of heavy erasing for unseen
cameras: Zhou et al., deep-person-reid, MODEL_ZOO.

Letters: b images, h and w pixels.
"""

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own convention)
from torch import Tensor

from trainer.config import AugmentSettings

LUMA = (0.299, 0.587, 0.114)
"""Rec. 601 luma weights of red, green and blue."""
ASPECT = 3.3
"""Most extreme ratio of an erased rectangle's sides (Zhong et al., section 4.1: 0.3 to 3.3)."""


def augment(
    images: Tensor,
    settings: AugmentSettings,
    generator: torch.Generator,
    progress: float = 1.0,
    regions: Tensor | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Change images (b, 3, h, w) in [0, 1] at random; the input is not changed.

    At a run's `progress` in [0, 1] the erased area may still be growing. `regions` (b, h, w), whole numbers, go along
    with flip, shift and zoom, by their nearest neighbour; what comes in at the border repeats the border.
    """
    changed, regions = move(images, settings, generator, regions)
    changed = blur(changed, settings.blur, generator)
    changed = recolour(changed, settings, generator)
    area = erase_area_at(settings, progress)
    return erase(changed, settings.erase, area, generator, settings.erase_fill == "noise"), regions


def erase_area_at(settings: AugmentSettings, progress: float) -> tuple[float, float]:
    """Return the smallest and largest share of an image that is erased at a point of the run.

    >>> plan = AugmentSettings(erase_area=(0.02, 0.4), erase_start=0.1)
    >>> [round(erase_area_at(plan, progress)[1], 2) for progress in (0.0, 0.5, 1.0)]
    [0.1, 0.25, 0.4]
    """
    low, high = settings.erase_area
    if settings.erase_start is not None:
        high = settings.erase_start + (high - settings.erase_start) * min(1.0, progress)
    return min(low, high), high


def move(
    images: Tensor, settings: AugmentSettings, generator: torch.Generator, regions: Tensor | None = None
) -> tuple[Tensor, Tensor | None]:
    """Mirror, shift and zoom; what comes in at the border repeats the border."""
    count = len(images)
    zoom = 1 + settings.zoom * _spread(generator, count)
    mirror = torch.where(_chance(generator, count) < settings.flip, -1.0, 1.0)
    shift = 2 * settings.shift * _spread(generator, count, 2)  # a whole image is 2 units wide
    affine = torch.zeros(count, 2, 3)
    affine[:, 0, 0] = mirror * zoom
    affine[:, 1, 1] = zoom
    affine[:, :, 2] = shift
    grid = F.affine_grid(affine, list(images.shape), align_corners=False)  # (b, h, w, 2)
    moved = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    if regions is None:
        return moved, None
    labels = F.grid_sample(
        regions[:, None].float(), grid, mode="nearest", padding_mode="border", align_corners=False
    )  # (b, 1, h, w)
    return moved, labels[:, 0].round().long()


def recolour(images: Tensor, settings: AugmentSettings, generator: torch.Generator) -> Tensor:
    """Change gain, contrast, saturation and white balance, and make some images grey."""
    count = len(images)
    gain = 1 + settings.brightness * _spread(generator, count, 1, 1)
    contrast = 1 + settings.contrast * _spread(generator, count, 1, 1)
    saturation = 1 + settings.saturation * _spread(generator, count, 1, 1)
    saturation = torch.where(_chance(generator, count, 1, 1) < settings.grey, 0.0, saturation)
    tint = 1 + settings.tint * _spread(generator, count, 3, 1)
    luma = torch.tensor(LUMA).expand(3, 3)  # every row is the weights of grey
    matrix = contrast * gain * (saturation * torch.eye(3) * tint + (1 - saturation) * luma)  # (b, 3, 3)
    flat = images.flatten(2)  # (b, 3, hw)
    grey = torch.einsum("c,bcp->b", torch.tensor(LUMA), flat) / flat.shape[2]  # (b,)
    offset = (grey[:, None, None] * gain * (1 - contrast)).expand(count, 3, 1)
    return torch.baddbmm(offset, matrix, flat).clamp_(0, 1).view_as(images)


def blur(images: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Halve some images and enlarge them again."""
    chosen = torch.nonzero(_chance(generator, len(images)) < share).flatten()
    if len(chosen) == 0:
        return images
    small = F.avg_pool2d(images[chosen], 2)
    images[chosen] = F.interpolate(small, images.shape[2:], mode="bilinear", align_corners=False)
    return images


def erase(
    images: Tensor, share: float, area: tuple[float, float], generator: torch.Generator, noise: bool = False
) -> Tensor:
    """Fill a rectangle of some images with a random colour, or with noise."""
    count, _, height, width = images.shape
    wanted = _chance(generator, count) < share
    size = area[0] + (area[1] - area[0]) * _chance(generator, count)
    ratio = torch.exp(torch.log(torch.tensor(ASPECT)) * _spread(generator, count))
    tall = torch.sqrt(size * ratio * height * width).clamp(max=height * 0.95)
    wide = torch.sqrt(size / ratio * height * width).clamp(max=width * 0.95)
    top = _chance(generator, count) * (height - tall)
    left = _chance(generator, count) * (width - wide)
    rows = torch.arange(height)[None, :]
    columns = torch.arange(width)[None, :]
    inside_rows = (rows >= top[:, None]) & (rows < (top + tall)[:, None]) & wanted[:, None]  # (b, h)
    inside_columns = (columns >= left[:, None]) & (columns < (left + wide)[:, None])  # (b, w)
    mask = inside_rows[:, None, :, None] & inside_columns[:, None, None, :]  # (b, 1, h, w)
    fill = _chance(generator, count, 3, *((height, width) if noise else (1, 1)))
    return torch.where(mask, fill, images)


def _chance(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.rand(*shape, generator=generator)


def _spread(generator: torch.Generator, *shape: int) -> Tensor:
    return 2 * torch.rand(*shape, generator=generator) - 1
