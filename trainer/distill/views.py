"""Strongly augmented views of crops, repeatable from (seed, batch number), seen by teacher and student alike.

A student that sees the very view its teacher answered learns the teacher's function, and the wider the views, the more
of it: Beyer et al., "Knowledge distillation: A good teacher is patient and consistent", CVPR 2022 (arXiv 2106.05237).

Letters: b views, h and w pixels.
"""

import cv2
import numpy as np

from reid_stream.embed.preprocess import UInt8

Chance = np.random.Generator


def change(crop: UInt8, chance: Chance) -> UInt8:
    """Return a changed copy of an RGB crop (h, w, 3): box, colours, light, sharpness, compression, cover."""
    view = recolour_part(move(crop, chance), chance)
    view = cover(compress(soften(relight(view, chance), chance), chance), chance)
    return np.ascontiguousarray(view)


def mix(views: UInt8, labelled: int, mixup: float, splice: float, chance: Chance) -> UInt8:
    """Blend or splice some of the views (b, h, w, 3) after the first `labelled`, each with any other view."""
    mixed = views.copy()
    height = views.shape[1]
    for place in range(labelled, len(views)):
        draw, other = chance.random(), views[chance.integers(len(views))]
        if draw < mixup:
            share = chance.random()
            mixed[place] = (share * views[place] + (1 - share) * other).astype(np.uint8)
        elif draw < mixup + splice:
            cut = int(height * chance.uniform(0.35, 0.65))  # the waist of a standing person
            mixed[place, cut:] = other[cut:]
    return mixed


def move(crop: UInt8, chance: Chance) -> UInt8:
    """Mirror, shift, zoom and shear, as boxes of a detector differ."""
    height, width = crop.shape[:2]
    zoom = chance.uniform(0.88, 1.18)
    matrix = np.array(
        [[zoom * chance.uniform(0.92, 1.08), chance.uniform(-0.04, 0.04)], [chance.uniform(-0.04, 0.04), zoom]]
    )
    if chance.random() < 0.5:
        matrix[0] *= -1
    centre = np.array([width / 2, height / 2])
    shift = centre - matrix @ centre + chance.uniform(-0.07, 0.07, 2) * (width, height)
    affine = np.concatenate([matrix, shift[:, None]], axis=1).astype(np.float32)
    moved = cv2.warpAffine(crop, affine, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved, dtype=np.uint8)


def recolour_part(view: UInt8, chance: Chance) -> UInt8:
    """Rotate the hue of some views, or of their upper or lower part: other clothes."""
    if chance.random() >= 0.35:
        return view
    hsv = cv2.cvtColor(view, cv2.COLOR_RGB2HSV).astype(np.int32)
    cut = int(len(view) * chance.uniform(0.4, 0.6))
    part = (slice(None), slice(None, cut), slice(cut, None))[chance.integers(3)]
    hsv[part, :, 0] = (hsv[part, :, 0] + chance.integers(180)) % 180
    hsv[part, :, 1] = hsv[part, :, 1] * chance.uniform(0.4, 1.8)
    hsv[part, :, 2] = hsv[part, :, 2] * chance.uniform(0.6, 1.5)
    return np.asarray(cv2.cvtColor(hsv.clip(0, 255).astype(np.uint8), cv2.COLOR_HSV2RGB), dtype=np.uint8)


def relight(view: UInt8, chance: Chance) -> UInt8:
    """Change contrast, gain, white balance, saturation and gamma; some views become night, some noisy."""
    values = view.astype(np.float32)
    mean = values.mean()
    values = (values - mean) * chance.uniform(0.6, 1.35) + mean
    values = values * (chance.uniform(0.6, 1.35) * chance.uniform(0.85, 1.15, 3))
    grey = values.mean(axis=2, keepdims=True)
    values = grey + (values - grey) * (0.0 if chance.random() < 0.08 else chance.uniform(0.5, 1.4))
    if chance.random() < 0.2:
        values = 255 * (values / 255).clip(0, 1) ** chance.uniform(0.6, 1.8)
    if chance.random() < 0.08:  # night: dark, and the sensor's noise
        values = values * chance.uniform(0.2, 0.5) + chance.normal(0, 8, values.shape)
    elif chance.random() < 0.15:
        values = values + chance.normal(0, chance.uniform(2, 12), values.shape)
    return np.asarray(values.clip(0, 255).astype(np.uint8))


def soften(view: UInt8, chance: Chance) -> UInt8:
    """Lower the resolution of some views, and blur others."""
    height, width = view.shape[:2]
    if chance.random() < 0.3:
        share = chance.uniform(0.25, 0.8)
        small = (max(4, int(width * share)), max(8, int(height * share)))
        reduced = cv2.resize(view, small, interpolation=cv2.INTER_AREA)
        return np.asarray(cv2.resize(reduced, (width, height), interpolation=cv2.INTER_LINEAR), dtype=np.uint8)
    if chance.random() < 0.15:
        return np.asarray(cv2.GaussianBlur(view, (0, 0), chance.uniform(0.5, 1.6)), dtype=np.uint8)
    return view


def compress(view: UInt8, chance: Chance) -> UInt8:
    """Compress some views as JPEG of low quality."""
    if chance.random() >= 0.4:
        return view
    _, data = cv2.imencode(".jpg", view, [cv2.IMWRITE_JPEG_QUALITY, int(chance.integers(15, 90))])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), dtype=np.uint8)


def cover(view: UInt8, chance: Chance) -> UInt8:
    """Cover a rectangle of some views by one colour or by noise."""
    if chance.random() >= 0.3:
        return view
    height, width = view.shape[:2]
    tall, wide = int(height * chance.uniform(0.1, 0.4)), int(width * chance.uniform(0.2, 0.7))
    top, left = chance.integers(height - tall), chance.integers(width - wide)
    covered = view.copy()
    size = 3 if chance.random() < 0.5 else (tall, wide, 3)
    covered[top : top + tall, left : left + wide] = chance.integers(0, 256, size)
    return covered
