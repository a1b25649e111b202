"""File cameras with ground truth: check that they belong together, select the frames that can be scored."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec
import numpy as np

from reid_stream import boxes as box_maths
from reid_stream.assembly.resources import check_files
from reid_stream.config.settings import Camera, Settings
from reid_stream.detect.followed import Followed
from reid_stream.detect.zones import Zones
from reid_stream.errors import ConfigError
from reid_stream.evaluation.align import Boxes
from reid_stream.evaluation.recording import Recording, Wire, kept, record, timelines
from reid_stream.evaluation.stream import Timeline
from reid_stream.evaluation.truth import check_cameras, read_truth
from reid_stream.ingest.url import address
from reid_stream.pipeline import Perception
from reid_stream.records import CameraId, Frame
from reid_stream.runtime.networks import Networks, make_perception


@dataclass(slots=True)
class UsedFrames:
    """Frames that went through perception; with `max_fps` below the video's rate, only these are scored."""

    cameras: Mapping[str, Timeline]
    frames: dict[str, list[int]] = field(default_factory=dict)

    def note(self, frames: Sequence[Frame]) -> None:
        """Record frames as used."""
        for frame in frames:
            number = self.cameras[frame.camera].frame(frame.captured_at)
            self.frames.setdefault(frame.camera, []).append(number)

    def only(self, truth: Mapping[str, Boxes]) -> dict[str, Boxes]:
        """Return the truth of the frames that were used.

        Raises:
            ConfigError: it continues after the end of the video.
        """
        for camera, boxes in truth.items():
            numbers = np.asarray(sorted(self.frames.get(camera, [])), dtype=np.int64)
            step = int(np.diff(numbers).max(initial=1))
            if len(boxes) and len(numbers) and boxes.frames.max() >= numbers[-1] + step:
                raise ConfigError(
                    f"truth must end with the video, the last frame of camera {camera} is {numbers[-1]}, got frame"
                    f" {boxes.frames.max()}; is it of another video or frame rate?"
                )
        return {
            camera: boxes.only(np.asarray(self.frames.get(camera, []), dtype=np.int64))
            for camera, boxes in truth.items()
        }


def recorded(
    settings: Settings,
    truth: Mapping[str, Boxes],
    *,
    name: str = "recording",
    networks: Networks | None = None,
    wire: Wire = make_perception,
) -> Recording:
    """Record file cameras with the truth of the frames that were used.

    Raises:
        ConfigError: a camera's file is missing, or its truth continues after its end.
        ModelError, StreamError: see `record`.
    """
    cameras = [camera for camera in settings.cameras if camera.enabled]
    check_files(cameras)
    used = UsedFrames(timelines(cameras, settings))

    def noting(settings: Settings, networks: Networks, run: str) -> Perception:
        first_half = wire(settings, networks, run)
        gate = first_half.gate

        def noting_gate(frames: Sequence[Frame], followed: Mapping[CameraId, Followed]) -> list[Frame | None]:
            used.note(frames)
            return list(frames) if gate is None else gate(frames, followed)

        first_half.gate = noting_gate
        return first_half

    made = record(settings, truth, name=name, networks=networks, wire=noting)
    return with_truth(msgspec.structs.replace(made, used=used.frames), truth)


def with_truth(recording: Recording, truth: Mapping[str, Boxes]) -> Recording:
    """Return a recording with the truth of the frames that it used.

    Raises:
        ConfigError: the truth continues after the end of the recording.
    """
    boxes = UsedFrames(recording.cameras, recording.used).only(truth) if recording.used else truth
    return msgspec.structs.replace(recording, truth={camera: kept(each) for camera, each in boxes.items()})


def truth_for(settings: Settings, truth: Mapping[str, Path]) -> dict[str, Boxes]:
    """Read the truth of file cameras, scaled to `resize` and without people outside of their zones.

    Raises:
        ConfigError: a camera loops, has no truth, or a truth file cannot be one.
        StreamError: a camera is no readable file.
    """
    cameras = [camera for camera in settings.cameras if camera.enabled]
    if looping := [camera.id for camera in cameras if camera.loop]:
        raise ConfigError(f"footage with truth must end, got loop: true for {', '.join(looping)}")
    check_cameras(list(truth), [camera.id for camera in cameras])
    announced = {camera.id: _announced(camera) for camera in cameras}
    true = read_truth(truth, {camera: about.frames for camera, about in announced.items() if about and about.frames})
    return {camera.id: _as_seen(true[camera.id], camera, announced[camera.id]) for camera in cameras}


@dataclass(frozen=True, slots=True)
class _Announced:
    """Properties stated by a video file."""

    frames: int | None
    """Number of frames; None where the format does not state it."""
    size: tuple[int, int]
    """(width, height) in pixels."""


def _announced(camera: Camera) -> _Announced | None:
    """Return the properties of a camera's file; None if it cannot be opened, which the replay reports."""
    import av

    where = address(camera)
    try:
        with av.open(where.secret) as container:
            video = container.streams.video[0]
            return _Announced(video.frames or None, (video.codec_context.width, video.codec_context.height))
    except (av.FFmpegError, OSError, IndexError):
        return None


def _as_seen(boxes: Boxes, camera: Camera, about: _Announced | None) -> Boxes:
    """Scale truth to the camera's size, and drop boxes outside of its region or inside its masks."""
    if about is None:
        return boxes
    size = camera.resize or about.size
    scale = np.tile(np.asarray(size) / np.asarray(about.size), 2)
    scaled = replace(boxes, boxes=boxes.boxes * scale, ignored=boxes.ignored * scale)
    if not len(scaled):
        return scaled
    inside = box_maths.clip(scaled.boxes.astype(np.float32), size)
    return scaled.at(Zones(camera.region, camera.ignore).keep(inside, size))
