"""The stranger curve is measured on what the matcher compares."""

import numpy as np
import pytest

from reid_stream.bundles.bundle import Calibration, Verifier
from reid_stream.config.settings import Match
from reid_stream.match.camera_bias import CameraShifts, shifted
from reid_stream.match.scoring import Scorer, squared_distance
from reid_stream.records import CameraId
from trainer.errors import DataError
from trainer.evaluate.impostor_curve import mean_threshold, obtained_rates, stranger_margins, with_curve, with_strangers
from trainer.evaluate.retrieval import Floats, Ints

DIM, PERSONS, CAMERAS, IMAGES = 16, 12, 3, 4
HEAD = Verifier(d=[1.5] * DIM, b=4.0, train_prior=0.2)
PLATT = Calibration(kind="platt", parameters={"slope": 1.0, "intercept": 0.0}, prior=0.5)


def crops(seed: int = 0) -> tuple[Floats, Ints, Ints]:
    random = np.random.default_rng(seed)
    persons = np.repeat(np.arange(PERSONS), CAMERAS * IMAGES)
    cameras = np.tile(np.repeat(np.arange(CAMERAS), IMAGES), PERSONS)
    vectors = random.normal(size=(PERSONS, DIM))[persons] + random.normal(size=(CAMERAS, DIM))[cameras] + 2
    vectors += 0.5 * random.normal(size=vectors.shape)
    unit = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return unit, persons, cameras


def test_margins_are_those_that_the_matcher_finds() -> None:
    vectors, persons, cameras = crops()
    shifts = CameraShifts()
    for _ in range(2000):  # so that the means are trusted fully
        for camera in range(CAMERAS):
            shifts.learn(CameraId(str(camera)), vectors[cameras == camera].mean(axis=0))
    centring = shifts.bias()
    judge = Scorer(Match(), HEAD, PLATT)
    templates, who = [], []
    for person in range(PERSONS):
        for camera in range(CAMERAS):
            rows = vectors[(persons == person) & (cameras == camera)]
            templates += judge.fold(shifted(rows, centring.shifts[CameraId(str(camera))]).mean(axis=0)[None])
            who.append(person)
    expected = [
        float(judge.llr(np.array([squared_distance(templates[a], templates[b])], np.float32), centring.floor)[0])
        for a in range(len(who))
        for b in range(a + 1, len(who))
        if who[a] != who[b]
    ]
    found = stranger_margins(vectors, persons, cameras, HEAD)  # Platt with slope 1: the evidence is the margin
    assert sorted(found.tolist()) == pytest.approx(sorted(expected), abs=0.05)


def test_the_curve_rises_as_rates_fall_and_ends_where_pairs_do() -> None:
    vectors, persons, cameras = crops()
    curve = with_strangers(PLATT, vectors, persons, cameras, HEAD)
    assert curve.stranger_rates == sorted(curve.stranger_rates, reverse=True)
    assert curve.stranger_log_odds == sorted(curve.stranger_log_odds)
    pairs = (PERSONS * CAMERAS) * (PERSONS * CAMERAS - 1) // 2
    assert min(curve.stranger_rates) * pairs >= 1


def test_one_person_has_no_strangers() -> None:
    vectors, persons, cameras = crops()
    with pytest.raises(DataError, match="at least 2 persons, got 1"):
        stranger_margins(vectors, np.zeros_like(persons), cameras, HEAD)


def test_a_curve_of_two_data_sets_keeps_its_rates_as_their_mean_however_large_each_is() -> None:
    random = np.random.default_rng(3)
    easy, hard = random.normal(-4, 1, 40_000), random.normal(-1, 1, 4_000)

    both = with_curve(PLATT, [easy, hard])

    for rate, odds in zip(both.stranger_rates, both.stranger_log_odds, strict=True):
        obtained = ((easy >= odds).mean() + (hard >= odds).mean()) / 2
        assert rate - 1 / len(hard) <= obtained <= rate + 1e-9
    assert mean_threshold([easy], 0.01) == pytest.approx(np.quantile(easy, 0.99), abs=0.02)


def test_the_curve_of_one_data_set_is_seen_to_promise_too_much_on_a_harder_one() -> None:
    random = np.random.default_rng(4)
    easy, hard = random.normal(-4, 1, 40_000), random.normal(-1, 1, 4_000)
    on_itself, on_hard = (dict(obtained_rates(with_curve(PLATT, [easy]), margins)) for margins in (easy, hard))

    assert on_itself[0.01] == pytest.approx(0.01, rel=0.05)
    assert on_hard[0.01] > 0.5
