"""Savings of detector work and their cost in accuracy, measured on the same footage once per row.

A row is a set of `detect` settings. CPU time is that of this process, so rows can be compared on a shared machine;
shares of the detector's input are exact.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec
from rich.console import Console
from rich.table import Table

from reid_stream.config.settings import Detect, Settings
from reid_stream.detect.yolo import Detector, spec_of
from reid_stream.detect.zones import zones_of
from reid_stream.engines.protocol import Floats, PixelEngine, Pixels
from reid_stream.evaluation.align import Boxes
from reid_stream.evaluation.footage import recorded
from reid_stream.evaluation.recording import Recording, replay
from reid_stream.evaluation.summary import summarize_stream
from reid_stream.images import UInt8
from reid_stream.pipeline import Perception
from reid_stream.runtime.networks import Networks, make_perception

ROWS: Mapping[str, Mapping[str, object]] = {
    "off": {"gate": "off"},
    "gate": {},
    "packing": {"packing": "auto"},
    "rate": {"min_fps": 2.0},
    "all": {"packing": "auto", "min_fps": 2.0},
}
"""Settings of `detect` that are not the defaults."""


class SavingRow(msgspec.Struct, frozen=True, kw_only=True):
    """One row of one set."""

    name: str
    row: str
    frames: int
    looked: float
    """Share of the frames that the detector saw, in whole or in part."""
    pixels: float
    """Pixels that the detector saw, as a share of those of whole frames."""
    cpu_ms: float
    """CPU time per frame, decoding and embedding included."""
    crops: float
    """Embedded crops per frame."""
    hota: float
    """HOTA of people over all cameras."""
    idf1: float
    single_hota: float
    """HOTA of tracks, each camera by itself."""
    single_idf1: float


@dataclass(slots=True)
class _Counting:
    """An engine that counts the pixels it is given."""

    engine: PixelEngine
    count: int = 0

    @property
    def name(self) -> str:
        return self.engine.name

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        return self.engine.input_shape

    @property
    def output_shape(self) -> tuple[int | None, ...]:
        return self.engine.output_shape

    @property
    def pixels(self) -> Pixels | None:
        return self.engine.pixels

    def __call__(self, batch: Floats) -> Floats:
        return self.engine(batch)

    def images(self, batch: UInt8) -> Floats:
        self.count += batch.shape[0] * batch.shape[1] * batch.shape[2]
        return self.engine.images(batch)


class _Whole(NamedTuple):
    """The detector's pixels for whole frames."""

    frames: int
    pixels: int


def measure(
    name: str, settings: Settings, truth: Mapping[str, Boxes], networks: Networks, rows: Sequence[str]
) -> list[SavingRow]:
    """Record the footage once a row, `off` first.

    Raises:
        ConfigError, StreamError: see `recorded`.
    """
    found: list[SavingRow] = []
    whole = _Whole(0, 0)
    for row in rows:
        detect = settings.detect.model_copy(update=dict(ROWS[row]))
        counted = _Counting(networks.detector_engine)
        made, took_s, perception = _record(settings, detect, truth, networks, counted)
        counts = perception.counts
        if not whole.frames:
            whole = _Whole(counts.frames, counted.count)
        summary = summarize_stream(made.true_boxes(), replay(made), made.cameras).in_the_end
        found.append(
            SavingRow(
                name=name,
                row=row,
                frames=counts.frames,
                looked=1 - counts.gated / counts.frames,
                pixels=counted.count / counts.frames / (whole.pixels / whole.frames),
                cpu_ms=took_s / counts.frames * 1e3,
                crops=counts.crops / counts.frames,
                hota=summary.across.hota,
                idf1=summary.across.idf1,
                single_hota=summary.single.hota,
                single_idf1=summary.single.idf1,
            )
        )
    return found


def _record(
    settings: Settings, detect: Detect, truth: Mapping[str, Boxes], networks: Networks, counted: _Counting
) -> tuple[Recording, float, Perception]:
    """Return the recording, the CPU time it took in seconds, and the perception that made it."""
    chosen = settings.model_copy(update={"detect": detect})
    made: list[Perception] = []

    def wire(settings: Settings, networks: Networks, run: str) -> Perception:
        perception = make_perception(settings, networks, run)
        detector = Detector(counted, spec_of(networks.detector), settings.detect, zones_of(settings.cameras))
        perception.detect = detector
        made.append(perception)
        return perception

    began = time.process_time()
    recording = recorded(chosen, truth, networks=networks, wire=wire)
    return recording, time.process_time() - began, made[0]


def show(rows: Sequence[SavingRow], console: Console) -> None:
    """Print a table."""
    table = Table("set", "row", "frames", "looked at", "pixels", "CPU ms a frame", "crops a frame", "people", "tracks")
    for row in rows:
        table.add_row(
            row.name,
            row.row,
            str(row.frames),
            f"{100 * row.looked:.1f} %",
            f"{100 * row.pixels:.1f} %",
            f"{row.cpu_ms:.1f}",
            f"{row.crops:.2f}",
            f"{row.hota:.3f} / {row.idf1:.3f}",
            f"{row.single_hota:.3f} / {row.single_idf1:.3f}",
        )
    console.print(table)
