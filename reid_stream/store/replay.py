"""Convert stored tracks to the records that perception made of them, for the matcher to process again (pure).

A store keeps a crop now and then, but the matcher wants to know who was side by side. So at the time of every crop each
other track that the camera then saw is replayed, too: without a vector, its box on a straight line between its crops.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from reid_stream.records import Box, CameraId, Floats, Observation, Perceived, TrackEnded, TrackId, pack_vector
from reid_stream.store.layout import StoredTrack

ENDS_AFTER_S = 1.0
"""Time after which a tracker drops a lost track, approximately, seconds."""
BATCH_S = 0.1
"""Observations within this time reach the matcher together, as in the daemon, seconds."""


@dataclass(frozen=True, slots=True, eq=False)
class StoredReplay:
    """A stored track with the vectors to use."""

    track: StoredTrack
    vectors: Floats
    """(n, d) unit length, one a crop."""


def batches(tracks: Sequence[StoredReplay], model: str) -> Iterator[tuple[float, list[Perceived]]]:
    """Yield (now, records) in time order, as the daemon's matcher would have been called.

    Args:
        tracks: of all cameras, in any order.
        model: hash of the bundle that made the vectors.
    """
    by_camera: dict[CameraId, list[StoredReplay]] = defaultdict(list)
    for replayed in tracks:
        by_camera[replayed.track.camera].append(replayed)
    records: list[Perceived] = []
    for here in by_camera.values():
        records.extend(_of_camera(here, model))
    records.sort(key=lambda record: record.seen_at)  # stable: a camera's order stays
    batch: list[Perceived] = []
    for record in records:
        if batch and record.seen_at - batch[0].seen_at > BATCH_S:
            yield batch[-1].seen_at, batch
            batch = []
        batch.append(record)
    if batch:
        yield batch[-1].seen_at, batch


def _of_camera(tracks: list[StoredReplay], model: str) -> Iterator[Perceived]:
    """Yield the records of one camera in order of time."""
    size = _size(tracks)
    waiting = sorted(tracks, key=lambda replayed: replayed.track.times[0], reverse=True)
    there: list[StoredReplay] = []
    sequence = 0
    sightings: list[tuple[float, int, StoredReplay]] = [
        (at, row, replayed) for replayed in tracks for row, at in enumerate(replayed.track.times)
    ]
    for at in sorted({at for at, _, _ in sightings}):
        while waiting and waiting[-1].track.times[0] <= at:
            there.append(waiting.pop())
        for replayed in list(there):
            track = replayed.track
            if at > track.times[-1] + ENDS_AFTER_S:
                there.remove(replayed)
                yield _end(track, sequence)
            elif at <= track.times[-1]:
                yield _seen(replayed, at, sequence, size, model)
            sequence += 1
    for replayed in there:
        yield _end(replayed.track, sequence)
        sequence += 1


def _seen(replayed: StoredReplay, at: float, sequence: int, size: tuple[int, int], model: str) -> Observation:
    track = replayed.track
    row = int(np.searchsorted(track.times, at))
    is_crop = track.times[row] == at
    return Observation(
        run=track.run,
        camera=track.camera,
        track=TrackId(track.track),
        sequence=sequence,
        seen_at=at,
        clock=track.clock,
        box=track.boxes[row] if is_crop else _between(track, at),
        frame_size=size,
        score=1.0,
        quality=track.qualities[row] if is_crop else 0.0,
        vector=pack_vector(replayed.vectors[row]) if is_crop else None,
        model=model,
    )


def _between(track: StoredTrack, at: float) -> Box:
    x1, y1, x2, y2 = (float(np.interp(at, track.times, [box[edge] for box in track.boxes])) for edge in range(4))
    return (x1, y1, x2, y2)


def _end(track: StoredTrack, sequence: int) -> TrackEnded:
    return TrackEnded(
        run=track.run,
        camera=track.camera,
        track=TrackId(track.track),
        sequence=sequence,
        seen_at=track.times[-1] + ENDS_AFTER_S,
    )


def _size(tracks: list[StoredReplay]) -> tuple[int, int]:
    """Return a size that holds every box; the store does not keep the size of the images."""
    boxes = np.concatenate([np.asarray(replayed.track.boxes) for replayed in tracks])
    return max(1, int(np.ceil(boxes[:, 2].max()))), max(1, int(np.ceil(boxes[:, 3].max())))
