"""Events of a small shop, for the tests of this folder."""

from reid_stream.events import Event, IdentityEntered, IdentityLeft, IdentitySeen
from reid_stream.records import CameraId, GlobalId, TrackId


def entered(person: str, camera: str = "door", at: float = 1_700_000_000.0) -> IdentityEntered:
    return IdentityEntered(**_fields(person, camera, at))  # type: ignore[arg-type]


def seen(person: str, camera: str = "door", at: float = 1_700_000_001.0) -> IdentitySeen:
    return IdentitySeen(**_fields(person, camera, at))  # type: ignore[arg-type]


def left(person: str, camera: str = "door", at: float = 1_700_000_002.0) -> IdentityLeft:
    return IdentityLeft(
        person=GlobalId(person),
        revision=0,
        camera=CameraId(camera),
        since=at - 2,
        last_seen_at=at,
        clock="rtcp",
        state="confirmed",
    )


def visit(number: int) -> list[Event]:
    """A visit: a person enters, is seen and leaves."""
    person = f"shop-{number}"
    return [entered(person), seen(person), left(person)]


def _fields(person: str, camera: str, at: float) -> dict[str, object]:
    return {
        "person": GlobalId(person),
        "revision": 0,
        "camera": CameraId(camera),
        "track": TrackId(3),
        "seen_at": at,
        "clock": "rtcp",
        "box": (10.0, 20.0, 110.0, 320.0),
        "frame_size": (1920, 1080),
        "score": 0.9,
        "state": "confirmed",
        "similarity": 0.71,
        "probability": 0.98,
        "model": "3f2a",
        "since": 1_700_000_000.0,
    }
