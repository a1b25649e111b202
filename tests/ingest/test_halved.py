"""Images that are scaled down anyway are decoded at a smaller size where the codec can."""

from pathlib import Path
from typing import cast

import av
import numpy as np
import pytest
from av.video.stream import VideoStream

from reid_stream.config.settings import Camera, Ingest
from reid_stream.images import UInt8, host
from reid_stream.ingest.connection import open_source
from reid_stream.ingest.convert import Converter, DecodedImage
from reid_stream.ingest.rate_limit import KeyframePolicy

SIZE = (640, 480)


def clip(path: Path, codec: str, pixels: str) -> Path:
    smooth = np.random.default_rng(1).integers(0, 255, (6, 8, 3), np.uint8)
    image = np.kron(smooth, np.ones((80, 80, 1), np.uint8))
    with av.open(str(path), "w") as container:
        stream = cast("VideoStream", container.add_stream(codec, rate=10))
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = *SIZE, pixels, 4_000_000
        for n in range(12):
            frame = av.VideoFrame.from_ndarray(np.roll(image, 4 * n, axis=1), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def decoded(path: Path, resize: tuple[int, int] | None) -> list[tuple[tuple[int, int], UInt8]]:
    camera = Camera.model_validate({"id": "a", "url": str(path), "resize": resize})
    convert = Converter(resize)
    with open_source(camera, Ingest()) as source:
        return [
            ((picture.width, picture.height), host(convert(DecodedImage.read(picture))))
            for packet in source.read(KeyframePolicy(None).wants)
            for picture in packet.frames
        ]


@pytest.mark.parametrize(
    ("resize", "size"),
    [(None, SIZE), ((600, 450), SIZE), ((320, 240), (320, 240)), ((320, 200), (320, 240)), ((100, 100), (160, 120))],
)
@pytest.mark.parametrize(("codec", "pixels"), [("mjpeg", "yuvj420p"), ("mpeg4", "yuv420p")])
def test_the_decoder_halves_down_to_the_size_that_is_wanted(
    tmp_path: Path, codec: str, pixels: str, resize: tuple[int, int] | None, size: tuple[int, int]
) -> None:
    found = decoded(clip(tmp_path / "a.avi", codec, pixels), resize)
    assert len(found) == 12
    assert {one for one, _ in found} == {size}


@pytest.mark.parametrize(("codec", "pixels"), [("mjpeg", "yuvj420p"), ("mpeg4", "yuv420p"), ("libx264", "yuv420p")])
def test_a_halved_image_is_that_of_a_whole_one(tmp_path: Path, codec: str, pixels: str) -> None:
    path = clip(tmp_path / "a.mp4", codec, pixels) if codec == "libx264" else clip(tmp_path / "a.avi", codec, pixels)
    halved, whole = decoded(path, (320, 240)), decoded(path, (321, 241))
    for (_, small), (_, large) in zip(halved, whole, strict=True):
        near = large[:240, :320].astype(int)
        # Edges of the pattern lie a part of a pixel apart.
        assert np.median(np.abs(small.astype(int) - near)) <= 4
