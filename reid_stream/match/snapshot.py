"""What a matcher knows at one moment, taken in a moment and written down later (pure).

Views are never changed, only replaced, so it is enough to note which ones there are; everything else is written at
once, which is a small part. `parts` may thus be worked off by another thread while the matcher goes on.
"""

from collections.abc import Iterable, Iterator
from itertools import islice

import msgspec

from reid_stream.match.camera_bias import CameraBiasState
from reid_stream.match.candidates import NewIdentityPrior
from reid_stream.match.gallery import Exemplar, FrozenViews, GalleryState
from reid_stream.match.identities import Person
from reid_stream.match.override_log import OverrideLog
from reid_stream.match.scoring import EvidenceDiscount
from reid_stream.match.topology import TopologyState
from reid_stream.match.tracklets import Instant, Tracklet


class MatcherState(msgspec.Struct):
    """Everything a matcher knows; msgspec writes and reads it."""

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
    """None for a state that no matcher made: places are then given anew."""
    recent: list[int] = []
    """People, the latest seen last."""
    turn: list[int] = []
    """People that are looked at again next, the first one last."""
    instants: dict[str, Instant] = {}
    """Who was seen at once last, by camera."""


_AT_ONCE = 250
"""People's views per part: about a megabyte."""
_core: msgspec.msgpack.Decoder[MatcherState] = msgspec.msgpack.Decoder(MatcherState)
_views: msgspec.msgpack.Decoder[dict[int, list[Exemplar]]] = msgspec.msgpack.Decoder(dict[int, list[Exemplar]])


class MatcherSnapshot:
    """One moment of a matcher."""

    def __init__(self, state: MatcherState, views: FrozenViews) -> None:
        """`state`: all but the exemplars, which `views` has."""
        self._state = msgspec.msgpack.encode(state)
        self._views = views

    @property
    def people(self) -> int:
        """How many people it holds views of."""
        return len(self._views)

    def parts(self) -> Iterator[bytes]:
        """Write it down, in parts of about a megabyte; `join` puts them together."""
        yield self._state
        waiting = iter(self._views.items())
        while some := {number: [view.exported() for view in views] for number, views in islice(waiting, _AT_ONCE)}:
            yield msgspec.msgpack.encode(some)


def join(parts: Iterable[bytes]) -> MatcherState:
    """Read the parts of a capture, in their order.

    Raises:
        ValueError: they are no capture of this version.
    """
    waiting = iter(parts)
    try:
        state = _core.decode(next(waiting))
        for part in waiting:
            state.exemplars.update(_views.decode(part))
    except (StopIteration, msgspec.DecodeError) as error:
        raise ValueError(f"a matcher's state must be the parts of a capture: {error}") from error
    return state
