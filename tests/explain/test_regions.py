"""What makes two crops alike matters more than the rest of them: shown on real crops by covering it."""

import os
from itertools import groupby, islice
from pathlib import Path

import numpy as np
import pytest

from reid_stream.bundles import catalog
from reid_stream.explain import Explainer, compare_regions
from trainer.data.crops import decode
from trainer.data.sets import read

DATA = Path(os.environ.get("REID_STREAM_DATA", "."))
PAIRS = 5


@pytest.mark.slow
@pytest.mark.skipif(
    not (DATA / "people" / "cuhk01.tar.gz").is_file(), reason="REID_STREAM_DATA has no people/cuhk01.tar.gz"
)
def test_covering_what_is_alike_lowers_the_cosine_more_than_covering_as_much_elsewhere() -> None:
    folder, _ = catalog.embedder("default")
    explainer, figures = Explainer(folder, threads=1), []
    for _, crops in islice(groupby(read("cuhk01", DATA), key=lambda crop: crop.person), PAIRS):
        by_camera = {crop.camera: crop for crop in crops}
        first, second = (decode(crop.data, crop.name) for crop in by_camera.values())
        found = compare_regions(explainer, first, second)
        assert found.covered < found.covered_elsewhere
        figures.append((found.covered, found.covered_elsewhere, found.cosine))
    covered, elsewhere, cosine = np.mean(figures, axis=0)
    assert covered < elsewhere < cosine
