"""Composed footage has people when its traffic says so, and is empty otherwise."""

from pathlib import Path

import av
import numpy as np
import pytest

from benchmarks.rtsp.clips import draw_clip
from reid_stream.bench.scenes import BLOCKS, compose
from reid_stream.errors import ReidStreamError
from reid_stream.images import UInt8


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A square that moves."""
    return draw_clip(tmp_path_factory.mktemp("clips") / "a.mp4", seconds=6)


def images(path: Path) -> list[UInt8]:
    with av.open(str(path)) as container:
        return [np.asarray(frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]


def has_square(image: UInt8, background: UInt8) -> bool:
    return int((np.abs(image.astype(int) - background) > 60).sum()) > 200


def test_an_ordinary_scene_has_people_a_tenth_of_the_time_each_camera_at_another_time(
    clip: Path, tmp_path: Path
) -> None:
    (quiet,) = compose(clip, "quiet", tmp_path / "quiet", block_s=1.0)
    background = images(quiet)[0]
    variants = compose(clip, "ordinary", tmp_path / "ordinary", block_s=1.0)
    assert len(variants) == BLOCKS
    for at, variant in enumerate(variants):
        busy = [number for number, image in enumerate(images(variant)) if has_square(image, background)]
        assert busy == list(range(10 * at, 10 * at + 10))


def test_a_quiet_scene_has_no_one_and_a_crowded_one_always(clip: Path, tmp_path: Path) -> None:
    (quiet,) = compose(clip, "quiet", tmp_path / "quiet", block_s=2.0)
    (crowded,) = compose(clip, "crowded", tmp_path / "crowded", block_s=2.0)
    background = images(quiet)[0]
    assert len(images(quiet)) == len(images(crowded)) == 20
    assert not any(has_square(image, background) for image in images(quiet))
    assert all(has_square(image, background) for image in images(crowded))


def test_a_clip_must_be_a_video(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"no video")
    with pytest.raises(ReidStreamError, match=r"a\.mp4 must be a video"):
        compose(tmp_path / "a.mp4", "quiet", tmp_path)
