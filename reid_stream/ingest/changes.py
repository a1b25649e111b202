"""Events about one camera.

A further type of event is added to `CameraChange`; what passes changes on is the same for all of them.
"""

from dataclasses import dataclass

from reid_stream.events import CameraChanged, CameraDown, CameraUp
from reid_stream.events.packed import PackedEvent
from reid_stream.records import CameraId, ClockQuality

CameraChange = CameraUp | CameraChanged | CameraDown
"""A camera delivers frames, delivers frames of another size, codec or clock, or stopped."""


@dataclass(frozen=True, slots=True)
class FrameFormat:
    """Properties of a camera's frames that events report; a change of them is an event."""

    size: tuple[int, int]
    """(width, height) in pixels."""
    codec: str
    clock: ClockQuality


def delivery_change(
    camera: CameraId, at: float, before: FrameFormat | None, now: FrameFormat
) -> CameraUp | CameraChanged | None:
    """Return the event for a frame, None if it is like the one before.

    Args:
        camera: which one.
        at: UTC seconds.
        before: format of the frame before; None for the first one since the camera connected.
        now: format of the frame.
    """
    if before is None:
        return CameraUp(camera=camera, changed_at=at, frame_size=now.size, codec=now.codec, clock=now.clock)
    if before == now:
        return None
    return CameraChanged(
        camera=camera,
        changed_at=at,
        frame_size=now.size,
        codec=now.codec,
        clock=now.clock,
        previous_frame_size=before.size,
        previous_codec=before.codec,
        previous_clock=before.clock,
    )


def unpack_change(packed: PackedEvent) -> CameraChange:
    """Return the change of a camera in a message.

    Raises:
        ValueError: it is another event.
    """
    change = packed.unpack()
    if not isinstance(change, CameraChange):
        raise ValueError(f"a change of a camera must be one of its events, got {packed.type!r}")  # noqa: TRY004 (as a message)
    return change
