"""Simulated worlds: people who walk through cameras, with known truth; deterministic by seed.

One generator serves unit, property and benchmark tests: `boxes` for the tracker, `observations` for the matcher. Each
person has a true unit vector; what a camera shows of it is the truth, plus the camera's own direction, plus noise.
"""

from dataclasses import dataclass, field

import numpy as np

from reid_stream.records import CameraId, Detections, Floats, Observation, Perceived, TrackEnded, TrackId, pack_vector

RUN = "run"
MODEL = "bundle-a"
FRAME = (960, 540)


@dataclass(frozen=True)
class Visit:
    """One person crosses one camera's view."""

    person: int
    camera: CameraId
    track: TrackId
    enters_at: float
    leaves_at: float
    lane: float
    """Top of the box, in pixels."""

    def box(self, at: float) -> tuple[float, float, float, float]:
        """Where the person is at a time of the visit."""
        share = (at - self.enters_at) / (self.leaves_at - self.enters_at)
        x = 20 + share * 800
        return x, self.lane, x + 60, self.lane + 160


@dataclass
class World:
    """People walk from camera to camera; one lane per person, so that boxes never overlap."""

    people: int = 6
    cameras: int = 3
    fps: float = 5
    seed: int = 0
    dim: int = 64
    noise: float = 0.5
    """Length of the noise beside a true vector of length 1."""
    begins_at: float = 1_000_000.0
    visits: list[Visit] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)
        self.truth = unit(self.rng.normal(size=(self.people, self.dim)))
        tracks = [0] * self.cameras
        for person in range(self.people):
            at = self.begins_at + self.rng.uniform(0, 10)
            for camera in self.rng.permutation(self.cameras):
                lasts = self.rng.uniform(4, 8)
                visit = Visit(
                    person, CameraId(f"cam{camera}"), TrackId(tracks[camera]), at, at + lasts, 10 + 200.0 * person
                )
                self.visits.append(visit)
                tracks[camera] += 1
                at += lasts + self.rng.uniform(1, 6)
        self.owner = {(visit.camera, visit.track): visit.person for visit in self.visits}

    def observations(self) -> list[Perceived]:
        """Return what a perfect perceive would say, in time order over cameras."""
        sequence: dict[CameraId, int] = {}
        end = max(visit.leaves_at for visit in self.visits)
        records: list[Perceived] = []
        ended: set[Visit] = set()
        for at in np.arange(self.begins_at, end + 2 + 1 / self.fps, 1 / self.fps).tolist():
            for visit in self.visits:
                number = sequence.get(visit.camera, 0)
                if visit.enters_at <= at <= visit.leaves_at:
                    sequence[visit.camera] = number + 1
                    records.append(self._observe(visit, at, number))
                elif at > visit.leaves_at + 2 and visit not in ended:
                    sequence[visit.camera] = number + 1
                    ended.add(visit)
                    records.append(TrackEnded(RUN, visit.camera, visit.track, number, at))
        return records

    def _observe(self, visit: Visit, at: float, number: int) -> Observation:
        steps = round((at - visit.enters_at) * self.fps)
        has_vector = steps % round(self.fps) == 0
        noise = unit(self.rng.normal(size=self.dim)) * np.float32(self.noise)
        vector = unit(self.truth[visit.person] + noise)
        return Observation(
            run=RUN,
            camera=visit.camera,
            track=visit.track,
            sequence=number,
            seen_at=at,
            clock="file",
            box=visit.box(at),
            frame_size=FRAME,
            score=0.9,
            quality=0.8 if has_vector else 0.0,
            vector=pack_vector(vector) if has_vector else None,
            model=MODEL,
        )


def unit(vectors: object) -> Floats:
    """Scale vectors (..., d) to unit length."""
    array = np.asarray(vectors, dtype=np.float32)
    return np.asarray(array / np.linalg.norm(array, axis=-1, keepdims=True), dtype=np.float32)


def walk(frames: int, people: int, fps: float, seed: int = 0) -> list[tuple[float, Detections]]:
    """Return detections of people walking side by side through one camera: (seen_at, boxes) per frame."""
    rng = np.random.default_rng(seed)
    speed = rng.uniform(30, 60, people)
    start = rng.uniform(0, 200, people)
    out = []
    for frame in range(frames):
        at = 1_000_000.0 + frame / fps
        left = start + speed * frame / fps
        top = 10 + 200.0 * np.arange(people)
        boxes = np.stack([left, top, left + 60, top + 160], axis=1) + rng.normal(0, 0.5, (people, 4))
        out.append((at, Detections(boxes.astype(np.float32), rng.uniform(0.75, 0.95, people).astype(np.float32))))
    return out
