"""Drawn people: a head, a top and two legs before noise, which an embedder distinguishes by their colors."""

import cv2
import numpy as np

from reid_stream.images import UInt8

HEIGHT, WIDTH = 128, 64


def figure(top: tuple[int, int, int], legs: tuple[int, int, int], random: np.random.Generator) -> UInt8:
    """Draw a person (128, 64, 3) whose clothes have two colors."""
    image: UInt8 = (120 + random.integers(0, 40, (HEIGHT, WIDTH, 3))).astype(np.uint8)
    cv2.ellipse(image, (WIDTH // 2, HEIGHT // 8), (WIDTH // 8, HEIGHT // 12), 0, 0, 360, (120, 150, 200), -1)
    cv2.rectangle(image, (WIDTH // 4, HEIGHT // 5), (3 * WIDTH // 4, HEIGHT // 2), top, -1)
    cv2.rectangle(image, (WIDTH // 4 + 3, HEIGHT // 2), (WIDTH // 2 - 2, HEIGHT - 6), legs, -1)
    cv2.rectangle(image, (WIDTH // 2 + 2, HEIGHT // 2), (3 * WIDTH // 4 - 3, HEIGHT - 6), legs, -1)
    return image
