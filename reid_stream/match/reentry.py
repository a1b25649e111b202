"""Likelihood ratio of the place where a person reappears on the camera that lost them (pure).

    end of a stay, start of the next, time between -> log P(place | one person) / P(place | two people)

A track breaks where a person passes behind a pillar or another person, and resumes nearby: after a gap of g seconds a
walker is about `SPEED` x g body heights away, while another person may appear anywhere in the image. Distances are
measured in body heights, so that neither a map nor a camera calibration is needed: perspective cancels where the two
boxes have about the same size. The longer the gap, the likelier the person has left the view and may return anywhere;
the ratio then tends to 0.
"""

import math

Spot = tuple[float, float, float]
"""Bottom centre and height of a box in pixels: (x, y, h)."""

SPEED = 0.8
"""Body heights a second, one standard deviation: 1.4 m/s at 1.75 m (Bohannon, "Comfortable and maximum walking speed
of adults", 1997)."""
_STILL = 0.5
"""Standard deviation, in body heights, of a standing person's box where the person becomes occluded or visible."""
_STAYS_S = 5.0
"""Mean time for which an occluded person remains within the camera's view."""
_ELSEWHERE = 0.05
"""Share of reappearances elsewhere in the image even without a gap: duplicate boxes, tracks that drifted."""


def spot(box: tuple[float, float, float, float]) -> Spot:
    """Return bottom centre and height of a box (x1, y1, x2, y2)."""
    return (box[0] + box[2]) / 2, box[3], box[3] - box[1]


def log_ratio(left: Spot, came: Spot, gap_s: float, area: float) -> float:
    """Return the log likelihood ratio of the start of a stay, given the end of an earlier one; 0 for empty boxes.

    Args:
        left: end of the earlier stay.
        came: start of the later stay.
        gap_s: seconds between; negative counts as 0.
        area: of the image in pixels.
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
