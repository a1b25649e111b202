"""Drawn people: a pattern of colours each, seen by cameras of different white balance, moved and noisy.

`python -m tests.trainer.people FOLDER` writes the set that configs/train-tiny.yaml learns from.
"""

import sys
from pathlib import Path

import cv2
import numpy as np

HEIGHT, WIDTH = 64, 32


def draw_people(folder: Path, persons: int = 60, cameras: int = 2, images: int = 4, seed: int = 0) -> Path:
    """Write PPPP_cC_NN.png: four bands of two colours each are the person, the rest is the camera and chance."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    balance = random.uniform(0.6, 1.0, (cameras, 3))
    for person in range(persons):
        clothes = random.integers(30, 226, (4, 2, 3)).astype(np.float64)
        whole = cv2.resize(clothes, (WIDTH, HEIGHT), interpolation=cv2.INTER_NEAREST)
        for camera in range(cameras):
            for image in range(images):
                shift = tuple(random.integers(-4, 5, 2).tolist())
                seen = np.roll(whole, shift, axis=(0, 1)) * balance[camera] * random.uniform(0.8, 1.2)
                seen += random.normal(0, 12, seen.shape)
                name = folder / f"{person:04d}_c{camera + 1}_{image:02d}.png"
                cv2.imwrite(str(name), np.clip(seen, 0, 255).astype(np.uint8))
    return folder


if __name__ == "__main__":
    draw_people(Path(sys.argv[1]))
