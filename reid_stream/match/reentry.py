"""Where a person comes into view again on the camera that lost sight of them (pure).

    where a stay ended, where the next began, the time between -> log P(place | one person) / P(place | two people)

A track breaks where somebody passes behind a pillar or another person, and goes on near by: after a gap of g seconds a
walker is about `SPEED` x g body heights away. Anybody else may begin anywhere in the picture. Measured in heights of
the person, so that no map and no calibration is needed: perspective cancels where the two boxes are of about one size.
Whoever is not walking on in view has left and may come back anywhere: with the gap that becomes the likelier story, and
place says nothing any more.
"""

import math

Spot = tuple[float, float, float]
"""Middle of the feet and height of a box, in pixels: (x, y, h)."""

SPEED = 0.8
"""Body heights a second, one standard deviation: 1.4 m/s at 1.75 m (Bohannon, "Comfortable and maximum walking speed
of adults", 1997)."""
_STILL = 0.5
"""Body heights by which a box of somebody who stands is off where they hide or come out."""
_STAYS_S = 5.0
"""Mean time for which somebody out of sight is still walking about in view."""
_ELSEWHERE = 0.05
"""Share of those who were lost sight of at once and came in elsewhere: two boxes for one person, tracks gone astray."""


def spot(box: tuple[float, float, float, float]) -> Spot:
    """Return where somebody stands, from their box."""
    return (box[0] + box[2]) / 2, box[3], box[3] - box[1]


def log_ratio(left: Spot, came: Spot, gap_s: float, area: float) -> float:
    """Return the log ratio of the place where a stay began after another had ended.

    Args:
        left: where the earlier one ended.
        came: where the later one began.
        gap_s: seconds between; below 0 as 0.
        area: of the picture, in pixels.
    """
    gap_s = max(0.0, gap_s)
    height = math.sqrt(left[2] * came[2])
    if height <= 0 or area <= 0:
        return 0.0
    apart = ((came[0] - left[0]) ** 2 + (came[1] - left[1]) ** 2) / height**2
    variance = _STILL**2 + (SPEED * gap_s) ** 2
    anywhere = max(1.0, area / height**2)
    near = anywhere / (2 * math.pi * variance) * math.exp(-apart / (2 * variance))
    walking = (1 - _ELSEWHERE) * math.exp(-gap_s / _STAYS_S)
    return math.log(walking * near + 1 - walking)
