"""Short clips of two cameras that see the same people."""

import os
from pathlib import Path

import av
import pytest

from reid_stream.commands.demo import second_view

SAMPLE = Path(os.environ.get("REID_STREAM_DATA", "")) / "video/vtest.avi"
needs_footage = pytest.mark.skipif(not SAMPLE.is_file(), reason="REID_STREAM_DATA has no video/vtest.avi")


def two_cameras(folder: Path, frames: int) -> tuple[Path, Path]:
    """Write door.mp4 and till.mp4, 10 fps."""
    door, till = folder / "door.mp4", folder / "till.mp4"
    with av.open(str(SAMPLE)) as reader, av.open(str(door), "w") as writer:
        video = reader.streams.video[0]
        assert video.average_rate is not None
        stream = writer.add_stream("libx264", rate=video.average_rate, options={"crf": "23", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = video.width, video.height, "yuv420p"
        for number, frame in enumerate(reader.decode(video)):
            if number == frames:
                break
            picture = frame.reformat(format="yuv420p")
            picture.pts, picture.time_base = number, 1 / video.average_rate
            writer.mux(stream.encode(picture))
        writer.mux(stream.encode())
    second_view(door, till, lambda _text: None)
    return door, till
