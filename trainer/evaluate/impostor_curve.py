"""Measure the curve of strangers' scores, which turns a false-match rate into the matcher's threshold.

The matcher never compares two pictures. It compares tracks, each the mean of its vectors after its camera's mean was
subtracted (reid_stream/match/camera_bias.py, scoring.py), and as often on one camera as across two. Means of several
vectors are more alike than single ones, and so are two people before one background: a curve of single pairs across
cameras promises a rate that tracks exceed five times over. So the curve is measured on such means, of persons not
trained on, on one camera and across.

Letters: n images, t tracks, d dimensions.
"""

from collections.abc import Sequence

import msgspec
import numpy as np

from reid_stream.bundles.bundle import Calibration, Verifier
from reid_stream.bundles.calibration import log_odds, logit
from trainer.errors import DataError
from trainer.evaluate.network import folded
from trainer.evaluate.retrieval import Bools, Doubles, Floats, Ints, squared_distances, threshold_at

RATES = (0.3, 0.1, 0.03, 0.01, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5)
_TRACK = 8
"""Vectors of one track: as many as the daemon makes of a person who walks by."""


def with_strangers(
    calibration: Calibration,
    vectors: Floats,
    persons: Ints,
    cameras: Ints,
    verifier: Verifier,
    known: Bools | None = None,
) -> Calibration:
    """Add the curve of unit vectors (n, d) to a calibration.

    Args:
        calibration: what is known of single pairs.
        vectors: (n, d).
        persons: (n,) numbers.
        cameras: (n,) numbers.
        verifier: the head that the margins are of.
        known: by person, whether all images of this person are known to be; of two others it is not known whether
            they are one, and their pair does not count. None for all.

    Raises:
        DataError: there are no two persons.
    """
    return with_curve(calibration, [stranger_margins(vectors, persons, cameras, verifier, known)])


def with_curve(calibration: Calibration, domains: Sequence[Doubles]) -> Calibration:
    """Add the curve of the margins of one or more data sets, each of which counts as much.

    The rate of a threshold is the mean over data sets of the share of their strangers that reach it: a threshold of one
    set alone promises too much where people and cameras are others.
    """
    rates = [rate for rate in RATES if rate * min(len(margins) for margins in domains) >= 1]
    shift = float(logit(calibration.prior))
    odds = [float(log_odds(calibration, mean_threshold(domains, rate))) - shift for rate in rates]
    return msgspec.structs.replace(calibration, stranger_rates=rates, stranger_log_odds=odds)


def mean_threshold(domains: Sequence[Doubles], rate: float) -> float:
    """Return the lowest threshold that at most `rate` of the margins reach, as the mean over data sets."""
    if len(domains) == 1:
        return threshold_at(domains[0], rate)
    margins = np.concatenate(domains)
    weight = np.repeat([1 / len(domains) / len(own) for own in domains], [len(own) for own in domains])
    order = np.argsort(margins)[::-1]
    reached = np.searchsorted(np.cumsum(weight[order]), rate + 1e-12, side="right")
    return -np.inf if reached >= len(order) else float(np.nextafter(margins[order[reached]], np.inf))


def obtained_rates(calibration: Calibration, margins: Doubles) -> list[tuple[float, float]]:
    """Return (asked, obtained) false-match rates of strangers' margins, of people the curve was not made of."""
    odds = log_odds(calibration, margins) - float(logit(calibration.prior))
    asked = zip(calibration.stranger_rates, calibration.stranger_log_odds, strict=True)
    return [(rate, float((odds >= threshold).mean())) for rate, threshold in asked]


def stranger_margins(
    vectors: Floats, persons: Ints, cameras: Ints, verifier: Verifier, known: Bools | None = None
) -> Doubles:
    """Return the margins of all pairs of tracks of two persons, as the matcher would find them (`with_strangers`)."""
    means = {camera: vectors[cameras == camera].mean(axis=0) for camera in np.unique(cameras).tolist()}
    common = np.mean(list(means.values()), axis=0)
    centred = _unit(vectors - np.stack([means[camera] for camera in cameras.tolist()]))
    templates, who = [], []
    for person in np.unique(persons):
        for camera in np.unique(cameras[persons == person]):
            rows = np.flatnonzero((persons == person) & (cameras == camera))
            for start in range(0, len(rows), _TRACK):
                templates.append(centred[rows[start : start + _TRACK]].mean(axis=0))
                who.append(person)
    metric, names = folded(_unit(np.stack(templates)), verifier), np.asarray(who)  # (t, d), (t,)
    squared = np.concatenate(list(squared_distances(metric, metric))).astype(np.float64)
    first, second = np.triu_indices(len(names), 1)
    strangers = names[first] != names[second]
    if known is not None:
        strangers &= known[names[first]] | known[names[second]]
    if not strangers.any():
        raise DataError(f"the curve of strangers needs at least 2 persons, got {len(np.unique(persons))}")
    # Unrelated raw vectors have the cosine |common|^2; see camera_bias.py for why distances shrink by it.
    spread = 1 - float(common @ common)
    return np.asarray(verifier.b - spread * squared[first, second][strangers])


def _unit(vectors: Floats) -> Floats:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-6), dtype=np.float32)
