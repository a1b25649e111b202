"""Images taken over from the GPU decoder equal FFmpeg's own conversion to RGB."""

import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from av.video.frame import VideoFrame

from reid_stream.config.settings import Camera, Ingest, Settings
from reid_stream.engines.nvdec import NvdecConverter, to_rgb
from reid_stream.errors import ModelError
from reid_stream.images import OnDevice
from reid_stream.ingest.camera_set import CameraSet
from reid_stream.ingest.changes import CameraChange
from reid_stream.ingest.convert import Converter, DecodedImage
from reid_stream.ingest.hardware import hardware
from reid_stream.ingest.replay import FastReplay
from reid_stream.ingest.stats import CameraStats
from reid_stream.records import CameraId
from reid_stream.runtime.networks import take_over as taking_over
from tests.integration.rtsp import draw_clip

take_over = NvdecConverter()
_ACCURATE = 2 | 0x40000 | 0x2000 | 0x80000
"""swscale's flags: bilinear, accurate rounding, chroma at full width, the same on every CPU."""


def _picture(width: int = 96, height: int = 64, colour: float = 10) -> VideoFrame:
    noise = np.random.default_rng(3).integers(0, 256, (height, width, 3), dtype=np.uint8)
    soft = cv2.GaussianBlur(noise.astype(np.float32), (0, 0), 4)
    return VideoFrame.from_ndarray(np.clip((soft - 127) * colour + 127, 0, 255).astype(np.uint8), "rgb24")


@pytest.mark.parametrize(("space", "coloured"), [(2, 5), (1, 1), (5, 5), (9, 9)], ids=["unsaid", "709", "601", "2020"])
@pytest.mark.parametrize("span", [1, 2], ids=["limited", "full"])
def test_rgb_is_that_of_ffmpeg_when_it_takes_its_time(space: int, coloured: int, span: int) -> None:
    picture = _picture().reformat(format="nv12", dst_colorspace=coloured, dst_color_range=span)
    picture.colorspace, picture.color_range = space, span
    got, expected = take_over(picture, None).host(), picture.reformat(format="rgb24", interpolation=_ACCURATE)
    assert np.abs(got.astype(int) - expected.to_ndarray()).mean() < 0.3


@pytest.mark.parametrize(("space", "coloured"), [(2, 5), (1, 1)], ids=["unsaid", "709"])
@pytest.mark.parametrize("span", [1, 2], ids=["limited", "full"])
@pytest.mark.parametrize("size", [None, (48, 32)])
def test_rgb_is_near_that_of_images_in_main_memory(
    space: int, coloured: int, span: int, size: tuple[int, int] | None
) -> None:
    picture = _picture(colour=4).reformat(format="nv12", dst_colorspace=coloured, dst_color_range=span)
    picture.colorspace, picture.color_range = space, span
    converted = np.asarray(Converter(size)(DecodedImage.read(picture)))
    got, expected = (one.astype(int) for one in (take_over(picture, size).host(), converted))
    assert got.shape == expected.shape == ((32, 48, 3) if size else (64, 96, 3))
    assert np.abs(got - expected).mean() < 4
    assert abs((got - expected).mean()) < 2.2


def test_known_colours() -> None:
    """White, black and the primaries of BT.709 in limited range (BT.709-6, section 3.5)."""
    luma = torch.tensor([[235, 16], [63, 173], [32, 126]], dtype=torch.uint8)
    chroma = torch.tensor([[128, 128], [128, 128], [102, 240], [42, 26], [240, 118], [128, 128]], dtype=torch.uint8)
    shown = [
        to_rgb(luma.reshape(-1)[n].reshape(1, 1), chroma[n].reshape(1, 1, 2), 1, is_full=False).reshape(3).tolist()
        for n in range(5)
    ]
    wanted = [[255, 255, 255], [0, 0, 0], [255, 0, 0], [0, 255, 0], [0, 0, 255]]
    np.testing.assert_allclose(shown, wanted, atol=1.6)  # the code values are rounded


def test_ten_bits_are_eight_with_more_behind_the_point() -> None:
    picture = _picture().reformat(format="nv12")
    deep = picture.reformat(format="p010le")
    assert np.abs(take_over(picture, None).host().astype(int) - take_over(deep, None).host()).max() <= 1


def test_an_image_of_odd_size_is_whole() -> None:
    """FFmpeg reports whole chroma samples only: 3 by 2 of an image 7 by 5."""
    picture = VideoFrame(7, 5, "nv12")
    for plane, value in zip(picture.planes, (235, 128), strict=True):
        plane.update(bytes([value]) * plane.buffer_size)
    assert take_over(picture, None).shape == (5, 7, 3)
    assert np.all(take_over(picture, None).host() == 255)


def test_another_kind_of_image_is_refused() -> None:
    with pytest.raises(ModelError, match="must be nv12, p010le or p016le, got yuv420p; set ingest.gpu_frames off"):
        take_over(_picture().reformat(format="yuv420p"), None)


def test_images_stay_only_where_an_nvidia_gpu_decodes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reid_stream.ingest.hardware._device", lambda: "cuda")
    kept, sent = hardware(take_over), hardware()
    assert kept is not None
    assert sent is not None
    assert (kept.is_hw_owned, sent.is_hw_owned) == (True, False)
    assert kept.options == {"primary_ctx": "0", "current_ctx": "1"}
    monkeypatch.setattr("reid_stream.ingest.hardware._device", lambda: "vaapi")
    monkeypatch.setattr("av.codec.hwaccel.HWAccel", lambda **given: given)
    asked: object = hardware(take_over)
    assert asked == {"device_type": "vaapi", "allow_software_fallback": True}


def test_without_a_gpu_images_come_the_other_way_and_that_is_counted(tmp_path: Path) -> None:
    clip = draw_clip(tmp_path / "a.mp4", seconds=1, fps=10)
    ingest = Ingest(gpu_frames=True, hardware_decode=True, isolate=False)
    camera = Camera.model_validate({"id": "a", "url": str(clip), "max_fps": None})
    stays = taking_over(Settings(cameras=(camera,), ingest=ingest))
    assert isinstance(stays, NvdecConverter)
    with FastReplay([camera], ingest, origin=0.0, take_over=stays) as replay:
        pictures = [frame.image for batch in replay for frame in batch]
        (stats,) = replay.stats.values()
    assert len(pictures) > 1
    assert stats.hardware == any(isinstance(picture, OnDevice) for picture in pictures)
    assert stats.hardware_fallbacks == (not stats.hardware)


def test_nothing_is_taken_over_unasked() -> None:
    assert taking_over(Settings(cameras=(Camera.model_validate({"id": "a", "url": "a.mp4"}),))) is None


def test_a_decoder_that_gives_up_the_gpu_is_counted_once() -> None:
    stats, convert = CameraStats(CameraId("a"), "a", hardware=True), Converter(None, take_over)
    for _ in range(2):
        convert(DecodedImage.read(_picture()))
        assert convert.fell_back
        stats.fall_back()
    assert (stats.hardware, stats.hardware_fallbacks) == (False, 1)


@pytest.mark.slow
def test_an_image_that_cannot_be_taken_over_is_reported_in_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise ModelError("a picture on the GPU must be nv12, got yuv444p; set ingest.gpu_frames off")

    monkeypatch.setattr(Converter, "__call__", refuse)
    clip = draw_clip(tmp_path / "a.mp4", seconds=1, fps=10)
    camera = Camera.model_validate({"id": "a", "url": str(clip)})
    changes: list[CameraChange] = []
    with FastReplay([camera], Ingest(), origin=0.0, on_change=changes.append) as replay:
        assert list(replay) == []
    live = CameraSet([camera], Ingest(isolate=False), changes.append)
    live.start()
    live.take_frames(2.0)
    until = time.monotonic() + 10
    while not live.stats[CameraId("a")].reason and time.monotonic() < until:
        time.sleep(0.05)
    live.stop()
    assert "set ingest.gpu_frames off" in changes[0].reason  # type: ignore[union-attr]
    assert live.stats[CameraId("a")].failures["unreadable"] >= 1
