"""Everything a matcher knows, in one serialisable value (pure)."""

import msgspec

from reid_stream.match.cameras import CameraState
from reid_stream.match.evidence import Redundancy
from reid_stream.match.gallery import Exemplar, GalleryState
from reid_stream.match.newcomers import Newcomers
from reid_stream.match.open_tracks import Instant
from reid_stream.match.people import Person
from reid_stream.match.said import Said
from reid_stream.match.topology import TopologyState
from reid_stream.match.tracklet import Tracklet


class State(msgspec.Struct):
    """Everything a matcher knows; msgspec writes and reads it."""

    model: str
    next_number: int
    next_serial: int
    people: list[Person]
    exemplars: dict[int, list[Exemplar]]
    tracks: list[Tracklet]
    cameras: dict[str, CameraState]
    topology: TopologyState = msgspec.field(default_factory=lambda: TopologyState(0.0, {}))
    newcomers: Newcomers = msgspec.field(default_factory=Newcomers)
    redundancy: Redundancy = msgspec.field(default_factory=Redundancy)
    said: Said = msgspec.field(default_factory=Said)
    gallery: GalleryState | None = None
    """None for a state that no matcher made: places are then given anew."""
    recent: list[int] = []
    """People, the latest seen last."""
    turn: list[int] = []
    """People that are looked at again next, the first one last."""
    instants: dict[str, Instant] = {}
    """Who was seen at once last, by camera."""
