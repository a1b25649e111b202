"""Events for subscribers: one struct per CloudEvents type, versioned `.v1` (pure).

A struct defines everything about its type: fields, priority in the spool, time and subject. A new type is added in
`people` or `operation`, with a sample in tests/samples/events, and below to `StateEvent` if it changes the live keys or
the projection of the stream, else to `NewsEvent`; no other code lists all types. A change that a subscriber's parser
could notice is a new version beside the old one, never an edit. Times are UTC seconds since 1970.
"""

from typing import get_args

from reid_stream.events.base import (
    PREFIX as PREFIX,
)
from reid_stream.events.base import (
    Priority as Priority,
)
from reid_stream.events.operation import (
    CameraAdded as CameraAdded,
)
from reid_stream.events.operation import (
    CameraChanged as CameraChanged,
)
from reid_stream.events.operation import (
    CameraConfigured as CameraConfigured,
)
from reid_stream.events.operation import (
    CameraDown as CameraDown,
)
from reid_stream.events.operation import (
    CameraRemoved as CameraRemoved,
)
from reid_stream.events.operation import (
    CameraUp as CameraUp,
)
from reid_stream.events.operation import (
    DaemonClockSet as DaemonClockSet,
)
from reid_stream.events.operation import (
    DaemonDropped as DaemonDropped,
)
from reid_stream.events.operation import (
    DaemonHeartbeat as DaemonHeartbeat,
)
from reid_stream.events.operation import (
    DaemonOverloaded as DaemonOverloaded,
)
from reid_stream.events.operation import (
    DaemonRecovered as DaemonRecovered,
)
from reid_stream.events.operation import (
    DaemonSettingsRead as DaemonSettingsRead,
)
from reid_stream.events.operation import (
    DaemonStalled as DaemonStalled,
)
from reid_stream.events.operation import (
    DaemonStarted as DaemonStarted,
)
from reid_stream.events.operation import (
    DaemonStopped as DaemonStopped,
)
from reid_stream.events.operation import (
    WorkerDown as WorkerDown,
)
from reid_stream.events.operation import (
    WorkerUp as WorkerUp,
)
from reid_stream.events.people import (
    IdentityConfirmed as IdentityConfirmed,
)
from reid_stream.events.people import (
    IdentityEntered as IdentityEntered,
)
from reid_stream.events.people import (
    IdentityErased as IdentityErased,
)
from reid_stream.events.people import (
    IdentityLeft as IdentityLeft,
)
from reid_stream.events.people import (
    IdentityMerged as IdentityMerged,
)
from reid_stream.events.people import (
    IdentityNamed as IdentityNamed,
)
from reid_stream.events.people import (
    IdentityRetired as IdentityRetired,
)
from reid_stream.events.people import (
    IdentitySeen as IdentitySeen,
)
from reid_stream.events.people import (
    IdentitySplit as IdentitySplit,
)
from reid_stream.events.people import (
    InstructionAnswered as InstructionAnswered,
)
from reid_stream.events.people import (
    LineCrossed as LineCrossed,
)
from reid_stream.events.people import (
    ZoneEntered as ZoneEntered,
)
from reid_stream.events.people import (
    ZoneLeft as ZoneLeft,
)

StateEvent = (
    IdentityEntered
    | IdentitySeen
    | IdentityLeft
    | IdentityConfirmed
    | IdentityMerged
    | IdentitySplit
    | IdentityNamed
    | IdentityRetired
    | IdentityErased
    | InstructionAnswered
    | DaemonStarted
    | DaemonStopped
)
"""Events that change the live keys or the projection; code that handles them ends in `assert_never`."""
# fmt: off
NewsEvent = (
    CameraUp | CameraAdded | CameraRemoved | CameraConfigured | CameraChanged | CameraDown | DaemonHeartbeat
    | DaemonDropped | DaemonStalled | DaemonOverloaded | DaemonRecovered | DaemonClockSet | DaemonSettingsRead
    | WorkerUp | WorkerDown | ZoneEntered | ZoneLeft | LineCrossed
)
# fmt: on
Event = StateEvent | NewsEvent
EVENT_TYPES: tuple[type[Event], ...] = get_args(Event)
