"""Videos of phones and body cameras are turned upright."""

import gc
import struct
from pathlib import Path

import av
import numpy as np
import pytest

from reid_stream.config.settings import Camera, Ingest
from reid_stream.ingest.convert import DecodedImage, Orientation
from reid_stream.ingest.probe import CameraReport, probe
from reid_stream.ingest.replay import FastReplay


@pytest.fixture(scope="module")
def lying(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip of 320x240 whose left third is bright, a little less at its top."""
    path = tmp_path_factory.mktemp("clips") / "lying.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"bf": "0"})
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        image = np.full((240, 320, 3), 20, np.uint8)
        image[:, :107] = 220
        image[:80, :107] = 140
        for _ in range(10):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path


def turned(clip: Path, path: Path, degrees: int) -> Path:
    """Note in a clip that it must be turned counterclockwise."""
    cosine, sine = {90: (0, 1), 180: (-1, 0), 270: (0, -1)}[degrees]
    return with_matrix(clip, path, (cosine, -sine, sine, cosine))


def with_matrix(clip: Path, path: Path, terms: tuple[int, int, int, int]) -> Path:
    """Put the terms a, b, c, d into a clip (the track's matrix, ISO 14496-12, 8.3.2)."""
    data = bytearray(clip.read_bytes())
    matrix = data.index(b"tkhd") + 4 + 40
    a, b, c, d = (term << 16 for term in terms)
    struct.pack_into(">iiiiiiiii", data, matrix, a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(("degrees", "size"), [(90, (240, 320)), (270, (240, 320)), (180, (320, 240))])
@pytest.mark.parametrize("resize", [None, (96, 128)])
def test_frames_are_upright(
    lying: Path, tmp_path: Path, degrees: int, size: tuple[int, int], resize: tuple[int, int] | None
) -> None:
    path = turned(lying, tmp_path / "turned.mp4", degrees)
    camera = Camera.model_validate({"id": "a", "url": str(path), "max_fps": None, "resize": resize})
    with FastReplay([camera], Ingest(), origin=0.0) as replay:
        (frame,) = next(iter(replay))
    assert frame.size == (resize or size)
    image = np.asarray(frame.pixels).astype(float)
    # Turned counterclockwise, the left side goes to the bottom.
    edge = {90: image[-20:], 270: image[:20], 180: image[:, -20:]}[degrees]
    assert edge.mean() > 170
    assert image.mean() < 120
    report = probe(camera, Ingest())
    assert isinstance(report, CameraReport)
    assert report.size == size


@pytest.mark.parametrize(
    ("terms", "corner"),
    [
        ((-1, 0, 0, 1), "top right"),
        ((1, 0, 0, -1), "bottom left"),
        ((0, 1, 1, 0), "top left"),
        ((0, -1, -1, 0), "bottom right"),
    ],
)
def test_mirrored_frames_are_mirrored_back(lying: Path, tmp_path: Path, terms: tuple[int, ...], corner: str) -> None:
    path = with_matrix(lying, tmp_path / "mirrored.mp4", terms)  # type: ignore[arg-type]
    camera = Camera.model_validate({"id": "a", "url": str(path), "max_fps": None})
    with FastReplay([camera], Ingest(), origin=0.0) as replay:
        (frame,) = next(iter(replay))
    assert frame.size == ((320, 240) if terms[0] else (240, 320))
    image = np.asarray(frame.pixels)
    corners = {
        "top left": image[:20, :20],
        "top right": image[:20, -20:],
        "bottom left": image[-20:, :20],
        "bottom right": image[-20:, -20:],
    }
    assert min(corners, key=lambda name: abs(float(corners[name].mean()) - 140)) == corner


def pictures_alive() -> int:
    return sum(type(one) is av.VideoFrame for one in gc.get_objects())


def test_reading_the_orientation_keeps_no_image_in_memory(lying: Path) -> None:
    clip = turned(lying, lying.with_name("kept.mp4"), 90)
    gc.collect()
    gc.disable()
    try:
        before = pictures_alive()
        with av.open(str(clip)) as container:
            found = [DecodedImage.read(picture).orientation for picture in container.decode(video=0)]
        assert pictures_alive() == before
    finally:
        gc.enable()
    assert set(found) == {Orientation(1)}
