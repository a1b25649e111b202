"""Synthetic persons for tests without data: bands of colour, lit differently by each camera.

A person is the colours of hair, jacket and trousers and the stripes of the jacket; a camera is a tint. What has to be
learnt is to look past the camera, so an untrained network is far from perfect here.
"""

from collections.abc import Iterator

import cv2
import numpy as np
import numpy.typing as npt

from trainer.data.crops import StoredCrop

HEIGHT, WIDTH = 64, 32
CAMERAS, IMAGES = 3, 4


def read_synthetic(persons: int, seed: int = 7) -> Iterator[StoredCrop]:
    """Draw `persons` persons, 4 images by each of 3 cameras."""
    random = np.random.default_rng(seed)
    tints = random.uniform(0.45, 1.4, (CAMERAS, 3))
    for person in range(persons):
        colours = random.uniform(30, 220, (4, 3))  # hair, jacket, stripes, trousers
        period = int(random.integers(4, 12))
        for camera in range(CAMERAS):
            for number in range(IMAGES):
                pixels = _draw(colours, period, random) * tints[camera] * random.uniform(0.85, 1.15)
                pixels += random.normal(0, 8, pixels.shape)
                data = cv2.imencode(".png", pixels.clip(0, 255).astype(np.uint8))[1].tobytes()
                name = f"{person:04d}_c{camera + 1}_{number:02d}.png"
                yield StoredCrop(name, f"{person:04d}", str(camera + 1), "synthetic", data)


def _draw(colours: npt.NDArray[np.float64], period: int, random: np.random.Generator) -> npt.NDArray[np.float64]:
    picture = np.tile(random.uniform(60, 200, 3), (HEIGHT, WIDTH, 1))  # any background
    top, left = random.integers(0, 6), random.integers(2, 8)
    right = left + 20
    picture[top : top + 10, left + 5 : right - 5] = colours[0]
    jacket = picture[top + 10 : top + 34, left:right]
    jacket[:] = colours[1]
    jacket[np.arange(len(jacket)) % period < period // 3 + 1] = colours[2]
    picture[top + 34 : top + 58, left + 2 : right - 2] = colours[3]
    return picture
