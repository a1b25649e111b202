"""Events for subscribers: one struct per CloudEvents type, versioned `.v1` (pure).

A struct defines everything about its type: fields, priority in the spool, time, subject and example. Schema, reference,
sample and list of types follow from it. A new type is added in `people` or `operation`: below `NewsEvent`, or, if it
changes the live keys or the projection of the stream, as a member of `StateEvent`, the code of which then asks for a
case. A change that a subscriber's parser could notice is a new version beside the old one, never an edit. Times are UTC
seconds since 1970.
"""

from typing import cast

from reid_stream.events.base import EXAMPLE_RUN as EXAMPLE_RUN
from reid_stream.events.base import PREFIX as PREFIX
from reid_stream.events.base import EventBase as EventBase
from reid_stream.events.base import NewsEvent as NewsEvent
from reid_stream.events.base import Priority as Priority
from reid_stream.events.base import event_types
from reid_stream.events.operation import *  # noqa: F403 (all types, those to come included)
from reid_stream.events.operation import OperationStateEvent
from reid_stream.events.people import *  # noqa: F403
from reid_stream.events.people import PeopleStateEvent

StateEvent = PeopleStateEvent | OperationStateEvent
"""Events that change the live keys or the projection; code that handles them ends in `assert_never`."""
Event = StateEvent | NewsEvent
EVENT_TYPES = cast("tuple[type[Event], ...]", tuple(sorted(event_types(), key=lambda kind: kind.type)))
