"""Open the state of a site as the last daemon left it, and continue identification from it.

lease ─▶ spool and sink ─▶ snapshot and journal ─▶ matcher, presence (`open_state`) ─▶ `identification`
"""

import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import structlog

from reid_stream.assembly.resources import embedded_redis, redis_sink
from reid_stream.assembly.site_state import OpenJournal, SiteState
from reid_stream.bundles.embedder_info import EmbedderInfo
from reid_stream.config.settings import Match, Settings, TopologySettings
from reid_stream.errors import ConfigError, StoppedError
from reid_stream.events import Event
from reid_stream.instructions import Instruction
from reid_stream.journal.direct import DirectIdentification, EventSink
from reid_stream.match.factory import matcher_for
from reid_stream.match.matcher import Matcher
from reid_stream.match.presence import Presence
from reid_stream.match.snapshot import MatcherState
from reid_stream.pipeline import DecisionListener, Identification, StageWrapper, unwrapped
from reid_stream.publish.site_time import in_utc
from reid_stream.records import CameraId
from reid_stream.runtime.interfaces import Sink

if TYPE_CHECKING:
    from reid_stream.journal.lease import Lease
    from reid_stream.journal.recorder import JournalRecorder
    from reid_stream.journal.recovery import Make
    from reid_stream.publish.embedded_redis import EmbeddedRedis
    from reid_stream.publish.redis_sink import RedisSink

_REPLAY_KEPT_S = 7 * 86_400
"""Time that the state of a named replay is kept, in case it runs again."""
_log = structlog.get_logger(__name__)


class Standby(Protocol):
    """Daemon that waits for a site to be free."""

    def is_over(self) -> bool:
        """Return whether waiting must end."""
        ...

    def waits(self, holder: str) -> None:
        """Note which daemon runs the site."""
        ...

    def took_over(self) -> None:
        """Note that the site is this daemon's now."""
        ...


@contextmanager
def open_state(
    settings: Settings,
    embedder: EmbedderInfo,
    *,
    run: str,
    continues: bool = False,
    fast: bool = False,
    sink: EventSink | None = None,
    shift_s: Callable[[], float] = float,
    standby: Standby | None = None,
    has_hosts: bool = False,
) -> Iterator[SiteState]:
    """Open a site's state; closed when the block ends.

    A live site continues where its last daemon ended. A fast replay starts with an empty state, so that it gives the
    same events every time, unless it has a name (`continues`): then it continues where the replay of that name ended.

    Args:
        settings: of cams.yaml.
        embedder: whose vectors identify people.
        run: name of this run in events.
        continues: an earlier run may have had this name.
        fast: a replay as fast as possible.
        sink: takes the events instead of Redis; the state then ends with the process.
        shift_s: returns UTC less site time now, seconds.
        standby: waits while another daemon runs the site; None to refuse then.
        has_hosts: perception runs on other hosts and has gone on, with its tracks, since the last daemon ended.

    Raises:
        ConfigError: another daemon uses the site or its spool, or `standby` has no Redis to share.
        BrokerError: Redis cannot be reached.
        StoppedError: `standby` ended before the site was free.
    """
    if standby is not None and settings.redis.is_embedded:
        raise ConfigError(
            "redis.url must name a Redis that all daemons of the site share for --standby, found embedded"
        )
    if sink is not None:
        yield unrecorded_state(settings, embedder, _UtcSink(sink, shift_s))
        return
    make = _matcher_maker(settings, embedder)
    with ExitStack() as opened:
        if settings.state.enabled and (continues or not fast):
            yield opened.enter_context(
                _recorded_state(
                    settings, embedder, make, run, shift_s, standby, continues=continues, fast=fast, has_hosts=has_hosts
                )
            )
            return
        server = opened.enter_context(embedded_redis(settings))
        url = server.url if server is not None else settings.redis.url.get_secret_value()
        # A fast replay without a name belongs to no site.
        lease = None if fast else opened.enter_context(_lease(settings, embedder, url, standby=standby))
        redis = opened.enter_context(
            redis_sink(settings, url, run, continues=continues, keeps_numbers=not fast, fence=lease, shift_s=shift_s)
        )
        matcher = make(settings.match, settings.topology, None, 1 if fast else redis.highest_number() + 1)
        state = _state(settings, matcher, Presence(settings.publish), redis, server, None)
        yield state if lease is None else replace(state, check=lease.check, lease=lease)


@contextmanager
def _lease(
    settings: Settings, embedder: EmbedderInfo, url: str, replay: str | None = None, standby: Standby | None = None
) -> "Iterator[Lease]":
    """Hold the lease on the site, or on a replay of it, while the block runs."""
    from reid_stream.journal.entry import StateKeys
    from reid_stream.journal.lease import Lease
    from reid_stream.publish.redis_client import connect

    key = StateKeys.of(settings.site, embedder.model, replay=replay).lease
    lease = Lease(connect(settings.redis, url=url), key, lasts_s=settings.state.lease_s, where=url)
    try:
        if standby is None:
            lease.take()
        elif lease.stand_by(standby.is_over, standby.waits):
            standby.took_over()
        else:
            raise StoppedError("stopped on standby")
        yield lease
    finally:
        lease.give_back()


def unrecorded_state(settings: Settings, embedder: EmbedderInfo, sink: Sink) -> SiteState:
    """Return an empty state whose events go to `sink`, and that ends with the process."""
    matcher = _matcher_maker(settings, embedder)(settings.match, settings.topology, None, 1)
    return SiteState(matcher, Presence(settings.publish), sink, None, None, "nowhere", None)


def identification(
    settings: Settings,
    state: SiteState,
    run: str,
    *,
    instructions: Callable[[], Sequence[Instruction]] = tuple,
    listeners: Sequence[DecisionListener] = (),
    stage: StageWrapper = unwrapped,
) -> DirectIdentification:
    """Return the identification that continues a state: a `JournalRecorder` where the state has a journal.

    Args:
        settings: of cams.yaml.
        state: where it continues.
        run: name of this run in events.
        instructions: returns the operator instructions since its last call.
        listeners: called with the decisions of each step.
        stage: wraps the stages "match" and "presence".
    """
    steps = Identification(state.matcher, state.presence, listeners=listeners, stage=stage)
    if state.journal is None:
        return DirectIdentification(steps, state.sink, instructions=instructions, check=state.check)
    return recorder(settings, steps, state.journal, run, instructions)


def recorder(
    settings: Settings,
    steps: Identification,
    journal: OpenJournal,
    run: str,
    instructions: Callable[[], Sequence[Instruction]] = tuple,
) -> "JournalRecorder":
    """Return the identification that continues a journal."""
    from reid_stream.journal.recorder import JournalRecorder
    from reid_stream.journal.snapshot import MatcherSettings

    return JournalRecorder(
        steps,
        journal.sink,
        journal.writer,
        run=run,
        position=journal.position,
        settings=MatcherSettings.of(settings.match, settings.publish, settings.topology),
        every_s=settings.state.snapshot_s,
        instructions=instructions,
        check=journal.check,
    )


def records_run(run: str, *, continues: bool, fast: bool) -> str:
    """Return the run of perception's records.

    Each process of a live run needs another one, since its track numbers start from 0. A replay repeats its records,
    which identification then recognizes.
    """
    return f"{run}-{uuid.uuid4().hex[:6]}" if continues and not fast else run


@dataclass(frozen=True, slots=True)
class _UtcSink:
    """Converts site time in events to UTC, as `RedisSink` does."""

    sink: EventSink
    shift_s: Callable[[], float]

    def publish(self, events: Sequence[Event]) -> None:
        self.sink.publish([in_utc(event, self.shift_s()) for event in events])

    def close(self, timeout_s: float) -> bool:
        return self.sink.close(timeout_s)

    def ready(self) -> tuple[bool, str]:
        return True, "nowhere"


@contextmanager
def _recorded_state(
    settings: Settings,
    embedder: EmbedderInfo,
    make: "Make",
    run: str,
    shift_s: Callable[[], float],
    standby: Standby | None,
    *,
    continues: bool,
    fast: bool,
    has_hosts: bool,
) -> Iterator[SiteState]:
    from reid_stream.journal.entry import StateKeys
    from reid_stream.journal.recovery import recover
    from reid_stream.journal.snapshot_store import SnapshotStore
    from reid_stream.journal.snapshot_writer import SnapshotWriter
    from reid_stream.publish.event_numbers import next_sequence
    from reid_stream.publish.redis_client import connect, translated

    keys = StateKeys.of(settings.site, embedder.model, replay=run if fast else None)
    with ExitStack() as opened:
        server = opened.enter_context(embedded_redis(settings))
        url = server.url if server is not None else settings.redis.url.get_secret_value()
        lease = opened.enter_context(_lease(settings, embedder, url, replay=run if fast else None, standby=standby))
        client = connect(settings.redis, url=url)
        opened.callback(client.close)
        redis = opened.enter_context(
            redis_sink(
                settings,
                url,
                run,
                continues=continues,
                keeps_numbers=not fast,
                journal=keys.journal,
                fence=lease,
                shift_s=shift_s,
            )
        )
        store = SnapshotStore(client, keys)
        first_number = 1 if fast else redis.highest_number() + 1
        with translated(url):
            _warn_of_other_model(client, keys.current, embedder.model)
            found = recover(
                store,
                redis.spool.entries(keys.journal),
                make=make,
                match=settings.match,
                publish=settings.publish,
                topology=settings.topology,
                first_number=first_number,
                known=lambda of, since: next_sequence(
                    client, redis.spool, where=url, site=settings.site, run=of, since=since
                ),
                run=None if has_hosts else run,
            )
        redis.recover(found.missing, found.presence.present())
        writer = SnapshotWriter(store, keys.snapshots, found.heads)
        redis.when_lost(writer.write_again)
        redis.when_lost(lambda: _put_model(settings, url, keys.current, embedder.model))
        if fast:
            opened.callback(store.expire, _REPLAY_KEPT_S)
        journal = OpenJournal(redis, writer, found.position, lease.check)
        state = _state(settings, found.matcher, found.presence, redis, server, journal)
        yield replace(state, lease=lease)


def _matcher_maker(settings: Settings, embedder: EmbedderInfo) -> "Make":
    cameras = [CameraId(camera.id) for camera in settings.cameras if camera.enabled]

    def make(match: Match, topology: TopologySettings, state: MatcherState | None, first_number: int) -> Matcher:
        return matcher_for(
            match,
            embedder,
            settings.site,
            topology=topology,
            cameras=cameras,
            state=state,
            first_number=first_number,
        )

    return make


def _state(
    settings: Settings,
    matcher: Matcher,
    presence: Presence,
    redis: "RedisSink",
    server: "EmbeddedRedis | None",
    journal: OpenJournal | None,
) -> SiteState:
    from reid_stream.publish.redis_client import public

    if server is None:
        url = settings.redis.url.get_secret_value()
        return SiteState(matcher, presence, redis, redis, journal, public(url), None)
    redis.server_fault = lambda: server.fault
    return SiteState(matcher, presence, redis, redis, journal, public(server.url), server.url)


def _warn_of_other_model(client: Any, key: str, model: str) -> None:
    """Log a warning if the last daemon's identities have vectors of another model, which cannot be compared."""
    import redis

    try:
        found = client.getset(key, model)
    except redis.exceptions.ResponseError as error:
        if "WRONGTYPE" not in str(error):
            raise
        client.set(key, model)
        found = b"another type"
    if found is None or (was := found.decode(errors="replace")) == model:
        return
    scope = key.removesuffix("current")
    if not client.exists(*(f"{scope}{was[:16]}:{part}" for part in ("journal", "snapshot:a", "snapshot:b"))):
        _log.error("state_key_invalid", key=key, reason=f"it must name a model with a state here, found {was[:20]!r}")
    else:
        _log.warning("identities_reset_other_model", was=was[:12], now=model[:12])


def _put_model(settings: Settings, url: str, key: str, model: str) -> None:
    """Write again the key that names the model of the latest state."""
    from reid_stream.publish.redis_client import connect

    with connect(settings.redis, url=url) as client:
        client.set(key, model)
