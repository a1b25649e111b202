"""Serialise the state of a matcher at one instant (pure).

Views of identities are immutable, so a snapshot only references them and encodes the rest, a small part, at once.
`MatcherSnapshot.parts` can therefore be consumed by another thread while the matcher continues.
"""

from collections.abc import Iterable, Iterator
from itertools import islice

import msgspec

from reid_stream.errors import DECODE_ERRORS
from reid_stream.match.camera_bias import CameraBiasState
from reid_stream.match.candidates import NewIdentityPrior
from reid_stream.match.gallery import Exemplar, FrozenViews, GalleryState
from reid_stream.match.identities import Person
from reid_stream.match.override_log import OverrideLog
from reid_stream.match.scoring import EvidenceDiscount
from reid_stream.match.site_strangers import SiteStrangers
from reid_stream.match.topology import TopologyState
from reid_stream.match.tracklets import Instant, Tracklet


class MatcherState(msgspec.Struct):
    """Complete state of a matcher, encoded by msgspec; field names on disk stay stable."""

    model: str
    next_number: int
    next_serial: int
    people: list[Person]
    exemplars: dict[int, list[Exemplar]]
    tracks: list[Tracklet]
    cameras: dict[str, CameraBiasState]
    topology: TopologyState = msgspec.field(default_factory=lambda: TopologyState(0.0, {}))
    newcomers: NewIdentityPrior = msgspec.field(default_factory=NewIdentityPrior)
    redundancy: EvidenceDiscount = msgspec.field(default_factory=EvidenceDiscount)
    override_log: OverrideLog = msgspec.field(default_factory=OverrideLog, name="said")
    gallery: GalleryState | None = None
    """State of the gallery; None for a state not made by a matcher: rows are then assigned on restore."""
    recent: list[int] = []
    """Identities by the time they were last seen, the latest last."""
    turn: list[int] = []
    """Identities queued for review, the next one last."""
    instants: dict[str, Instant] = {}
    """Boxes of the latest instant, by camera."""
    strangers: SiteStrangers = msgspec.field(default_factory=SiteStrangers)


_AT_ONCE = 250
"""Identities per part: about a megabyte of views."""
_core: msgspec.msgpack.Decoder[MatcherState] = msgspec.msgpack.Decoder(MatcherState)
_views: msgspec.msgpack.Decoder[dict[int, list[Exemplar]]] = msgspec.msgpack.Decoder(dict[int, list[Exemplar]])


class MatcherSnapshot:
    """State of a matcher at one instant."""

    def __init__(self, state: MatcherState, views: FrozenViews) -> None:
        """Encode `state` now; its `exemplars` are empty, `views` replaces them."""
        self._state = msgspec.msgpack.encode(state)
        self._views = views

    @property
    def people(self) -> int:
        """Number of identities with views."""
        return len(self._views)

    def parts(self) -> Iterator[bytes]:
        """Yield the encoded state in parts of about a megabyte, for `join`."""
        yield self._state
        waiting = iter(self._views.items())
        while some := {number: [view.exported() for view in views] for number, views in islice(waiting, _AT_ONCE)}:
            yield msgspec.msgpack.encode(some)


def join(parts: Iterable[bytes]) -> MatcherState:
    """Decode the parts of a snapshot, in their order.

    Raises:
        ValueError: the parts are not a snapshot of this version.
    """
    waiting = iter(parts)
    try:
        state = _core.decode(next(waiting))
        for part in waiting:
            state.exemplars.update(_views.decode(part))
    except (StopIteration, *DECODE_ERRORS) as error:
        raise ValueError(f"the state of a matcher must be the parts of a snapshot: {error}") from error
    return state
