"""Record perception's output for a set of cameras in one file, so that matching can be replayed in seconds.

    cameras ─▶ ingest ─▶ perceive ─▶ Recording ─▶ file ─▶ Recording ─▶ match ─▶ presence ─▶ events

Decoding and the networks take minutes and give the same result every time; matches change with every setting.
A recording holds exactly the batches that the daemon's matcher would be called with, in their order, the truth beside
them, and the verification head that goes with the vectors, so that it stays whole when the bundle is replaced. `replay`
gives the identity events that the daemon publishes, field by field.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import msgspec
import numpy as np

from reid_stream.assembly.perception import REPLAY_ORIGIN
from reid_stream.assembly.resources import check_files
from reid_stream.bundles.bundle import Calibration, Verifier
from reid_stream.bundles.embedder_info import EmbedderInfo
from reid_stream.config.settings import Camera, Match, Publish, Settings, TopologySettings
from reid_stream.errors import DECODE_ERRORS, ConfigError
from reid_stream.evaluation.align import Boxes
from reid_stream.evaluation.stream import Timeline
from reid_stream.events import Event
from reid_stream.ingest.connection import open_source
from reid_stream.ingest.replay import FastReplay
from reid_stream.match.factory import matcher_for
from reid_stream.match.presence import Presence
from reid_stream.pipeline import Identification, Perception
from reid_stream.records import Box, Perceived
from reid_stream.runtime.networks import Networks, load_networks, make_perception

SCHEMA = 1
EVERY_FRAME = Publish(seen_interval_s=1e-3)
"""`identity.seen` for every frame: truth has boxes in every frame."""

Wire = Callable[[Settings, Networks, str], Perception]
"""Constructs perception; a variant replaces a stage, as by one that returns the truth."""


class RecordedBatch(msgspec.Struct, frozen=True, array_like=True):
    """One call of the matcher."""

    now: float
    """UTC seconds."""
    records: list[Perceived]
    """Records in the order in which perception returned them."""


class TrueBoxes(msgspec.Struct, frozen=True):
    """True boxes of one camera, as parallel lists."""

    frames: list[int]
    """Frame numbers, from 1."""
    people: list[int]
    """Person numbers, shared by all cameras."""
    boxes: list[Box]
    """x1, y1, x2, y2 in pixels."""
    ignored_frames: list[int] = []
    """Frames of the boxes that count neither as found nor as false."""
    ignored: list[Box] = []
    """x1, y1, x2, y2 in pixels."""


class Recording(msgspec.Struct, frozen=True, kw_only=True):
    """Perception's output for a set of cameras, with ground truth if there is any."""

    schema: int = SCHEMA
    name: str
    """Name of the set, for tables."""
    run: str
    """Run of the records."""
    model: str
    """Hash of the embedder's bundle."""
    dim: int
    """Length of the vectors."""
    verifier: Verifier | None
    """Verification head of that bundle."""
    calibration: Calibration | None
    """Calibration of that head; None where the bundle has none."""
    detector: str
    """Hash of the detector's bundle."""
    stages: dict[str, dict[str, object]]
    """Settings of `detect`, `track` and `embed` that it was made with."""
    cameras: dict[str, Timeline]
    """Capture times of each camera's frames."""
    batches: list[RecordedBatch]
    truth: dict[str, TrueBoxes] = {}
    """True boxes by camera; empty without ground truth."""
    used: dict[str, list[int]] = {}
    """Numbers of the frames that were perceived, by camera; empty where that was not recorded."""
    frames: int
    """Number of frames perceived, of all cameras."""
    seconds: float
    """Duration of recording, including decoding."""

    @property
    def embedder(self) -> EmbedderInfo:
        """Properties of the embedder that matching needs."""
        return EmbedderInfo(self.model, self.verifier, self.calibration, self.dim)

    def true_boxes(self) -> dict[str, Boxes]:
        """Return the truth by camera."""
        return {
            camera: Boxes(
                np.asarray(true.frames, dtype=np.int64),
                tuple(true.people),
                np.asarray(true.boxes, dtype=np.float64).reshape(-1, 4),
                np.asarray(true.ignored_frames, dtype=np.int64),
                np.asarray(true.ignored, dtype=np.float64).reshape(-1, 4),
            )
            for camera, true in self.truth.items()
        }


def record(
    settings: Settings,
    truth: Mapping[str, Boxes] | None = None,
    *,
    name: str = "recording",
    run: str = "eval",
    networks: Networks | None = None,
    wire: Wire = make_perception,
) -> Recording:
    """Run perception over file cameras and record its output.

    Args:
        settings: cameras and stages; `match` and `publish` have no effect.
        truth: by camera.
        name: of the set.
        run: of the records.
        networks: loaded networks, to record several sets; None loads those of the settings.
        wire: constructs perception.

    Raises:
        ConfigError: a camera's file is missing.
        ModelError: a bundle is missing or broken.
        StreamError: a camera is no readable file.
    """
    cameras = [camera for camera in settings.cameras if camera.enabled]
    check_files(cameras)
    networks = networks or load_networks(settings)
    first_half = wire(settings, networks, run)
    batches: list[RecordedBatch] = []
    began = time.perf_counter()
    with FastReplay(cameras, settings.ingest, origin=REPLAY_ORIGIN) as frames:
        for batch in frames:
            records = first_half.step(batch)
            if records:  # as in the daemon: batches without records do not reach the matcher
                batches.append(RecordedBatch(max(record.seen_at for record in records), records))
    head = networks.embedder
    return Recording(
        name=name,
        run=run,
        model=head.hash,
        dim=head.dim,
        verifier=head.verifier,
        calibration=head.calibrated,
        detector=networks.detector.hash,
        stages=_stages(settings),
        cameras=timelines(cameras, settings),
        batches=batches,
        truth={camera: kept(boxes) for camera, boxes in (truth or {}).items()},
        frames=first_half.counts.frames,
        seconds=time.perf_counter() - began,
    )


def is_of(recording: Recording, settings: Settings, networks: Networks) -> bool:
    """Return whether recording with these settings would use the same bundles, cameras and stages.

    The version of the code and the content of the video files are not compared.
    """
    return (
        recording.model == networks.embedder.hash
        and recording.detector == networks.detector.hash
        and recording.stages == _stages(settings)
        and list(recording.cameras) == [camera.id for camera in settings.cameras if camera.enabled]
    )


def timelines(cameras: Iterable[Camera], settings: Settings) -> dict[str, Timeline]:
    """Return the capture times of the frames of file cameras in a fast replay.

    Raises:
        StreamError: a camera is no readable file.
    """
    found = {}
    for camera in cameras:
        with open_source(camera, settings.ingest) as source:
            found[camera.id] = Timeline(REPLAY_ORIGIN + camera.start_after_s, source.rate or 25.0)
    return found


def replay(
    recording: Recording,
    match: Match | None = None,
    publish: Publish = EVERY_FRAME,
    *,
    site: str = "site",
    topology: TopologySettings | None = None,
) -> list[Event]:
    """Return the identity events that the daemon would publish for a recording, without camera and daemon events.

    To try another head or none, change the recording: `msgspec.structs.replace(recording, calibration=None)`.
    """
    matcher = matcher_for(
        match or Match(), recording.embedder, site, topology=topology, cameras=list(recording.cameras)
    )
    # A recording holds no pictures that `identity.left` could name.
    presence = Presence(publish.model_copy(update={"snapshots": False}))
    identify = Identification(matcher, presence)
    events = [event for batch in recording.batches for event in identify.step(batch.records, batch.now)]
    return events + presence.close()


def save(recording: Recording, file: Path) -> None:
    """Write a recording as msgpack, whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f"{file.name}.part")
    part.write_bytes(msgspec.msgpack.encode(recording))
    part.replace(file)


def load(file: Path) -> Recording:
    """Read a recording.

    Raises:
        ConfigError: the file is missing or no recording of this schema.
    """
    try:
        recording = msgspec.msgpack.decode(file.read_bytes(), type=Recording)
    except OSError as error:
        raise ConfigError(f"a recording must be a file that can be read, {file}: {error.strerror}") from error
    except DECODE_ERRORS as error:
        raise ConfigError(
            f"a recording must be msgpack of schema {SCHEMA}, {file}: {error}; record it again"
        ) from error
    if recording.schema != SCHEMA:
        raise ConfigError(f"a recording must have schema {SCHEMA}, got {recording.schema} ({file}); record it again")
    return recording


def kept(boxes: Boxes) -> TrueBoxes:
    """Return truth as a recording keeps it."""
    edges, ignored = ([(x1, y1, x2, y2) for x1, y1, x2, y2 in each.tolist()] for each in (boxes.boxes, boxes.ignored))
    return TrueBoxes(
        frames=boxes.frames.tolist(),
        people=[int(str(person)) for person in boxes.people],
        boxes=edges,
        ignored_frames=boxes.ignored_frames.tolist(),
        ignored=ignored,
    )


def _stages(settings: Settings) -> dict[str, dict[str, object]]:
    return {stage: getattr(settings, stage).model_dump(mode="json") for stage in ("detect", "track", "embed")}
