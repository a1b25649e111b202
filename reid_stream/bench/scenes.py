"""Compose footage of a given traffic from a clip: stretches with its people, and empty stretches of the same camera.

    crowded   the clip's people all the time
    ordinary  a tenth of the time, each camera at another time
    quiet     never

An empty stretch is the clip's background, the median of its images over time, with as much noise as the clip has.
Both stretches are encoded once; variants are joined from their packets, without encoding again.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import av
import numpy as np

from reid_stream.errors import ReidStreamError
from reid_stream.images import UInt8

Scene = Literal["quiet", "ordinary", "crowded"]

BLOCKS = 10
"""Stretches of a composed video, which is played in a loop; one of them has people in an ordinary scene."""
_SAMPLES = 40
"""Images that the background is the median of."""
_NOISES = 8
"""Noise images, used in turn."""
_GOP_S = 2


def compose(clip: Path, scene: Scene, folder: Path, *, fps: int = 10, block_s: float = 6.0) -> list[Path]:
    """Write the variants of a scene, to be used by one camera after another.

    Args:
        clip: video with people.
        scene: traffic.
        folder: for the videos.
        fps: frames per second of the videos; the clip's images are taken at that rate.
        block_s: seconds of one stretch.

    Raises:
        ReidStreamError: the clip is no video.
    """
    try:
        people = list(images_of(clip, fps, round(block_s * fps)))
        empty = empty_images(clip, people, round(block_s * fps))
    except av.FFmpegError as error:
        raise ReidStreamError(f"{clip} must be a video: {error}") from error
    if not people:
        raise ReidStreamError(f"{clip} must be a video, it has no image")
    folder.mkdir(parents=True, exist_ok=True)
    with_people = _encode(folder / f"{clip.stem}-people.mp4", people, fps)
    without = _encode(folder / f"{clip.stem}-empty.mp4", empty, fps)
    if scene == "crowded":
        return [with_people]
    if scene == "quiet":
        return [without]
    return [
        _join(folder / f"{clip.stem}-{at}.mp4", [with_people if n == at else without for n in range(BLOCKS)])
        for at in range(BLOCKS)
    ]


def images_of(clip: Path, fps: float, count: int) -> Iterator[UInt8]:
    """Yield up to `count` RGB images of a clip at `fps`."""
    with av.open(str(clip)) as container:
        stream = container.streams.video[0]
        due_s = 0.0
        for frame in container.decode(stream):
            if count and (frame.time or 0.0) >= due_s - 1e-6:
                due_s += 1.0 / fps
                count -= 1
                yield np.asarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8)
            if not count:
                return


def empty_images(clip: Path, people: Sequence[UInt8], count: int) -> Iterator[UInt8]:
    """Yield `count` RGB images of a clip's background with its noise; `people`: successive images of the clip."""
    samples = list(images_of(clip, 1.0, _SAMPLES))
    if len(samples) < _SAMPLES // 4:  # a short clip
        samples = list(people)
    background = np.median(np.stack(samples), axis=0).astype(np.float32)
    step = np.abs(people[1].astype(np.float32) - people[0]) if len(people) > 1 else np.zeros_like(background)
    # The median of a normal difference is 0.674 sigma of it, which is sqrt(2) that of an image.
    sigma = float(np.median(step)) / 0.674 / np.sqrt(2)
    random = np.random.default_rng(1)
    noises = [random.normal(0, sigma, background.shape).astype(np.float32) for _ in range(_NOISES)]
    for number in range(count):
        yield np.clip(background + noises[number % _NOISES], 0, 255).astype(np.uint8)


def _encode(path: Path, images: Sequence[UInt8] | Iterator[UInt8], fps: int) -> Path:
    with av.open(str(path), "w") as container:
        options = {"bf": "0", "preset": "veryfast", "crf": "20", "g": str(_GOP_S * fps)}
        stream = container.add_stream("libx264", rate=fps, options=options)
        stream.pix_fmt = "yuv420p"
        for number, image in enumerate(images):
            height, width = image.shape[0] // 2 * 2, image.shape[1] // 2 * 2
            if not number:
                stream.height, stream.width = height, width
            even = np.ascontiguousarray(image[:height, :width])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(even, format="rgb24")))
        container.mux(stream.encode())
    return path


def _join(path: Path, parts: Sequence[Path]) -> Path:
    """Write the packets of videos one after another."""
    with av.open(str(path), "w") as joined:
        out = None
        begin = 0
        for part in parts:
            with av.open(str(part)) as container:
                stream = container.streams.video[0]
                out = out or joined.add_stream_from_template(stream)
                for packet in container.demux(stream):
                    if packet.dts is None or packet.pts is None:  # the end
                        continue
                    packet.dts, packet.pts = packet.dts + begin, packet.pts + begin
                    packet.stream = out
                    joined.mux(packet)
                begin += stream.duration or 0
    return path
