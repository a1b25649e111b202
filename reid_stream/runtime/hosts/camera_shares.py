"""Share the cameras of a site out among its perceive hosts (pure).

Every host makes the same shares of the same claims, so that none needs to lead: each has as many cameras as the others
or as many as it takes, and a camera stays where it is unless another host is left with fewer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reid_stream.records import CameraId


@dataclass(frozen=True, slots=True)
class CameraShare:
    """What one host does about its cameras; each list in the order of the site's."""

    keep: tuple[CameraId, ...]
    """Cameras that it has and keeps."""
    take: tuple[CameraId, ...]
    """Free cameras that it claims."""
    give_up: tuple[CameraId, ...]
    """Cameras that it closes, for other hosts or because the site no longer has them."""
    unclaimed: int
    """Cameras that no host has, those of `take` left out."""


def share(
    cameras: Sequence[CameraId],
    claims: Mapping[CameraId, str],
    hosts: Mapping[str, int],
    own: str,
    *,
    may_take_over: bool = True,
) -> CameraShare:
    """Return what a host does about its cameras.

    Args:
        cameras: of the site.
        claims: run of the host that has claimed a camera, which may be gone.
        hosts: most cameras of each host that is there, by its run.
        own: run of the host that asks; one of `hosts`.
        may_take_over: whether cameras of hosts that are gone are free.
    """
    mine = [camera for camera in cameras if claims.get(camera) == own]
    quota = _quotas(len(cameras), claims, hosts)[own]
    keep, surplus = mine[:quota], mine[quota:]
    left = [camera for camera in cameras if claims.get(camera) not in hosts]
    free = [camera for camera in left if may_take_over or camera not in claims]
    take = free[: quota - len(keep)]
    known = set(cameras)
    removed = [camera for camera, run in claims.items() if run == own and camera not in known]
    return CameraShare(tuple(keep), tuple(take), (*surplus, *removed), len(left) - len(take))


def _quotas(cameras: int, claims: Mapping[CameraId, str], hosts: Mapping[str, int]) -> dict[str, int]:
    """Return how many cameras each host should have; hosts with many are the ones that have one more than others."""
    counts = dict.fromkeys(hosts, 0)
    for run in claims.values():
        if run in counts:
            counts[run] += 1
    order = sorted(hosts, key=lambda run: (-counts[run], run))
    quotas = dict.fromkeys(order, 0)
    left = cameras
    while left:
        open_ = [run for run in order if quotas[run] < hosts[run]][:left]
        if not open_:
            break
        for run in open_:
            quotas[run] += 1
        left -= len(open_)
    return quotas
