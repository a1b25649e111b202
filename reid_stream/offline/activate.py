"""Go over to another embedder: the people that a site knows go on under their numbers, known by the new vectors.

    the last daemon's state ─┐
    crops of the store ──────┴▶ reembed ─▶ a snapshot under the new bundle's name ─▶ cams.yaml names the bundle
                                                                                  ─▶ the old bundle's state is deleted

No daemon may run meanwhile; the next one begins from that snapshot. Vectors of the old bundle are not left on Redis,
where nobody would erase them any more; going back is the same command. Without a store, or without a state that is
kept, people get new IDs, which is said before anything is changed.
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
"""The last daemon's events have so long to get to Redis."""


@dataclass(frozen=True, slots=True)
class Activation:
    """What was done."""

    carried: ReembeddedIdentity | None
    """Who goes on; none where identities start anew."""
    why_anew: str
    """Why they do; empty where they do not."""
    embedded: int
    """Crops."""
    seconds: float


def activate(
    settings: Settings,
    present: EmbedderBundle,
    other: tuple[EmbedderBundle, Embed],
    on_progress: Callable[[int, int], None] | None = None,
) -> Activation:
    """Let the people of a site be known by another bundle's vectors.

    Args:
        settings: of the site.
        present: the bundle in use.
        other: the one that follows, and its network.
        on_progress: told (tracks read, tracks in all).

    Raises:
        ConfigError: a daemon runs, or the store is broken.
        BrokerError: Redis does not serve.
    """
    began = time.perf_counter()
    if why := why_anew(settings):
        return Activation(None, why, 0, time.perf_counter() - began)
    assert settings.store.folder is not None, "why_anew asks for it"
    earlier = _left(settings, present)
    bundle, embed = other
    read = read_store(settings.store.folder, bundle, embed, on_progress)
    state = reembed(earlier, read.tracks, bundle, settings.match, settings.site)
    _write(settings, bundle, state)
    return Activation(carried(earlier, state), "", read.embedded, time.perf_counter() - began)


def why_anew(settings: Settings) -> str:
    """Say why the people of a site cannot go on under another bundle; empty where they can."""
    if not settings.state.enabled:
        return "state.enabled is false: no people are remembered over a restart"
    if settings.store.folder is None:
        return "store.folder is not set: there are no crops to embed anew"
    if not settings.store.folder.is_dir():
        return f"there is no store at {settings.store.folder}: there are no crops to embed anew"
    return ""


def forget(settings: Settings, bundle: EmbedderBundle) -> None:
    """Delete what daemons of a bundle left on Redis: its snapshots and its journal.

    Raises:
        ConfigError: a daemon runs.
        BrokerError: Redis does not serve.
    """
    with _slots(settings, bundle) as (client, slots, names):
        client.delete(names.journal)
        for key in names.snapshots:
            slots.drop(key)


def name_in(cameras: Path, bundle: str) -> str | None:
    """Write `models.embedder` into cams.yaml, whose comments stay; return what stood there.

    Raises:
        ConfigError: the file cannot be written.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.comments import CommentedMap

    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 10_000  # lines stay as long as they are
    text = cameras.read_text(encoding="utf-8")
    if re.search(r"^ +- ", text, re.MULTILINE):
        yaml.indent(mapping=2, sequence=4, offset=2)  # lists stay as far in as they are
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
    """Return what the last daemon knew, its visits ended and told; none where it knew nobody."""
    run = time.strftime("activate-%Y%m%dT%H%M%S", time.gmtime())
    with open_state(settings, EmbedderInfo.of(present), run=run) as opened:
        last = identification(settings, opened, run)
        last.commit(last.finish())
        state = opened.matcher.state()
        if not last.close(_SEND_S):
            raise BrokerError("the last daemon's events must be on Redis first, some are still on disk; try again")
    return state if state.people or state.next_number > 1 else None


def _write(settings: Settings, bundle: EmbedderBundle, state: MatcherState) -> None:
    """Make a state the only snapshot of a bundle; what an earlier daemon of that bundle left is gone."""
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
        dials=MatcherSettings.of(settings.match, settings.publish, settings.topology),
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
    """Open what a bundle's state is kept in, while no daemon has the site."""
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
