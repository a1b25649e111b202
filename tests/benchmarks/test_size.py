"""The size figures of a checkout, and the limits that this one keeps."""

import os
from pathlib import Path

import pytest

from benchmarks import frame_path
from benchmarks.size import measure
from reid_stream.errors import ConfigError

ROOT = Path(__file__).parents[2]


def test_this_house_keeps_its_limits() -> None:
    found = measure(ROOT)

    assert 5 < found.top_modules <= 10
    assert 5 < found.layers <= 13
    assert found.longest <= 400
    assert found.classes > 300
    assert len(found.defined_twice) < 10, found.defined_twice
    assert found.readme_lines <= 150
    assert found.tracked_bytes < 60 << 20


def test_a_folder_that_is_no_checkout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="needs a git checkout of reid-stream"):
        measure(tmp_path)


@pytest.mark.slow
@pytest.mark.skipif("REID_STREAM_DATA" not in os.environ, reason="needs REID_STREAM_DATA")
def test_the_path_of_a_frame_leads_from_its_camera_to_the_stream() -> None:
    found = frame_path.measure(Path(os.environ["REID_STREAM_DATA"]) / "video" / "vtest.avi", 5)

    assert found.frames > 0
    assert "ingest/stream.py" in found.stages["camera"]
    assert "match/matcher.py" in found.stages["identify"]
    assert "publish/redis_stream.py" in found.stages["publish"]
    assert "track/tracker.py" not in found.beside
    assert 40 < found.modules <= 100
