"""Construction of matchers: everything that depends on the embedder comes from its bundle."""

import numpy as np

from reid_stream.bundles.bundle import Calibration, Verifier
from reid_stream.bundles.embedder_info import EmbedderInfo
from reid_stream.config.settings import Match
from reid_stream.match.factory import matcher_for
from reid_stream.records import Sighting
from tests.match.test_matcher import A, B, look

HEAD = Verifier(d=[1.0] * len(A), b=1.0, train_prior=0.5)
CALIBRATION = Calibration(kind="platt", parameters={"slope": 20.0, "intercept": -10.0})


def test_a_matcher_takes_head_calibration_and_length_from_the_embedder() -> None:
    one = matcher_for(Match(), EmbedderInfo("bundle-a", HEAD, CALIBRATION, len(A)), "shop", first_number=7)
    one.update([look("in", 1, 0.0, A), look("in", 1, 0.1, A)], 0.1)
    decisions = one.update([look("out", 1, 30.0, A), look("out", 1, 30.1, A)], 30.1)
    sightings = [decision for decision in decisions if isinstance(decision, Sighting)]
    assert {sighting.person for sighting in sightings} == {"shop-7"}
    assert all(sighting.probability is not None for sighting in sightings), "calibrated, so there is a probability"
    one.update([look("in", 2, 60.0, np.concatenate([B, B]))], 60.0)
    assert one.rejected == {"vector of another dimension": 1}


def test_vectors_of_another_embedder_are_rejected() -> None:
    one = matcher_for(Match(), EmbedderInfo("bundle-b", None, None, None), "shop")
    one.update([look("in", 1, 0.0, A)], 0.0)
    assert one.rejected == {"vector of another model": 1}
