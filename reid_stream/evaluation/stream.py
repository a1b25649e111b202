"""An event stream -> the boxes it told of, as a subscriber saw them at the time and after its corrections (pure)."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from reid_stream.evaluation.score import Boxes
from reid_stream.events import Event, IdentityEntered, IdentityMerged, IdentitySeen, IdentitySplit


@dataclass(frozen=True, slots=True)
class Timeline:
    """When a camera's frames were taken."""

    first_at: float
    """UTC seconds of frame 1."""
    fps: float

    def frame(self, at: float) -> int:
        """Return the number, from 1, of the frame taken at `at`."""
        return round((at - self.first_at) * self.fps) + 1


@dataclass(frozen=True, slots=True)
class Told:
    """The same boxes under two sets of names."""

    at_once: dict[str, Boxes]
    """With the global ID that the event gave: what a subscriber who never looks back knows."""
    in_the_end: dict[str, Boxes]
    """With merges and splits applied to what came before them: what one who follows corrections knows."""


def boxes_of(events: Iterable[Event], cameras: Mapping[str, Timeline]) -> Told:
    """Collect the boxes of `identity.entered` and `identity.seen`, one per person, camera and frame."""
    seen: dict[tuple[str, int, str], IdentityEntered | IdentitySeen] = {}
    became: dict[str, str] = {}
    moved: dict[tuple[str, int], str] = {}
    for event in events:
        match event:
            case IdentityEntered() | IdentitySeen():
                frame = cameras[event.camera].frame(event.seen_at)
                seen[event.camera, frame, event.person] = event
            case IdentityMerged():
                became[event.previous] = event.person
            case IdentitySplit():
                moved.update({(camera, int(track)): event.into for camera, _, track in event.tracks})

    def final(event: IdentityEntered | IdentitySeen) -> str:
        person = str(moved.get((event.camera, int(event.track)), event.person))
        while person in became:
            person = became[person]
        return person

    return Told(
        at_once={camera: _boxes(seen, camera, lambda event: str(event.person)) for camera in cameras},
        in_the_end={camera: _boxes(seen, camera, final) for camera in cameras},
    )


def _boxes(
    seen: Mapping[tuple[str, int, str], IdentityEntered | IdentitySeen],
    camera: str,
    name: Callable[[IdentityEntered | IdentitySeen], str],
) -> Boxes:
    rows: dict[tuple[int, str], tuple[float, float, float, float]] = {}
    for (where, frame, _), event in seen.items():
        if where == camera:
            rows[frame, name(event)] = event.box
    return Boxes(
        np.asarray([frame for frame, _ in rows], dtype=np.int64),
        tuple(person for _, person in rows),
        np.asarray(list(rows.values()), dtype=np.float64).reshape(-1, 4),
    )
