"""Who is known at a site now, from the live keys: quick however long the events are."""

from typing import TYPE_CHECKING, Any

import msgspec

from reid_stream.publish.live_keys import identity_key, present_key
from reid_stream.publish.redis_client import translated
from reid_stream.records import CameraId, GlobalId

if TYPE_CHECKING:
    import redis

_PAGE = 500


class IdentityRow(msgspec.Struct, frozen=True):
    """One person as the live keys have it."""

    person: GlobalId
    label: str
    """What people call it; empty for nothing."""
    state: str
    revision: int
    here: list[str]
    """Cameras that see it now."""
    first_seen_at: float | None
    """UTC seconds."""
    seen_at: float | None
    camera: str | None
    """Where it was seen last."""


def read_roll(client: "redis.Redis", site: str, where: str) -> list[IdentityRow]:
    """Return everybody, by number.

    Raises:
        BrokerError: Redis does not answer.
    """
    anyhow: Any = client
    with translated(where):
        here: dict[str, list[str]] = {}
        for key in sorted(anyhow.scan_iter(match=present_key(site, CameraId("*")), count=_PAGE)):
            camera = key.decode().removeprefix(present_key(site, CameraId("")))
            for person in anyhow.smembers(key):
                here.setdefault(person.decode(), []).append(camera)
        keys = list(anyhow.scan_iter(match=identity_key(site, GlobalId("*")), count=_PAGE))
        rows: list[IdentityRow] = []
        for begin in range(0, len(keys), _PAGE):
            pipeline = anyhow.pipeline(transaction=False)
            for key in keys[begin : begin + _PAGE]:
                pipeline.hgetall(key)
            for key, found in zip(keys[begin : begin + _PAGE], pipeline.execute(), strict=True):
                person = GlobalId(key.decode().removeprefix(identity_key(site, GlobalId(""))))
                fields = {name.decode(): value.decode() for name, value in found.items()}
                if fields and "merged_into" not in fields:
                    rows.append(_row(person, fields, here.get(person, [])))
    return sorted(rows, key=lambda row: (len(row.person), row.person))


def _row(person: GlobalId, fields: dict[str, str], here: list[str]) -> IdentityRow:
    def seconds(name: str) -> float | None:
        return float(fields[name]) if name in fields else None

    return IdentityRow(
        person=person,
        label=fields.get("label", ""),
        state=fields.get("state", "provisional"),
        revision=int(fields.get("revision", 1)),
        here=here,
        first_seen_at=seconds("first_seen_at"),
        seen_at=seconds("seen_at"),
        camera=fields.get("camera"),
    )
