"""Calibration of a wrapped re-ID network until its own is measured (pure).

Cosines of raw vectors are not alike between networks: 1 % of the tracks of different people exceed 0.74 with OSNet and
0.42 with Open Model Zoo's retail-0287, since the vectors of a network share a mean, whose squared length is 0.5 with
the one and 0.14 with the other. After subtraction of the mean, as the matcher subtracts it
(reid_stream/match/camera_bias.py), the same share exceeds 0.31 to 0.47 with every network and data set that was
measured, and one curve serves them all: requested 0.004, each obtained 0.001 to 0.006.

Measured on OSNet x0.25, retail-0286, retail-0287 and the shipped embedder, on camera pairs 4 and 5 of CUHK03 and, of
networks that had not learned from them, the validation persons of Market-1501; each set of each network counts as much.
"""

from reid_stream.bundles.bundle import Calibration

UNIFORM_WEIGHT = 10.0
"""Squared factor of all dimensions without a trained head: margin = 10 (2 cos - 1), zero at a cosine of one half."""
TYPICAL_SQUARE = 0.5
"""Squared length of the mean vector where it is unknown: OSNet's, the largest measured, so that a match needs more."""
_RATES = [0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0003]
_LOG_ODDS = [-2.28, -0.014, 2.27, 4.318, 6.482, 8.0, 9.399]


def default_calibration() -> Calibration:
    """Return the calibration for margins of vectors whose mean is subtracted, with uniform factors."""
    return Calibration(
        kind="default",
        parameters={"slope": 0.9084, "intercept": 6.0618},
        fitted_on="other networks: OSNet x0.25, retail-0286, retail-0287, the embedder of reid-stream",
        stranger_rates=_RATES,
        stranger_log_odds=_LOG_ODDS,
    )
