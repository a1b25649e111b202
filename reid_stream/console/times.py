"""Times as people read them: local time on a screen, with the zone named once (pure)."""

from datetime import UTC, datetime, tzinfo


def local_time(at: float | None, zone: tzinfo | None = None) -> str:
    """Return UTC seconds as date and time of `zone`, the machine's by default; empty for none."""
    return "" if at is None else datetime.fromtimestamp(at, UTC).astimezone(zone).strftime("%Y-%m-%d %H:%M:%S")


def local_clock(at: float, zone: tzinfo | None = None) -> str:
    """Return UTC seconds as time of day of `zone`, the machine's by default."""
    return datetime.fromtimestamp(at, UTC).astimezone(zone).strftime("%H:%M:%S")


def local_zone(at: float, zone: tzinfo | None = None) -> str:
    """Return the name of the zone with its offset at a time (UTC seconds): `CET (UTC+01:00)`."""
    here = datetime.fromtimestamp(at, UTC).astimezone(zone)
    name, offset = here.tzname() or "", here.strftime("%z")
    return name if name == "UTC" else f"{name} (UTC{offset[:3]}:{offset[3:5]})"
