"""Thresholds from the curve of a calibration: false-match rates and the evidence that strangers exceed with them
(pure).

    rate -> log likelihood ratio that pairs of different persons exceed with that rate
    log likelihood ratio -> rate, the inverse
    share -> log likelihood ratio that this share of the pairs of one person stays below

The third follows from the first: a calibrated log likelihood ratio l has e^l times the density among pairs of one
person that it has among pairs of different persons (van Leeuwen & Brümmer, "The distribution of calibrated
likelihood-ratios in speaker recognition", Interspeech 2013, equation 10).
"""

import numpy as np

from reid_stream.bundles.bundle import Calibration


def threshold_at_rate(calibration: Calibration, rate: float) -> float:
    """Return the log likelihood ratio that pairs of different persons exceed with a rate in (0, 1).

    Linear in the log rate between the measured rates and beyond them. A bundle without the curve gets log 1/rate, which
    holds for any distribution (Markov's inequality, as a likelihood ratio has mean 1 over strangers) but is strict.
    """
    rates, odds = calibration.stranger_rates, calibration.stranger_log_odds
    if len(rates) < 2:
        return float(-np.log(rate))
    places = np.log(rates)
    at = float(np.log(rate))
    low, high = (0, 1) if at >= places[0] else (-2, -1)
    if places[-1] <= at <= places[0]:
        return float(np.interp(at, places[::-1], odds[::-1]))
    slope = (odds[high] - odds[low]) / (places[high] - places[low])
    return float(odds[high] + slope * (at - places[high]))


def same_person_quantile(calibration: Calibration, share: float) -> float | None:
    """Return the log likelihood ratio below which a share of the pairs of one person lies; None without a curve.

    Pairs below the first measured rate are left out; those beyond the last one count at its log likelihood ratio.
    """
    if len(calibration.stranger_rates) < 2:
        return None
    rates, odds = np.asarray(calibration.stranger_rates), np.asarray(calibration.stranger_log_odds)
    strangers = np.append(rates[:-1] - rates[1:], rates[-1])
    mass = strangers * np.exp(np.append((odds[:-1] + odds[1:]) / 2, odds[-1]))
    below = np.concatenate([[0.0], np.cumsum(mass)[:-1]]) / mass.sum()
    return float(np.interp(share, below, odds))


def rate_at(calibration: Calibration, odds: float) -> float:
    """Return the rate at which pairs of different persons exceed a log likelihood ratio: inverts `threshold_at_rate`.

    At most 1; a bundle without the curve gets e^-odds (Markov's inequality).
    """
    rates, known = calibration.stranger_rates, calibration.stranger_log_odds
    if len(rates) < 2:
        return float(min(1.0, np.exp(-odds)))
    places = np.log(rates)
    if known[0] <= odds <= known[-1]:
        return float(np.exp(np.interp(odds, known, places)))
    low, high = (0, 1) if odds < known[0] else (-2, -1)
    if known[high] == known[low]:
        return float(min(1.0, rates[high]))
    slope = (places[high] - places[low]) / (known[high] - known[low])
    return float(min(1.0, np.exp(places[high] + slope * (odds - known[high]))))
