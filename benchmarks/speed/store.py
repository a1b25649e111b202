"""Measure a large tracklet store: write rate, size, time to open and replay.

    made-up people -> StoreWriter (the daemon's own) -> disk -> opened again -> reidentify with the stored vectors

Beside the write rate stands its floor, measured in the same run: encoding the same images to JPEG and writing the
files, one after the other, in a plain loop. Images are blocks of colours with noise, such that
their JPEG files are about as large as those of real crops.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import msgspec
import numpy as np

from benchmarks.simulator.looks import drawn
from benchmarks.speed.memory import give_back, resident_bytes
from reid_stream.bundles.bundle import EmbedderBundle
from reid_stream.config.settings import Match, Store
from reid_stream.images import UInt8
from reid_stream.offline.rematch import reidentify
from reid_stream.records import CameraId, Crop, Floats, GlobalId, Observation, Sighting, TrackEnded, TrackId
from reid_stream.store.writer import StoreWriter

_BEGINS_AT = 1_767_225_600.0
_RUN = "bench"
_SIZE = (192, 80)
"""Pixels of a crop, as a person of a 1080p camera has."""
_PICTURES = 256
"""Different ones."""
_FLOOR_CROPS = 400
_WAITING = 1000
"""Largest backlog of the writer in crops; it drops what it cannot queue beyond 2048."""


class StoreFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Measured figures; MB are 10^6 bytes."""

    crops: int
    tracks: int
    write_crops_per_s: float
    floor_crops_per_s: float
    """Encoding and writing alone."""
    write_share: float
    """Write rate as a share of the floor."""
    lost: int
    """Crops that the writer could not keep."""
    disk_mb: float
    bytes_per_crop: float
    """All files of its track included, vectors, too."""
    open_s: float
    """Until a daemon that finds the store there can write to it."""
    replay_crops_per_s: float
    span_s: float
    """Time span of the tracks."""
    times_real: float
    """Speed of the replay as a multiple of real time."""
    write_rss_mb: float
    """Memory that writing added."""
    replay_rss_mb: float
    """Memory that the replay held at its end, over and above the process before."""
    people: int
    """Found by the replay."""


def measure(
    folder: Path,
    bundle: EmbedderBundle,
    crops: int,
    per_track: int,
    tracks_per_hour: float,
    progress: Callable[[str], None],
) -> StoreFigures:
    """Fill a store and replay it.

    Args:
        folder: of the new store.
        bundle: recorded as the origin of the vectors.
        crops: in all.
        per_track: crops of one track.
        tracks_per_hour: over all cameras; sets the time that the store covers.
        progress: called with what is being done.
    """
    pictures = _pictures()
    floor = _floor(folder, pictures)
    tracks = -(-crops // per_track)
    settings = Store(folder=folder, max_gb=1000, retention_s=1e9, crops_per_track=per_track, settle_s=0)
    give_back()
    before = resident_bytes()
    progress(f"writing {tracks} tracks of {per_track} crops")
    began = time.perf_counter()
    writer = StoreWriter(settings, folder, lambda: _BEGINS_AT)
    put = 0
    for seen, named in _tracks(bundle, pictures, tracks, per_track, tracks_per_hour):
        writer.decided([named])
        writer.take(seen, [_ended(seen[-1])])
        put += len(seen)
        while put - writer.written - sum(writer.lost.values()) > _WAITING:
            time.sleep(0.001)
    writer.close(timeout_s=600)
    took = time.perf_counter() - began
    write_rss = resident_bytes() - before
    progress("opening it again")
    began = time.perf_counter()
    again = StoreWriter(settings, folder, lambda: _BEGINS_AT)
    opened, used = time.perf_counter() - began, again.used_bytes
    again.close()
    give_back()
    before = resident_bytes()
    progress("replaying it")
    found = reidentify(folder, Match(), bundle, _refuse)
    return StoreFigures(
        crops=writer.written,
        tracks=tracks,
        write_crops_per_s=writer.written / took,
        floor_crops_per_s=floor,
        write_share=writer.written / took / floor,
        lost=sum(writer.lost.values()),
        disk_mb=used / 1e6,
        bytes_per_crop=used / writer.written,
        open_s=opened,
        replay_crops_per_s=found.crops / found.seconds,
        span_s=found.span_s,
        times_real=found.span_s / found.seconds,
        write_rss_mb=write_rss / 1e6,
        replay_rss_mb=(resident_bytes() - before) / 1e6,
        people=len({person for person, _ in found.people.values()}),
    )


def show(found: StoreFigures) -> None:
    """Print a table."""
    from rich.table import Table

    from reid_stream.console.output import Output

    table = Table(f"{found.crops} crops in {found.tracks} tracks", "", box=None, header_style="bold")
    table.add_row("written per second", f"{found.write_crops_per_s:.0f} crops, {found.lost} lost")
    table.add_row("... of encoding and writing alone", f"{found.write_share:.2f} of {found.floor_crops_per_s:.0f}")
    table.add_row("on disk", f"{found.disk_mb:.0f} MB, {found.bytes_per_crop:.0f} bytes a crop")
    table.add_row("opened again in", f"{found.open_s:.1f} s")
    table.add_row(
        "replayed", f"{found.replay_crops_per_s:.0f} crops per second, {found.times_real:.0f} times real time"
    )
    table.add_row("memory", f"{found.write_rss_mb:.0f} MB to write, {found.replay_rss_mb:.0f} MB to replay")
    Output().print(table)


def _tracks(
    bundle: EmbedderBundle, pictures: list[UInt8], count: int, per_track: int, per_hour: float
) -> Iterator[tuple[list[Crop], Sighting]]:
    """Yield tracks of people who pass four cameras each, one after the other."""
    random = np.random.default_rng(0)
    looks = drawn(-(-count // 4), 4, 2, bundle.dim, random, bundle.hash)
    step = 3600 / per_hour
    for track in range(1, count + 1):
        person, view = divmod(track - 1, 4)
        look = looks.vectors[looks.first[person, view]].astype(np.float32)
        vectors = look + np.asarray(random.normal(0, 0.3 / bundle.dim**0.5, (per_track, bundle.dim)), dtype=np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        at = _BEGINS_AT + (4 * person + 1.5 * view) * step
        seen = [
            _crop(bundle, track, view, at + n, vectors[n], pictures[(track + n) % len(pictures)])
            for n in range(per_track)
        ]
        yield seen, _sighting(seen[-1], GlobalId(f"site-{person + 1}"))


def _crop(bundle: EmbedderBundle, track: int, view: int, at: float, vector: Floats, picture: UInt8) -> Crop:
    left = 10.0 * (at % 60)
    return Crop(
        camera=CameraId(f"cam{view + 1}"),
        run=_RUN,
        track=TrackId(track),
        at=at,
        clock="rtcp",
        box=(left, 100.0, left + _SIZE[1], 100.0 + _SIZE[0]),
        quality=0.8,
        image=picture,
        vector=vector.astype(np.float16).tobytes(),
        model=bundle.hash,
    )


def _ended(last: Crop) -> TrackEnded:
    return TrackEnded(last.run, last.camera, last.track, 0, last.at)


def _sighting(last: Crop, person: GlobalId) -> Sighting:
    seen = Observation(
        last.run, last.camera, last.track, 0, last.at, last.clock, last.box, (1920, 1080), 0.9, 0.8, None, last.model
    )
    return Sighting(person, "confirmed", None, None, 1, seen)


def _pictures() -> list[UInt8]:
    random = np.random.default_rng(1)
    found = []
    for _ in range(_PICTURES):
        blocks = random.integers(0, 230, (12, 5, 3)).astype(np.uint8)
        smooth = cv2.resize(blocks, (_SIZE[1], _SIZE[0]), interpolation=cv2.INTER_LINEAR).astype(np.int16)
        noisy = smooth + np.asarray(random.normal(0, 5, smooth.shape), dtype=np.int16)
        found.append(np.clip(noisy, 0, 255).astype(np.uint8))
    return found


def _floor(folder: Path, pictures: list[UInt8]) -> float:
    """Return crops per second that are encoded and written by a plain loop."""
    place = folder.with_name(f"{folder.name}.floor")
    place.mkdir(parents=True)
    began = time.perf_counter()
    for number in range(_FLOOR_CROPS):
        picture = cv2.cvtColor(pictures[number % len(pictures)], cv2.COLOR_RGB2BGR)
        jpeg = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 95])[1]
        (place / f"{number}.jpg").write_bytes(jpeg.tobytes())
    took = time.perf_counter() - began
    for file in place.iterdir():
        file.unlink()
    place.rmdir()
    return _FLOOR_CROPS / took


def _refuse(_: object) -> Floats:
    raise AssertionError("the vectors are in the store")
