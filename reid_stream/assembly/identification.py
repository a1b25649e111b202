"""The second half, wired: Redis, the matcher and presence, as the last daemon left them; `networks` wires the first.

lease ─▶ spool and sink ─▶ snapshot and journal ─▶ matcher, presence ─▶ keeper
"""

import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog

from reid_stream.bundles.embedder_info import EmbedderInfo
from reid_stream.config.settings import Match, Settings, TopologySettings
from reid_stream.events import Event
from reid_stream.match.factory import matcher_for
from reid_stream.match.matcher import Matcher
from reid_stream.match.presence import Presence
from reid_stream.match.snapshot import MatcherState
from reid_stream.publish.site_time import in_utc
from reid_stream.records import CameraId, Decision, Perceived
from reid_stream.runtime.interfaces import Sink

if TYPE_CHECKING:
    from reid_stream.journal.recorder import JournalRecorder
    from reid_stream.journal.recovery import Make
    from reid_stream.publish.embedded_redis import EmbeddedRedis
    from reid_stream.publish.redis_sink import RedisSink

_REPLAY_KEPT_S = 7 * 86_400
"""The state of a replay with a name stays for so long, should it be run again."""
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class IdentificationParts:
    """Identify, ready to be called."""

    matcher: Matcher
    presence: Presence
    match: Callable[[Sequence[Perceived], float], list[Decision]]
    present: Callable[[Sequence[Decision], float], list[Event]]
    finish: Callable[[], list[Event]]
    sink: Sink
    """Takes the events."""
    sending: "RedisSink | None"
    """The way to Redis; none where events go elsewhere."""
    keeper: "JournalRecorder | None"
    """What remembers; none where nothing is to be remembered."""
    where: str
    """Address of Redis, without secrets."""
    url: str | None
    """Of the embedded Redis, where it is one."""
    server: "EmbeddedRedis | None" = None


@contextmanager
def identity(
    settings: Settings,
    head: EmbedderInfo,
    *,
    run: str,
    continues: bool = False,
    fast: bool = False,
    sink: Sink | None = None,
    shift_s: Callable[[], float] = float,
) -> Iterator[IdentificationParts]:
    """Wire the second half; closed when the block ends.

    A live site goes on where its last daemon ended. A fast replay begins anew, so that it gives the same events every
    time, unless it bears a name (`continues`): then it goes on where the replay of that name ended.

    Args:
        settings: of cams.yaml.
        head: of the embedder.
        run: name of this run in events.
        continues: a run of this name may have been before.
        fast: a replay as fast as it goes.
        sink: takes the events instead of Redis; nothing is remembered then.
        shift_s: UTC less site time now, seconds.

    Raises:
        ConfigError: another daemon has the site or its spool.
        BrokerError: Redis does not serve.
    """
    if sink is not None:
        yield forgetful(settings, head, _UtcSink(sink, shift_s))
        return
    make = _maker(settings, head)
    with ExitStack() as opened:
        if settings.state.enabled and (continues or not fast):
            yield opened.enter_context(_remembering(settings, head, make, run, shift_s, continues=continues, fast=fast))
            return
        from reid_stream.assembly.resources import embedded_redis, redis_sink

        server = opened.enter_context(embedded_redis(settings))
        url = server.url if server is not None else settings.redis.url.get_secret_value()
        sending = opened.enter_context(
            redis_sink(settings, url, run, continues=continues, keeps_numbers=not fast, shift_s=shift_s)
        )
        matcher = make(settings.match, settings.topology, None, 1 if fast else sending.highest_number() + 1)
        presence = Presence(settings.publish)
        where, own = _address(settings, url)
        yield IdentificationParts(
            matcher,
            presence,
            matcher.update,
            presence.update,
            presence.close,
            sending,
            sending,
            None,
            where,
            own,
            server,
        )


@dataclass(frozen=True, slots=True)
class _UtcSink:
    """A sink that is given events with times in UTC."""

    sink: Sink
    shift_s: Callable[[], float]

    def publish(self, events: Sequence[Event]) -> None:
        self.sink.publish([in_utc(event, self.shift_s()) for event in events])

    def close(self, timeout_s: float) -> bool:
        return self.sink.close(timeout_s)


def forgetful(settings: Settings, head: EmbedderInfo, sink: Sink) -> IdentificationParts:
    """Wire a second half whose events go to `sink`, and that nobody goes on with."""
    matcher = _maker(settings, head)(settings.match, settings.topology, None, 1)
    presence = Presence(settings.publish)
    return IdentificationParts(
        matcher, presence, matcher.update, presence.update, presence.close, sink, None, None, "nowhere", None
    )


def records_run(run: str, *, continues: bool, fast: bool) -> str:
    """Name the run of a first half's records.

    Those of a live run begin anew with each process, even where the run's name is an earlier one's; a replay repeats
    its records, which are then known.
    """
    return f"{run}-{uuid.uuid4().hex[:6]}" if continues and not fast else run


@contextmanager
def _remembering(
    settings: Settings,
    head: EmbedderInfo,
    make: "Make",
    run: str,
    shift_s: Callable[[], float],
    *,
    continues: bool,
    fast: bool,
) -> Iterator[IdentificationParts]:
    from reid_stream.assembly.resources import embedded_redis, redis_sink
    from reid_stream.journal.entry import StringTable
    from reid_stream.journal.lease import Lease
    from reid_stream.journal.recorder import JournalRecorder
    from reid_stream.journal.recovery import recover
    from reid_stream.journal.snapshot import MatcherSettings
    from reid_stream.journal.snapshot_store import SnapshotStore
    from reid_stream.journal.snapshot_writer import SnapshotWriter
    from reid_stream.publish.event_numbers import next_sequence
    from reid_stream.publish.redis_client import connect, translated

    names = StringTable.of(settings.site, head.model, replay=run if fast else None)
    with ExitStack() as opened:
        server = opened.enter_context(embedded_redis(settings))
        url = server.url if server is not None else settings.redis.url.get_secret_value()
        lease = Lease(connect(settings.redis, url=url), names.lease, lasts_s=settings.state.lease_s, where=url)
        lease.take()
        opened.callback(lease.give_back)
        client = connect(settings.redis, url=url)
        opened.callback(client.close)
        sending = opened.enter_context(
            redis_sink(
                settings,
                url,
                run,
                continues=continues,
                keeps_numbers=not fast,
                journal=names.journal,
                fence=lease,
                shift_s=shift_s,
            )
        )
        slots = SnapshotStore(client, names)
        first_number = 1 if fast else sending.highest_number() + 1
        with translated(url):
            _say_if_anew(client, names.current, head.model)
            found = recover(
                slots,
                sending.spool.entries(names.journal),
                make=make,
                match=settings.match,
                publish=settings.publish,
                topology=settings.topology,
                first_number=first_number,
                known=lambda of, since: next_sequence(
                    client, sending.spool, where=url, site=settings.site, run=of, since=since
                ),
                run=run,
            )
        sending.recover(found.missing, found.presence.present())
        writer = SnapshotWriter(slots, names.snapshots, found.heads)
        keeper = JournalRecorder(
            found.matcher,
            found.presence,
            sending,
            writer,
            run=run,
            begun=found.begun,
            dials=MatcherSettings.of(settings.match, settings.publish, settings.topology),
            every_s=settings.state.snapshot_s,
            check=lease.check,
        )
        if fast:
            opened.callback(slots.expire, _REPLAY_KEPT_S)
        where, own = _address(settings, url)
        yield IdentificationParts(
            found.matcher,
            found.presence,
            keeper.match,
            keeper.present,
            keeper.finish,
            keeper,
            sending,
            keeper,
            where,
            own,
            server,
        )


def _maker(settings: Settings, head: EmbedderInfo) -> "Make":
    cameras = [CameraId(camera.id) for camera in settings.cameras if camera.enabled]

    def make(match: Match, topology: TopologySettings, state: MatcherState | None, first_number: int) -> Matcher:
        return matcher_for(
            match,
            head,
            settings.site,
            topology=topology,
            cameras=cameras,
            state=state,
            first_number=first_number,
        )

    return make


def _address(settings: Settings, url: str) -> tuple[str, str | None]:
    from reid_stream.publish.redis_client import public

    return public(url), url if settings.redis.is_embedded else None


def _say_if_anew(client: Any, key: str, model: str) -> None:
    """Say so where the people of the last daemon are known by another model's vectors."""
    found = client.getset(key, model)
    if found is not None and found.decode() != model:
        _log.warning(
            "identities_reset_other_model",
            was=found.decode()[:12],
            now=model[:12],
        )
