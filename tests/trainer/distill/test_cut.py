"""Crops of people, cut out of videos and pictures by a detector."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from reid_stream.bundles import catalog
from trainer.distill.answers import read_unlabelled
from trainer.distill.cut import cut_people
from trainer.errors import DataError

DETECTOR = catalog.detector("default")[0]
DATA = os.environ.get("REID_STREAM_DATA")


@pytest.mark.skipif(DATA is None, reason="needs $REID_STREAM_DATA with video/")
def test_a_street_video_gives_crops_of_its_people_that_a_student_can_learn_on(tmp_path: Path) -> None:
    video = Path(str(DATA)) / "video" / "vtest.avi"

    counts = cut_people([video], tmp_path, DETECTOR, every=200, score=0.4, min_height=60)

    assert counts[video] >= 8
    crops = read_unlabelled(tmp_path, 128, 64)
    assert crops.shape == (counts[video], 128, 64, 3)
    assert float(crops.std()) > 20


def test_two_sources_of_one_name_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="door is there twice"):
        cut_people([tmp_path / "a" / "door.mp4", tmp_path / "b" / "door.mp4"], tmp_path / "out", DETECTOR, 1, 0.4, 60)
    assert not (tmp_path / "out").exists()


def test_an_image_without_people_gives_no_crops_and_a_folder_without_images_is_an_error(tmp_path: Path) -> None:
    empty = tmp_path / "wall.png"
    cv2.imwrite(str(empty), np.full((480, 640, 3), 120, np.uint8))

    assert cut_people([empty], tmp_path / "out", DETECTOR, 1, 0.4, 60) == {empty: 0}
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match="must hold images"):
        cut_people([tmp_path / "none"], tmp_path / "out", DETECTOR, 1, 0.4, 60)
