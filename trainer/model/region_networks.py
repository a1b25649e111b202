"""Translate the output of a parsing or pose network to labels 0 to 7 of body regions (pure).

Sources: the 20 classes of LIP (Gong et al., "Look into Person", CVPR 2017) and the 17 keypoints of COCO (Lin et al.,
ECCV 2014), in the order in which networks are commonly trained on them.

Letters: n images, k keypoints or classes, h and w of the network's output.
"""

import cv2
import numpy as np
import numpy.typing as npt

from reid_stream.embed.preprocess import Floats, UInt8

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

HEAD, TORSO, LEFT_ARM, RIGHT_ARM, THIGHS, SHINS, FEET = range(1, 8)

# background, hat, hair, glove, sunglasses, upper clothes, dress, coat, socks, trousers, jumpsuit, scarf, skirt, face,
# left arm, right arm, left leg, right leg, left shoe, right shoe
LIP = (
    0, HEAD, HEAD, LEFT_ARM, HEAD, TORSO, TORSO, TORSO, FEET, THIGHS, TORSO, TORSO, THIGHS, HEAD,
    LEFT_ARM, RIGHT_ARM, SHINS, SHINS, FEET, FEET,
)  # fmt: skip
OWN = tuple(range(8))

# COCO: nose, eyes, ears (0 to 4), shoulders 5 6, elbows 7 8, wrists 9 10, hips 11 12, knees 13 14, ankles 15 16;
# odd ones are left. (region, from, to), drawn in this order: what comes later covers what came before.
_LIMBS = (
    (THIGHS, 11, 13), (THIGHS, 12, 14), (SHINS, 13, 15), (SHINS, 14, 16), (LEFT_ARM, 5, 7), (LEFT_ARM, 7, 9),
    (RIGHT_ARM, 6, 8), (RIGHT_ARM, 8, 10),
)  # fmt: skip
_TORSO, _FACE, _ANKLES = (5, 6, 12, 11), (0, 1, 2, 3, 4), (15, 16)
_KEYPOINTS = 17
_LEAST = 0.1
"""Heat below which a keypoint is not there; heatmaps peak near 1."""


def from_parsing(answer: Floats) -> UInt8:
    """Return labels (n, h, w) of a parser's logits (n, k, h, w): LIP's 20 classes, or our own 8.

    >>> logits = np.zeros((1, 20, 1, 2), np.float32)
    >>> logits[0, 13, 0, 0] = logits[0, 18, 0, 1] = 1  # face, left shoe
    >>> from_parsing(logits).tolist()
    [[[1, 7]]]

    Raises:
        ValueError: it has other classes.
    """
    tables = {len(LIP): LIP, len(OWN): OWN}
    if answer.ndim != 4 or answer.shape[1] not in tables:
        raise ValueError(f"a parser must give (n, 20 or 8, h, w) logits, got {answer.shape}")
    table = np.asarray(tables[answer.shape[1]], np.uint8)
    return np.asarray(table[answer.argmax(axis=1)], np.uint8)


def from_keypoints(answer: Floats) -> UInt8:
    """Return labels (n, h, w) drawn from heatmaps (n, 17, h, w): limbs as thick lines, a torso, a head, two feet.

    A keypoint that is not seen leaves its limbs out.

    Raises:
        ValueError: they are no such heatmaps.
    """
    if answer.ndim != 4 or answer.shape[1] != _KEYPOINTS:
        raise ValueError(f"a pose network must give (n, {_KEYPOINTS}, h, w) heatmaps, got {answer.shape}")
    height, width = answer.shape[2:]
    flat = answer.reshape(len(answer), _KEYPOINTS, -1)
    places, scores = flat.argmax(axis=2), flat.max(axis=2)  # (n, 17) both
    return np.stack(
        [
            _drawn(np.stack([place % width, place // width], axis=1), score >= _LEAST, (height, width))
            for place, score in zip(places, scores, strict=True)
        ]
    )


def from_points(points: Floats, size: tuple[int, int]) -> UInt8:
    """Return labels (n, h, w) drawn from keypoints (n, 17, 3): x and y as shares of the image, score in [0, 1].

    Args:
        points: COCO's keypoints.
        size: (height, width) of the labels in pixels.
    """
    pixels = (points[..., :2] * (size[1], size[0])).astype(np.int64)
    return np.stack([_drawn(place, score >= _LEAST, size) for place, score in zip(pixels, points[..., 2], strict=True)])


def _drawn(places: Ints, is_seen: Bools, size: tuple[int, int]) -> UInt8:
    """Draw keypoints (17, 2), x and y in pixels, of which some are seen (17,)."""
    height, width = size
    points = [(int(x), int(y)) for x, y in places]
    seen = [bool(value) for value in is_seen]
    labels = np.zeros((height, width), np.uint8)
    thick = max(1, round(_torso_width(points, seen, width) * 0.35))
    for region, start, end in _LIMBS:
        if seen[start] and seen[end]:
            cv2.line(labels, points[start], points[end], region, thick)
    if all(seen[index] for index in _TORSO):
        outline = np.asarray([points[index] for index in _TORSO], np.int32)
        cv2.fillConvexPoly(labels, outline, TORSO)
        cv2.polylines(labels, [outline], True, TORSO, max(1, thick // 2))
    for ankle in _ANKLES:
        if seen[ankle]:
            cv2.circle(labels, points[ankle], max(1, thick // 2), FEET, -1)
    face = [points[index] for index in _FACE if seen[index]]
    if face:
        middle = np.asarray(face).mean(axis=0).round().astype(int)
        cv2.circle(labels, (int(middle[0]), int(middle[1])), max(1, round(thick * 0.9)), HEAD, -1)
    return labels


def _torso_width(points: list[tuple[int, int]], seen: list[bool], width: int) -> float:
    """Return the distance of the shoulders; of a person seen from the side at least a fifth of the crop's width."""
    apart = abs(points[5][0] - points[6][0]) if seen[5] and seen[6] else 0
    return max(float(apart), width / 5)
