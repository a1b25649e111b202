"""MoveNet and BlazePose find a person's parts where they are."""

import os
from pathlib import Path

import numpy as np
import pytest

from trainer.data.crops import assemble
from trainer.data.sets import read
from trainer.errors import DataError
from trainer.model.region_networks import FEET, HEAD, SHINS, TORSO
from trainer.model.regions import build_provider
from trainer.model.tflite_pose import TflitePose

DATA = os.environ.get("REID_STREAM_DATA")
needs_data = pytest.mark.skipif(DATA is None, reason="needs REID_STREAM_DATA")


@pytest.mark.slow
@needs_data
@pytest.mark.parametrize("name", ["lite-model_movenet_singlepose_lightning_tflite_int8_4", "pose_landmark_lite"])
def test_regions_of_people_lie_one_above_the_other(name: str) -> None:
    crops = [crop for _, crop in zip(range(12), read("market1501", Path(str(DATA))), strict=False)]
    images = assemble(crops, 128, 64)
    labels = build_provider("pose", Path(str(DATA)) / "pose" / f"{name}.tflite", threads=1)(images)
    assert labels.shape == (12, 128, 64)
    heights = {region: [np.mean(np.nonzero(one == region)[0]) for one in labels if (one == region).any()]
               for region in (HEAD, TORSO, SHINS, FEET)}  # fmt: skip
    assert all(len(found) >= 6 for found in heights.values())
    middle = [float(np.median(heights[region])) for region in (HEAD, TORSO, SHINS, FEET)]
    assert middle == sorted(middle)
    assert middle[0] < 35 < middle[1] < 64 < middle[2] < middle[3]


def test_what_is_no_pose_network_is_refused(tmp_path: Path) -> None:
    (tmp_path / "broken.tflite").write_bytes(b"TFL3 no network")
    with pytest.raises(DataError, match="must be a TensorFlow Lite network, .*broken.tflite"):
        build_provider("pose", tmp_path / "broken.tflite")
    with pytest.raises(DataError, match="of a parser must be ONNX"):
        build_provider("parser", tmp_path / "broken.tflite")


@needs_data
def test_another_tflite_network_is_refused() -> None:
    with pytest.raises(DataError, match=r"data.regions must be .*selfie_segmentation"):
        build_provider("pose", Path(str(DATA)) / "pose" / "selfie_segmentation.tflite")


@pytest.mark.slow
@needs_data
def test_keypoints_are_kept_by_content_and_a_broken_file_is_made_again(tmp_path: Path) -> None:
    crops = [crop for _, crop in zip(range(4), read("market1501", Path(str(DATA))), strict=False)]
    images = assemble(crops, 128, 64)
    model = Path(str(DATA)) / "pose" / "lite-model_movenet_singlepose_lightning_tflite_int8_4.tflite"
    provider = TflitePose(model, threads=1, cache=tmp_path)
    first = provider(images)
    (file,) = tmp_path.rglob("*.npy")
    kept = np.load(file)
    assert kept.shape == (4, 17, 3)
    assert kept.dtype == np.float16
    np.save(file, np.zeros_like(kept))  # shows that the network is not asked again
    assert not TflitePose(model, threads=1, cache=tmp_path)(images).any()
    file.write_bytes(file.read_bytes()[:100])
    assert (TflitePose(model, threads=1, cache=tmp_path)(images) == first).all()
    assert len(list(tmp_path.rglob("*.npy"))) == 1
