"""Annotated videos of file cameras: replay once to get the final identities, then decode again and draw.

    files ─▶ follow ─▶ IdentityLog          files, every frame ─▶ IdentityLog.at ─▶ draw ─▶ OUT/<camera>.mp4

Drawing comes after the last correction, so that a person has one ID from the first frame to the last. The detector sees
`max_fps` frames per second; the boxes of the frames between are interpolated.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from reid_stream.annotate.identity_log import IdentityLog
from reid_stream.config.settings import Camera, Settings
from reid_stream.errors import ConfigError
from reid_stream.records import CameraId, GlobalId

if TYPE_CHECKING:
    from reid_stream.ingest.stream import VideoSource

Report = Callable[[str, float, float], None]
"""Called with the name of the step, and the seconds of footage done and in total."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """One annotated video."""

    camera: CameraId
    path: Path
    frames: int


def annotate(
    settings: Settings,
    out: Path,
    *,
    labels: Mapping[GlobalId, str] | None = None,
    trail_s: float = 3.0,
    report: Report = lambda _what, _done, _of: None,
) -> tuple[list[Rendered], IdentityLog]:
    """Follow people across file cameras and write one annotated video per camera.

    Args:
        settings: of cams.yaml; its enabled cameras must be files.
        out: folder of the videos.
        labels: names of people by global ID.
        trail_s: length of the trails, seconds; 0 for none.
        report: of progress.

    Raises:
        ConfigError: a camera is no file, or `out` holds the file of a camera under the name of its video.
        ModelError, StreamError: see `follow`.
    """
    from reid_stream.annotate.follow import follow_site

    settings = file_settings(settings, out)
    cameras = [camera for camera in settings.cameras if camera.enabled]
    whole = sum(durations(settings).values())
    log = IdentityLog(labels)
    begins: dict[str, float] = {}
    done: dict[str, float] = {}
    for moment in follow_site(settings, listeners=[log.note]):
        begins.setdefault(moment.camera, moment.at)
        done[moment.camera] = moment.at - begins[moment.camera]
        report("following", sum(done.values()), whole)
    return render(settings, cameras, log, out, trail_s=trail_s, report=report), log


def render(
    settings: Settings,
    cameras: Sequence[Camera],
    log: IdentityLog,
    out: Path,
    *,
    trail_s: float = 3.0,
    report: Report = lambda _what, _done, _of: None,
) -> list[Rendered]:
    """Decode file cameras again and write each with the people of `log`, which was made in a fast replay of them."""
    from reid_stream.annotate.drawing import Annotator
    from reid_stream.annotate.video_file import VideoFile
    from reid_stream.assembly.perception import REPLAY_ORIGIN
    from reid_stream.ingest.replay import FastReplay
    from reid_stream.ingest.stream import DEFAULT_FPS

    lasts = durations(settings)
    before = 0.0
    rendered = []
    for camera in cameras:
        every = camera.model_copy(update={"max_fps": None, "loop": False})
        rate = _rate(every, settings) or DEFAULT_FPS
        origin, annotator, first = REPLAY_ORIGIN, None, None
        path = video_path(out, camera)
        with VideoFile(path, rate) as video, FastReplay([every], settings.ingest, origin=origin) as replay:
            for batch in replay:
                for frame in batch:
                    if annotator is None or first is None:
                        annotator, first = Annotator(frame.size, rate, trail_s), frame.captured_at
                    image = frame.pixels[..., ::-1].copy()
                    people = log.at(frame.camera, frame.captured_at)
                    caption = f"{camera.id}  {_clock(frame.captured_at - origin)}"
                    video.add(annotator.draw(image, people, caption), frame.captured_at - first)
                    report("drawing", before + frame.captured_at - first, sum(lasts.values()))
        before += lasts[camera.id]
        rendered.append(Rendered(CameraId(camera.id), path, video.frames))
    return rendered


def file_settings(settings: Settings, out: Path) -> Settings:
    """Return settings whose cameras are files that are read once.

    Raises:
        ConfigError: see `annotate`.
    """
    from reid_stream.ingest.url import address

    live = [camera.id for camera in settings.cameras if camera.enabled and not address(camera).is_local]
    if live:
        raise ConfigError(
            f"annotated videos are made of video files, {', '.join(live)} is a live camera; record it first, e.g. "
            "ffmpeg -i URL -c copy -t 60 door.mp4"
        )
    for camera in settings.cameras:
        target = video_path(out, camera)
        if camera.enabled and target.exists() and target.samefile(address(camera).secret):
            raise ConfigError(f"--out must be another folder than that of the videos, {target} would be overwritten")
    cameras = tuple(camera.model_copy(update={"loop": False}) for camera in settings.cameras)
    return settings.model_copy(update={"cameras": cameras})


def video_path(out: Path, camera: Camera) -> Path:
    """Return where the annotated video of a camera is written."""
    return out / f"{camera.id}.mp4"


def durations(settings: Settings) -> dict[str, float]:
    """Return the duration of each enabled file camera, seconds; 0 where the file states none.

    Raises:
        StreamError: a camera is no readable file.
    """
    from reid_stream.ingest.connection import open_source

    found = {}
    for camera in settings.cameras:
        if camera.enabled:
            with open_source(camera, settings.ingest) as source:
                found[camera.id] = _duration(source)
    return found


def _duration(source: "VideoSource") -> float:
    return (source.container.duration or 0) / 1e6


def _rate(camera: Camera, settings: Settings) -> float | None:
    from reid_stream.ingest.connection import open_source

    with open_source(camera, settings.ingest) as source:
        return source.rate


def _clock(seconds: float) -> str:
    return f"{int(seconds // 3600):d}:{int(seconds // 60 % 60):02d}:{seconds % 60:04.1f}"
