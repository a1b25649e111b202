"""Data folders from elsewhere: clutter, trailing bytes, distractors, cameras without a common person."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from reid_stream.embed.preprocess import InputSpec
from trainer.config import load
from trainer.data.crops import decode
from trainer.data.files import is_whole_jpeg
from trainer.data.sets import read
from trainer.data.test_sets import read_test_set
from trainer.errors import DataError
from trainer.progress import reported
from trainer.threads import idle_cores
from trainer.train.loop import load_images

CONFIG = Path(__file__).parents[3] / "configs" / "train-tiny.yaml"
SPEC = InputSpec(32, 16)


def jpeg(seed: int = 0, *options: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (64, 32, 3), dtype=np.uint8)
    return cv2.imencode(".jpg", pixels, options)[1].tobytes()


def fill(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for seed, name in enumerate(names):
        (folder / name).write_bytes(jpeg(seed))


@pytest.mark.parametrize("clutter", [".ipynb_checkpoints", "__MACOSX", ".Trash-1000", "@eaDir"])
def test_clutter_is_neither_a_person_nor_an_image(tmp_path: Path, clutter: str) -> None:
    fill(tmp_path / "anna", "door_c1_1.jpg")
    fill(tmp_path / clutter, "door_c2_1.jpg")
    (tmp_path / "anna" / "._door_c1_1.jpg").write_bytes(b"resource fork")
    (tmp_path / "._0001_c1_1.jpg").write_bytes(b"resource fork")
    (tmp_path / ".DS_Store").write_bytes(b"Bud1")
    assert [crop.name for crop in read(f"folder:{tmp_path}")] == ["anna/door_c1_1.jpg"]


@pytest.mark.parametrize("tail", [b"", bytes(512), b"\xff", b"....ftypmp42" + bytes(range(256)) * 40])
@pytest.mark.parametrize("progressive", [0, 1])
def test_bytes_after_the_end_of_a_jpeg_do_no_harm(tail: bytes, progressive: int) -> None:
    data = jpeg(1, cv2.IMWRITE_JPEG_PROGRESSIVE, progressive, cv2.IMWRITE_JPEG_RST_INTERVAL, 2)
    assert decode(data + tail, "a.jpg").shape == (64, 32, 3)


def test_a_jpeg_that_is_cut_off_is_refused_wherever_it_is_cut() -> None:
    whole = jpeg()
    thumbnail = b"\xff\xe1" + (2 + len(whole)).to_bytes(2, "big") + whole
    with_thumbnail = whole[:2] + thumbnail + whole[2:]
    assert is_whole_jpeg(with_thumbnail)
    assert not any(is_whole_jpeg(whole[:length]) for length in range(len(whole)))
    assert not any(is_whole_jpeg(with_thumbnail[:length]) for length in range(len(with_thumbnail)))


def test_distractors_of_market1501_are_searched_but_never_learned_and_never_ask(tmp_path: Path) -> None:
    people = [f"{person:04d}_c{camera}s1_{shot}.jpg" for person in range(1, 5) for camera in (1, 2) for shot in (1, 2)]
    fill(tmp_path, *people, "0000_c1s1_1.jpg", "0000_c1s1_2.jpg", "0000_c2s1_1.jpg")
    found = read_test_set(f"folder:{tmp_path}", None, SPEC)
    assert not any(found.images.names[row].startswith("0000") for row in found.query)
    assert sum(found.images.names[row].startswith("0000") for row in found.gallery) == 3
    settings = load(CONFIG, (f"data.sets=['folder:{tmp_path}']", "data.validation_ids=2"))
    training, held = load_images(settings, None)
    assert len(training.person_names) + len(held.person_names) == 4


def test_cameras_without_a_common_person_are_refused_before_an_image_is_decoded(tmp_path: Path) -> None:
    tmp_path.mkdir(exist_ok=True)
    for name in ("0001_c1_1.jpg", "0001_c1_2.jpg", "0002_c2_1.jpg", "0002_c2_2.jpg", "0003_c2_1.jpg"):
        (tmp_path / name).write_bytes(b"never decoded")
    message = "cameras 1, 2 without a common person.*same number, or folder, on every camera"
    with pytest.raises(DataError, match=message):
        read_test_set(f"folder:{tmp_path}", None, SPEC)
    with pytest.raises(DataError, match="without a common person|found 1 persons and 1 camera"):
        load_images(load(CONFIG, (f"data.sets=['folder:{tmp_path}']", "data.validation_ids=1")), None)


def test_a_busy_machine_still_gets_a_thread() -> None:
    assert idle_cores() >= 1


def test_progress_is_logged_with_the_time_left() -> None:
    lines: list[str] = []
    assert list(reported([1, 2, 3], "tracks embedded", lines.append, every_s=0)) == [1, 2, 3]
    assert lines[-1].startswith("tracks embedded: 2 of 3, ")
    assert lines[-1].endswith(" s left")


@pytest.mark.slow
def test_threads_of_every_library_are_bounded() -> None:
    code = """
import json, threadpoolctl, cv2, torch, numpy
from trainer.threads import limit_threads
limit_threads(1)
pools = [pool["num_threads"] for pool in threadpoolctl.threadpool_info()]
print(json.dumps([cv2.getNumThreads(), torch.get_num_threads(), *pools]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(json.loads(done.stdout)) == {1}
