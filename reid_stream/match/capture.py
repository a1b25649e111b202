"""What a matcher knows at one moment, taken in a moment and written down later (pure).

Views are never changed, only replaced, so it is enough to note which ones there are; everything else is written at
once, which is a small part. `parts` may thus be worked off by another thread while the matcher goes on.
"""

from collections.abc import Iterable, Iterator
from itertools import islice

import msgspec

from reid_stream.match.gallery import Exemplar, FrozenViews
from reid_stream.match.state import State

_AT_ONCE = 250
"""People's views per part: about a megabyte."""
_core: msgspec.msgpack.Decoder[State] = msgspec.msgpack.Decoder(State)
_views: msgspec.msgpack.Decoder[dict[int, list[Exemplar]]] = msgspec.msgpack.Decoder(dict[int, list[Exemplar]])


class Capture:
    """One moment of a matcher."""

    def __init__(self, state: State, views: FrozenViews) -> None:
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


def join(parts: Iterable[bytes]) -> State:
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
