"""Switch a site to another embedder; known identities keep their global IDs.

    state of the last daemon ─┐
    crops of the store ───────┴▶ reembed ─▶ snapshot under the new bundle's keys ─▶ cams.yaml names the bundle
                                                                                 ─▶ state of the old bundle is deleted

No daemon may run meanwhile; the next one restores that snapshot. Vectors of the old bundle are deleted from Redis, as
later erasures would not reach them; to go back, activate the old bundle. Without a store or a kept state identities
start from nothing, which is reported before anything is changed.
"""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from reid_stream.assembly.identification import identification, open_state
from reid_stream.bundles.bundle import EmbedderBundle
from reid_stream.bundles.embedder_info import EmbedderInfo
from reid_stream.config.settings import Settings
from reid_stream.errors import BrokerError, ConfigError
from reid_stream.match.factory import matcher_for
from reid_stream.match.snapshot import MatcherState
from reid_stream.offline.reembed import ReembeddedIdentity, carried, reembed
from reid_stream.offline.rematch import read_store
from reid_stream.pipeline import Embed

if TYPE_CHECKING:
    import redis

    from reid_stream.journal.entry import StateKeys
    from reid_stream.journal.snapshot_store import SnapshotStore

_SEND_S = 10.0
"""Time for the last daemon's events to reach Redis."""


@dataclass(frozen=True, slots=True)
class Activation:
    """Result of `activate`."""

    carried: ReembeddedIdentity | None
    """Identities carried over; None where identities start from nothing."""
    new_ids_reason: str
    """Reason why identities start empty; empty if they do not."""
    embedded: int
    """Number of crops that were embedded."""
    seconds: float
    """Duration."""


def activate(
    settings: Settings,
    present: EmbedderBundle,
    other: tuple[EmbedderBundle, Embed],
    on_progress: Callable[[int, int], None] | None = None,
) -> Activation:
    """Write the state of a site for another bundle, from the crops of the store.

    Args:
        settings: of the site.
        present: the bundle in use.
        other: the new bundle and its network.
        on_progress: called with (tracks read, tracks in all).

    Raises:
        ConfigError: a daemon runs, or the store is broken.
        BrokerError: Redis does not serve.
    """
    began = time.perf_counter()
    if reason := new_ids_reason(settings):
        return Activation(None, reason, 0, time.perf_counter() - began)
    assert settings.store.folder is not None, "checked by new_ids_reason"
    earlier = _left(settings, present)
    bundle, embed = other
    read = read_store(settings.store.folder, bundle, embed, on_progress)
    state = reembed(earlier, read.tracks, bundle, settings.match, settings.site)
    _write(settings, bundle, state)
    return Activation(carried(earlier, state), "", read.embedded, time.perf_counter() - began)


def new_ids_reason(settings: Settings) -> str:
    """Return why the identities of a site cannot be carried over to another bundle; empty where they can."""
    if not settings.state.enabled:
        return "state.enabled is false: identities are not kept over a restart"
    if settings.store.folder is None:
        return "store.folder is not set: there are no crops to embed again"
    if not settings.store.folder.is_dir():
        return f"there is no store at {settings.store.folder}: there are no crops to embed again"
    return ""


def forget(settings: Settings, bundle: EmbedderBundle) -> None:
    """Delete the snapshots and the journal of a bundle from Redis.

    Raises:
        ConfigError: a daemon runs.
        BrokerError: Redis does not serve.
    """
    with _slots(settings, bundle) as (client, slots, names):
        client.delete(names.journal)
        for key in names.snapshots:
            slots.drop(key)


def name_in(cameras: Path, bundle: str) -> str | None:
    """Set `models.embedder` in cams.yaml, keeping its comments; return the earlier value.

    Raises:
        ConfigError: the file cannot be written.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.comments import CommentedMap

    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 10_000  # do not wrap lines
    text = cameras.read_text(encoding="utf-8")
    if re.search(r"^ +- ", text, re.MULTILINE):
        yaml.indent(mapping=2, sequence=4, offset=2)  # keep the indentation of lists
    document = yaml.load(text)
    models = document.setdefault("models", CommentedMap())
    before = models.get("embedder")
    models["embedder"] = bundle
    part = cameras.with_name(f".{cameras.name}.part")
    try:
        with part.open("w", encoding="utf-8") as file:
            yaml.dump(document, file)
        part.chmod(cameras.stat().st_mode)
        part.replace(cameras)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise ConfigError(
            f"{cameras} must be a file that can be written, {error.strerror}; set models.embedder: {bundle} in it"
        ) from error
    return str(before) if before is not None else None


def _left(settings: Settings, present: EmbedderBundle) -> MatcherState | None:
    """Return the state of the last daemon, its visits ended and published; None without any identity."""
    run = time.strftime("activate-%Y%m%dT%H%M%S", time.gmtime())
    with open_state(settings, EmbedderInfo.of(present), run=run) as opened:
        last = identification(settings, opened, run)
        last.commit(last.finish())
        state = opened.matcher.state()
        if not last.close(_SEND_S):
            raise BrokerError("the last daemon's events must be on Redis first, some are still on disk; try again")
    return state if state.people or state.next_number > 1 else None


def _write(settings: Settings, bundle: EmbedderBundle, state: MatcherState) -> None:
    """Write a state as the only snapshot of a bundle, replacing earlier state of that bundle."""
    from reid_stream.journal.snapshot import MatcherSettings
    from reid_stream.journal.snapshot import SnapshotHeader as Snapshot
    from reid_stream.publish.stream_ids import NOWHERE

    matcher = matcher_for(
        settings.match, EmbedderInfo.of(bundle), settings.site, topology=settings.topology, state=state
    )
    snapshot = Snapshot(
        place=-1,
        position=str(NOWHERE),
        run="",
        sequence=0,
        number=state.next_number - 1,
        made_at=time.time(),
        settings=MatcherSettings.of(settings.match, settings.publish, settings.topology),
        visits=[],
        taken={},
    )
    with _slots(settings, bundle) as (client, slots, names):
        client.delete(names.journal)
        slots.drop(names.snapshots[1])
        slots.write(names.snapshots[0], snapshot, matcher.capture().parts())
        client.set(names.current, bundle.hash)


@contextmanager
def _slots(settings: Settings, bundle: EmbedderBundle) -> "Iterator[tuple[redis.Redis, SnapshotStore, StateKeys]]":
    """Open the snapshot store of a bundle, holding the lease of the site."""
    from reid_stream.assembly.resources import redis_url
    from reid_stream.journal.entry import StateKeys
    from reid_stream.journal.lease import Lease
    from reid_stream.journal.snapshot_store import SnapshotStore
    from reid_stream.publish.redis_client import connect, translated

    names = StateKeys.of(settings.site, bundle.hash)
    with redis_url(settings) as url:
        lease = Lease(connect(settings.redis, url=url), names.lease, lasts_s=settings.state.lease_s, where=url)
        lease.take()
        client = connect(settings.redis, url=url)
        try:
            with translated(url):
                yield client, SnapshotStore(client, names), names
        finally:
            client.close()
            lease.give_back()
