"""The motion gate on footage as bad cameras and bad weather make it: what it skips, costs and loses beside `gate: off`.

Of each camera: an empty stretch, the clip's first images with its people, and another empty stretch, filtered. The
gate's own cost is that of finding motion, as a share of everything else that is done for a frame, so that it holds
on a machine that does other things, too.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import av
import msgspec
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.accuracy import disturbances, savings
from benchmarks.accuracy.sets import FootageSet
from reid_stream.bench.scenes import empty_images, images_of
from reid_stream.config.settings import Models
from reid_stream.evaluation.align import Boxes
from reid_stream.images import UInt8
from reid_stream.ingest.convert import DecodedImage
from reid_stream.ingest.motion import PictureMotion
from reid_stream.runtime.networks import Networks

ALLOWED_LOSS = 0.005
"""Largest loss of HOTA and IDF1."""
ALLOWED_COST = 0.03
"""Largest cost as a share of the CPU time without a gate."""


class GateRow(msgspec.Struct, frozen=True, kw_only=True):
    """One set under one disturbance, without and with the gate."""

    name: str
    disturbance: str
    off: savings.SavingRow
    gate: savings.SavingRow
    motion_ms: float
    """CPU time for finding motion in a frame."""

    @property
    def loss(self) -> float:
        """Largest loss of HOTA or IDF1, of people or tracks."""
        names = ("hota", "idf1", "single_hota", "single_idf1")
        return max(float(getattr(self.off, name) - getattr(self.gate, name)) for name in names)

    @property
    def cost(self) -> float:
        """CPU time with the gate, less that without, as a share of it: what is looked at costs the same."""
        return self.gate.looked + self.motion_ms / (self.off.cpu_ms - self.motion_ms) - 1


def measure(
    footage: FootageSet, models: Models, networks: Networks, names: Sequence[str], frames: int, folder: Path
) -> Iterator[GateRow]:
    """Yield a row for each disturbance.

    Args:
        footage: cameras and truth.
        models: as in cams.yaml.
        networks: of these models.
        names: of disturbances.
        frames: with people, of each camera; as many without.
        folder: for the videos.
    """
    truth = footage.truth()
    clips = {camera: _stretches(video, frames) for camera, video in footage.videos.items()}
    before = frames // 2
    shifted = {
        camera: Boxes(kept.frames + before, kept.people, kept.boxes, kept.ignored_frames + before, kept.ignored)
        for camera, boxes in truth.items()
        for kept in [boxes.only(np.arange(1, frames + 1))]
    }
    for name in names:
        disturbance = disturbances.DISTURBANCES[name]
        videos = {camera: folder / f"{footage.name.replace('/', '-')}-{camera}-{name}.mp4" for camera in clips}
        moved = {
            camera: disturbances.write(images, shifted[camera], disturbance, videos[camera], rate)
            for camera, (images, rate) in clips.items()
        }
        filtered = FootageSet(footage.name, videos, {})
        off, gate = savings.measure(footage.name, filtered.settings(models), moved, networks, ["off", "gate"])
        yield GateRow(
            name=footage.name, disturbance=name, off=off, gate=gate, motion_ms=_motion_ms(list(videos.values()))
        )


def _stretches(video: Path, frames: int) -> tuple[list[UInt8], Fraction]:
    """Return images of even size, empty, with people, empty again, and their rate."""
    with av.open(str(video)) as container:
        rate = container.streams.video[0].average_rate or Fraction(25)
    people = list(images_of(video, float(rate), frames))
    empty = list(empty_images(video, people, frames))
    half = frames // 2
    height, width = (side // 2 * 2 for side in people[0].shape[:2])
    return [image[:height, :width] for image in [*empty[:half], *people, *empty[half:]]], rate


def _motion_ms(videos: Sequence[Path]) -> float:
    spent_s, count = 0.0, 0
    for video in videos:
        motion = PictureMotion()
        with av.open(str(video)) as container:
            for picture in container.decode(video=0):
                began = time.thread_time()
                image = DecodedImage.read(picture)
                motion(image, image.size)
                spent_s += time.thread_time() - began
                count += 1
    return spent_s / max(1, count) * 1e3


def show(rows: Sequence[GateRow], console: Console) -> None:
    """Print a table; what exceeds the allowance is marked."""
    table = Table(
        "set", "disturbance", "looked at", "people off", "gate", "tracks off", "gate", "loss", "motion ms", "cost"
    )
    for row in rows:
        off, gate = row.off, row.gate
        table.add_row(
            row.name,
            row.disturbance,
            f"{100 * gate.looked:.1f} %",
            f"{off.hota:.3f} / {off.idf1:.3f}",
            f"{gate.hota:.3f} / {gate.idf1:.3f}",
            f"{off.single_hota:.3f} / {off.single_idf1:.3f}",
            f"{gate.single_hota:.3f} / {gate.single_idf1:.3f}",
            f"{row.loss:+.3f}{' !' if row.loss > ALLOWED_LOSS else ''}",
            f"{row.motion_ms:.2f}",
            f"{100 * row.cost:+.1f} %{' !' if row.cost > ALLOWED_COST else ''}",
        )
    console.print(table)


def summaries(rows: Sequence[GateRow]) -> list[Mapping[str, object]]:
    """Return the rows with what is derived from them, for JSON."""
    return [{**msgspec.to_builtins(row), "loss": row.loss, "cost": row.cost} for row in rows]
