"""Videos of phones and body cameras are turned upright."""

import struct
from pathlib import Path

import av
import numpy as np
import pytest

from reid_stream.config.settings import Camera, Ingest
from reid_stream.ingest.probe import CameraReport, probe
from reid_stream.ingest.replay import FastReplay


@pytest.fixture(scope="module")
def lying(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip of 320x240 whose left third is bright."""
    path = tmp_path_factory.mktemp("clips") / "lying.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"bf": "0"})
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        image = np.full((240, 320, 3), 20, np.uint8)
        image[:, :107] = 220
        for _ in range(10):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path


def turned(clip: Path, path: Path, degrees: int) -> Path:
    """Note in a clip that it must be turned counterclockwise (the track's matrix, ISO 14496-12, 8.3.2)."""
    data = bytearray(clip.read_bytes())
    matrix = data.index(b"tkhd") + 4 + 40
    cosine, sine = {90: (0, 1), 180: (-1, 0), 270: (0, -1)}[degrees]
    struct.pack_into(
        ">iiiiiiiii", data, matrix, cosine << 16, -sine << 16, 0, sine << 16, cosine << 16, 0, 0, 0, 1 << 30
    )
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
    assert edge.mean() > 180
    assert image.mean() < 120
    report = probe(camera, Ingest())
    assert isinstance(report, CameraReport)
    assert report.size == size
