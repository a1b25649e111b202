"""Convert the mean and standard deviation given for a network's input to one scale (pure)."""

from collections.abc import Sequence
from math import isfinite

from reid_stream.bundles.bundle import Channels
from reid_stream.errors import ModelError


def normalisation(
    mean: Sequence[float] | None, std: Sequence[float] | None, scale: int | None
) -> tuple[Channels, Channels]:
    """Return mean and standard deviation per channel for pixels in [0, 1].

    >>> normalisation((123.675, 116.28, 103.53), (58.395, 57.12, 57.375), None)[0]
    (0.485, 0.456, 0.406)
    >>> normalisation(None, None, 255)
    ((0.0, 0.0, 0.0), (0.00392156862745098, 0.00392156862745098, 0.00392156862745098))

    Args:
        mean: in the unit of `scale`; default: ImageNet's at a scale of 1, 0 at 255.
        std: likewise; default: ImageNet's at a scale of 1, 1 at 255.
        scale: pixel values run to 1 or 255; default: 255 where a mean or std is above 1, else 1.

    Raises:
        ModelError: not three numbers, or a standard deviation that is not above 0.
    """
    for option, values in (("--mean", mean), ("--std", std)):
        if values is not None and (len(values) != 3 or not all(map(isfinite, values))):
            raise ModelError(f"{option} must be three numbers, one per channel, got {values}")
    if std is not None and min(std) <= 0:
        raise ModelError(f"--std must be above 0, got {tuple(std)}")
    given = [*(mean or ()), *(std or ())]
    scale = scale or (255 if given and max(map(abs, given)) > 1 else 1)
    if scale == 1:
        means, stds = mean or (0.485, 0.456, 0.406), std or (0.229, 0.224, 0.225)
    else:
        means, stds = ([value / 255 for value in values] for values in (mean or (0.0,) * 3, std or (1.0,) * 3))
    return (means[0], means[1], means[2]), (stds[0], stds[1], stds[2])
