"""Claim cameras of the site's list for this host, by lease, on Redis.

    reid:{<site>}:cameras:list    what there is (`camera_list`)
    reid:{<site>}:cameras:hosts   run of a host -> its lease: until when, at most how many cameras
    reid:{<site>}:cameras:claims  camera -> run of the host that has it

A round is one transaction on both: renew the own lease, then do what `camera_shares` says about the cameras. Times are
those of Redis. A host counts its own lease from before the request, and as over at `_OWN_PART` of it, so that it has
closed its cameras before another may open them. A claim comes with the camera's next epoch on the link, so that what a
frozen host still sends after that is late.
"""

import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from reid_stream.config.settings import Camera
from reid_stream.errors import DECODE_ERRORS, BrokerError, ConfigError
from reid_stream.journal.lease import Owner
from reid_stream.link.redis_keys import epochs_key
from reid_stream.records import CameraId
from reid_stream.runtime.hosts.camera_list import decode_cameras, list_key
from reid_stream.runtime.hosts.camera_shares import CameraShare, share

if TYPE_CHECKING:
    import redis

MOST_HOSTS = 256
"""Hosts that share the cameras of a site."""
_OWN_PART = 0.75
_TRIES = 50
"""Attempts at a transaction that other hosts' rounds get in the way of."""
_LONGEST_LEASE_MS = 600_000
"""An entry that says it lasts longer is no host's."""
_FORGET_MS = 60_000
"""Time after its end when an entry of a host that has no cameras is removed."""
_log = structlog.get_logger(__name__)


def hosts_key(site: str) -> str:
    """Return the key of the hash with the leases of hosts."""
    return f"reid:{{{site}}}:cameras:hosts"


def claims_key(site: str) -> str:
    """Return the key of the hash with the host of each camera."""
    return f"reid:{{{site}}}:cameras:claims"


class HostLease(msgspec.Struct, frozen=True):
    """A host that shares cameras; its lease covers all that it has claimed."""

    name: str
    until_ms: int
    """End, milliseconds of Redis's clock."""
    max_cameras: int
    owner: Owner


def read_shared(client: "redis.Redis", site: str) -> tuple[tuple[Camera, ...], dict[CameraId, str]]:
    """Return the cameras that a site shares, none where it shares none, and the host of each that one has now.

    Raises:
        ConfigError: the list is none of this version.
        redis.RedisError: Redis does not answer or refuses.
    """
    commands: Any = client
    body = commands.hget(list_key(site), "cameras")
    cameras = () if body is None else decode_cameras(body)
    seconds, _ = commands.time()
    now_ms = int(seconds) * 1000
    hosts = _read_hosts(commands.hgetall(hosts_key(site)), now_ms)
    claims = commands.hgetall(claims_key(site))
    found = {CameraId(_text(camera)): hosts.get(_text(run)) for camera, run in claims.items()}
    return cameras, {camera: host.name for camera, host in found.items() if host is not None and host.until_ms > now_ms}


class CameraClaims:
    """Claims of one host; `renew` and `release` belong to one thread."""

    def __init__(
        self, client: "redis.Redis", site: str, *, run: str, host: str, lease_s: float, max_cameras: int
    ) -> None:
        """Send nothing yet.

        Args:
            client: Redis; closed by the caller.
            site: whose cameras.
            run: of this process.
            host: name of this host.
            lease_s: duration of the lease, seconds.
            max_cameras: that this host takes.
        """
        self.mine: Mapping[CameraId, Camera] = {}
        """Cameras that this host should read, as long as its lease lasts."""
        self.until = float("-inf")
        """Steady seconds at which this host's lease ends by its own count."""
        self.unclaimed = 0
        """Cameras of the site that no host has."""
        self.hosts: tuple[str, ...] = ()
        """Names of the hosts that share them."""
        self._client: Any = client
        self._list, self._hosts, self._claims = list_key(site), hosts_key(site), claims_key(site)
        self._epochs_key = epochs_key(site)
        self._run, self._host, self._owner = run, host, Owner.here()
        self._lease_s, self._max_cameras = lease_s, max_cameras
        self._revision: bytes | None = None
        self._listed: dict[CameraId, Camera] = {}
        self._epochs: dict[CameraId, int] = {}
        self._held: frozenset[CameraId] = frozenset()
        """Cameras whose claim was ours at the last round."""
        self._takes_over_at = float("-inf")
        self._has_joined = False

    def epoch_of(self, camera: CameraId) -> int:
        """Return the epoch of this host's latest claim of a camera; 0, which is late, if it never had one."""
        return self._epochs.get(camera, 0)

    def renew(self, is_open: Collection[CameraId]) -> None:
        """Renew the lease, claim cameras, and release those that are neither wanted nor open.

        `is_open`: cameras that are being read, opened or closed.

        Raises:
            BrokerError: there are too many hosts, or their rounds leave no room for this one.
            redis.RedisError: Redis does not answer or refuses.
        """
        import redis

        self._read_list()
        releasable = self._held - set(is_open) - set(self.mine)
        for _ in range(_TRIES):
            with suppress(redis.exceptions.WatchError):
                self._round(releasable)
                return
        raise BrokerError(f"{self._claims} must hold still for a moment, but changed {_TRIES} times in a row")

    def release(self) -> None:
        """Give up all claims and the lease, so that others need not wait; all cameras must be closed.

        Raises:
            redis.RedisError: Redis does not answer.
        """
        import redis

        self.mine, self.until = {}, float("-inf")
        for _ in range(_TRIES):
            with suppress(redis.exceptions.WatchError), self._client.pipeline(transaction=True) as commands:
                commands.watch(self._claims)
                claims = commands.hgetall(self._claims)
                own = [camera for camera, run in claims.items() if run == self._run.encode()]
                commands.multi()
                if own:
                    commands.hdel(self._claims, *own)
                commands.hdel(self._hosts, self._run)
                commands.execute()
                return

    def _read_list(self) -> None:
        revision = self._client.hget(self._list, "revision")
        if revision is None or revision == self._revision:
            return  # where Redis has lost the list, identification writes it again
        self._revision, body = self._client.hmget(self._list, "revision", "cameras")
        try:
            self._listed = {CameraId(camera.id): camera for camera in decode_cameras(body or b"")}
        except ConfigError as error:
            _log.error("camera_list_refused", reason=str(error))

    def _round(self, releasable: Collection[CameraId]) -> None:
        sent_at = time.monotonic()
        with self._client.pipeline(transaction=True) as commands:
            commands.watch(self._claims, self._hosts)
            seconds, micros = commands.time()
            now_ms = int(seconds) * 1000 + int(micros) // 1000
            found = commands.hgetall(self._claims)
            claims = {CameraId(_text(camera)): _text(run) for camera, run in found.items()}
            known = _read_hosts(commands.hgetall(self._hosts), now_ms)
            live = {run: host for run, host in known.items() if host.until_ms >= now_ms and not host.owner.is_gone()}
            self._note_outage(live)
            live[self._run] = HostLease(
                self._host, now_ms + round(self._lease_s * 1000), self._max_cameras, self._owner
            )
            if len(live) > MOST_HOSTS:
                raise BrokerError(f"at most {MOST_HOSTS} hosts can share cameras, found {len(live)}")
            shares = share(
                list(self._listed),
                claims,
                {run: host.max_cameras for run, host in live.items()},
                self._run,
                may_take_over=time.monotonic() >= self._takes_over_at,
            )
            released = set(releasable) - set(shares.keep)
            own = (*shares.keep, *shares.take)
            fresh = self._without_epoch(commands, own, set(shares.take))
            commands.multi()
            commands.hset(self._hosts, self._run, msgspec.json.encode(live[self._run]))
            if gone := _forgettable(known, set(claims.values()), now_ms):
                commands.hdel(self._hosts, *gone)
            dead = [one for one, run in found.items() if _text(one) not in self._listed and _text(run) not in live]
            if self._listed and (closed := [*released, *dead]):
                commands.hdel(self._claims, *closed)
            if shares.take:
                commands.hset(self._claims, mapping=dict.fromkeys(shares.take, self._run))
            for camera in fresh:
                commands.hincrby(self._epochs_key, camera, 1)
            answers = commands.execute()
        self._epochs |= dict(zip(fresh, map(int, answers[len(answers) - len(fresh) :]), strict=True))
        self._note(shares, sent_at, live)
        self._held = frozenset((*own, *shares.give_up)) - released

    def _note_outage(self, live: Mapping[str, HostLease]) -> None:
        """Leave others a lease's time to come back as well where this host's own lease has run out."""
        if self._has_joined and self._run not in live:
            self._takes_over_at = time.monotonic() + self._lease_s
        self._has_joined = True

    def _without_epoch(self, commands: Any, own: Collection[CameraId], taken: Collection[CameraId]) -> list[CameraId]:
        """Return the cameras that need an epoch: new ones, and those whose epoch on Redis is not the one we have."""
        if not own:
            return []
        found = dict(zip(own, commands.hmget(self._epochs_key, list(own)), strict=True))
        return [
            camera
            for camera, epoch in found.items()
            if camera in taken or camera not in self._held or epoch != str(self.epoch_of(camera)).encode()
        ]

    def _note(self, shares: CameraShare, sent_at: float, live: Mapping[str, HostLease]) -> None:
        hosts = tuple(sorted(host.name for host in live.values()))
        lost = set(self.mine) - {*shares.keep, *shares.give_up}
        given_up = set(self.mine) & set(shares.give_up)
        if shares.take or given_up or lost or (hosts, shares.unclaimed) != (self.hosts, self.unclaimed):
            _log.info(
                "cameras_shared",
                cameras=len(shares.keep) + len(shares.take),
                taken=",".join(shares.take),
                given_up=",".join(sorted(given_up)),
                lost=",".join(sorted(lost)),
                unclaimed=shares.unclaimed,
                hosts=",".join(hosts),
            )
        self.hosts, self.unclaimed = hosts, shares.unclaimed
        self.mine = {camera: self._listed[camera] for camera in (*shares.keep, *shares.take)}
        self.until = sent_at + self._lease_s * _OWN_PART


def _read_hosts(found: Mapping[bytes, bytes], now_ms: int) -> dict[str, HostLease]:
    """Return the entries that a host may have written."""
    hosts = {}
    for run, body in found.items():
        with suppress(*DECODE_ERRORS):
            host = msgspec.json.decode(body, type=HostLease)
            if host.until_ms <= now_ms + _LONGEST_LEASE_MS:
                hosts[_text(run)] = host
    return hosts


def _text(name: bytes) -> str:
    """Decode a name; one that another program wrote may be any bytes."""
    return name.decode(errors="replace")


def _forgettable(known: Mapping[str, HostLease], claiming: Collection[str], now_ms: int) -> list[str]:
    return [run for run, host in known.items() if host.until_ms < now_ms - _FORGET_MS and run not in claiming]
