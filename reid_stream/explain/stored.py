"""Explain from a tracklet store why two tracks were linked or two identities kept apart.

identities -> best crop of each of their tracks -> the least similar pair (one identity) or the most similar pair (two)
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np

from reid_stream.embed.preprocess import UInt8
from reid_stream.errors import ModelError
from reid_stream.explain.pair import Explainer, Explanation
from reid_stream.explain.picture import draw, write
from reid_stream.images import decode, read_file
from reid_stream.store import read, tracks

_MOST = 64
"""Latest tracks of an identity that are considered."""


class TrackCrop(NamedTuple):
    """Best crop of one stored track."""

    name: str
    """camera/day/track/file within the store."""
    camera: str
    at: float
    """UTC seconds."""
    pixels: UInt8
    """(h, w, 3) RGB."""

    @property
    def title(self) -> str:
        """Camera and UTC time, for display."""
        return f"{self.camera}, {datetime.fromtimestamp(self.at, UTC):%Y-%m-%d %H:%M:%S}"


def explain_stored(
    explainer: Explainer, store: Path, person: str, other: str | None = None
) -> tuple[Explanation, tuple[TrackCrop, TrackCrop]]:
    """Explain the most doubtful pair of stored crops; return the explanation with both crops.

    For one identity, these are its two least similar tracks, on different cameras if there are several; for two
    identities, their two most similar tracks.

    Raises:
        ModelError: the store lacks two tracks to compare, or their crops cannot be read.
    """
    first = best_crops(store, person)
    second = best_crops(store, other) if other is not None else first
    pairs = [
        (row, column) for row in range(len(first)) for column in range(len(second)) if other is not None or row < column
    ]
    if not pairs:
        missing = person if not first or other is None else other
        raise ModelError(
            f"{store} must hold {'a track' if other is not None else 'two tracks'} of {missing} to compare, found "
            f"{len(second) if missing == other else len(first)}; tracks are stored when they end, "
            "if store.folder is set"
        )
    if other is None:
        pairs = [pair for pair in pairs if first[pair[0]].camera != first[pair[1]].camera] or pairs
    left = explainer.vectors([crop.pixels for crop in first])
    right = explainer.vectors([crop.pixels for crop in second]) if other is not None else left
    factors = np.asarray(explainer.bundle.verifier.d)
    far = [float(np.square(factors * (left[row] - right[column])).sum()) for row, column in pairs]
    row, column = pairs[int(np.argmax(far) if other is None else np.argmin(far))]
    one, two = first[row], second[column]
    return explainer(one.pixels, two.pixels), (one, two)


def best_crops(store: Path, person: str) -> list[TrackCrop]:
    """Return the crop of highest quality of each stored track of an identity: the latest 64, oldest first.

    Raises:
        ModelError: a track or a crop is broken.
    """
    found: list[tuple[float, str, Path]] = []
    for folder in tracks(store):
        try:
            track, files = read(folder)
        except ValueError as error:
            raise ModelError(str(error)) from error
        if track.global_id == person and files:
            best = int(np.argmax(track.qualities))
            found.append((track.times[best], track.camera, files[best]))
    return [
        TrackCrop("/".join(file.parts[-4:]), camera, at, _pixels(file))
        for at, camera, file in sorted(found, key=lambda item: item[0])[-_MOST:]
    ]


def _pixels(file: Path) -> UInt8:
    try:
        return decode(read_file(file))
    except (OSError, ValueError) as error:
        raise ModelError(f"a stored crop must be an image, {file} {error}; remove its track") from error


def page(bundle: Path, store: Path, person: str, other: str | None, out: Path) -> str:
    """Draw the most doubtful pair of one or two identities to a PNG file; return a line that describes it.

    Raises:
        ModelError: see `explain_stored`, or the bundle cannot be opened.
        ConfigError: the file cannot be written.
    """
    explanation, (one, two) = explain_stored(Explainer(bundle), store, person, other)
    write(draw(explanation, (one.title, two.title), person if other is None else f"{person} and {other}"), out)
    what = "the least sure two tracks" if other is None else "the two most alike"
    return f"{out}: {what}, {one.name} and {two.name}, P(same person) {explanation.same:.4f}"
