"""List the known people of a site from its live keys; takes the same time however long the event stream is."""

from typing import TYPE_CHECKING, Any

import msgspec

from reid_stream.publish.live_keys import identity_key, present_key
from reid_stream.publish.redis_client import translated
from reid_stream.records import CameraId, GlobalId

if TYPE_CHECKING:
    import redis

_PAGE = 500


class IdentityRow(msgspec.Struct, frozen=True):
    """One person as the live keys describe them."""

    person: GlobalId
    label: str
    """Name given by an operator; empty for none."""
    state: str
    revision: int
    here: list[str]
    """Cameras that see the person now."""
    first_seen_at: float | None
    """UTC seconds."""
    seen_at: float | None
    """UTC seconds."""
    camera: str | None
    """Camera that saw the person last."""


def list_identities(client: "redis.Redis", site: str, where: str) -> list[IdentityRow]:
    """Return the known people, by number; without those merged into others.

    Args:
        client: Redis.
        site: `site` of cams.yaml.
        where: address of Redis, for messages.

    Raises:
        BrokerError: Redis does not answer.
    """
    anyhow: Any = client
    with translated(where):
        here: dict[str, list[str]] = {}
        for key in sorted(anyhow.scan_iter(match=present_key(site, CameraId("*")), count=_PAGE)):
            camera = _text(key).removeprefix(present_key(site, CameraId("")))
            for person in anyhow.smembers(key):
                here.setdefault(_text(person), []).append(camera)
        keys = list(anyhow.scan_iter(match=identity_key(site, GlobalId("*")), count=_PAGE))
        rows: list[IdentityRow] = []
        for start in range(0, len(keys), _PAGE):
            pipeline = anyhow.pipeline(transaction=False)
            for key in keys[start : start + _PAGE]:
                pipeline.hgetall(key)
            for key, found in zip(keys[start : start + _PAGE], pipeline.execute(), strict=True):
                person = GlobalId(_text(key).removeprefix(identity_key(site, GlobalId(""))))
                fields = {_text(name): _text(value) for name, value in found.items()}
                if fields and "merged_into" not in fields:
                    rows.append(_row(person, fields, here.get(person, [])))
    return sorted(rows, key=lambda row: (len(row.person), row.person))


def _row(person: GlobalId, fields: dict[str, str], here: list[str]) -> IdentityRow:
    return IdentityRow(
        person=person,
        label=fields.get("label", ""),
        state=fields.get("state", "provisional"),
        revision=int(_number(fields.get("revision")) or 1),
        here=here,
        first_seen_at=_number(fields.get("first_seen_at")),
        seen_at=_number(fields.get("seen_at")),
        camera=fields.get("camera"),
    )


def _text(value: bytes) -> str:
    # Whoever may write to Redis may have written anything.
    return value.decode(errors="replace")


def _number(text: str | None) -> float | None:
    """Read a number; None for none, or for what is no finite number."""
    try:
        number = float(text) if text is not None else None
    except ValueError:
        return None
    return number if number is not None and abs(number) < 1e15 else None
