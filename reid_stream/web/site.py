"""The parts of the console of one site, opened together."""

import functools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from reid_stream.bundles import catalog
from reid_stream.config.settings import Redis, Settings
from reid_stream.explain.pair import Explainer
from reid_stream.images import UInt8
from reid_stream.operators.client import InstructionClient
from reid_stream.operators.listing import list_identities
from reid_stream.pipeline import Detect
from reid_stream.publish.embedded_redis import default_directory, running_url
from reid_stream.publish.redis_client import check, connect
from reid_stream.publish.subscribe import Subscription, subscribe
from reid_stream.records import Box, CameraId, Floats, Frame
from reid_stream.runtime.previews import previews_folders
from reid_stream.web.camera_list import CameraList
from reid_stream.web.daemon_metrics import DaemonMetrics
from reid_stream.web.directory import Directory
from reid_stream.web.explanations import Explanations
from reid_stream.web.feed import Feed
from reid_stream.web.limits import Limits
from reid_stream.web.overview import Overview
from reid_stream.web.previews import PreviewHub
from reid_stream.web.review import Reviews
from reid_stream.web.search import Loaded, Search
from reid_stream.web.sessions import Sessions
from reid_stream.web.track_index import TrackIndex

_TIMEOUT_S = 10.0
"""Longest wait for an answer of Redis; blocking reads last up to a second."""


@dataclass(frozen=True, slots=True)
class WebSite:
    """All parts that the application uses."""

    settings: Settings
    cameras: CameraList
    """The current cameras; `settings.cameras` are those of the start."""
    feed: Feed
    index: TrackIndex
    directory: Directory
    search: Search
    explanations: Explanations
    overview: Overview
    reviews: Reviews
    instructions: InstructionClient
    sessions: Sessions
    limits: Limits
    previews: PreviewHub


@contextmanager
def open_site(
    settings: Settings, load: Callable[[], Loaded] | None = None, path: Path | None = None
) -> Iterator[WebSite]:
    """Open the parts; closed when the block ends.

    Args:
        settings: of cams.yaml.
        load: loads the networks of a search; None for those of the settings.
        path: of the cams.yaml that `settings` come from, to follow its cameras; None for cameras that never change.

    Raises:
        ConfigError: others than this machine could come in without being known.
        ModelError: a bundle cannot be read.
        BrokerError: Redis does not serve.
    """
    sessions = Sessions(settings.web)
    _, detector = catalog.detector(settings.models.detector)
    _, embedder = catalog.embedder(settings.models.embedder)
    url, site = redis_url(settings), settings.site
    client = connect(settings.redis, url=url, timeout_s=_TIMEOUT_S)
    check(client, url)

    def follow(start: str) -> Subscription:
        # Found again at each connection: a daemon that starts again may have moved its Redis.
        return subscribe(redis_url(settings), site=site, start=start, settings=settings.redis, block_s=0)

    def labels() -> dict[str, str]:
        return {row.person: row.label for row in list_identities(client, site, url) if row.label}

    feed, cameras = Feed(follow, labels), CameraList(settings, path)
    with ExitStack() as opened:
        opened.callback(client.close)
        opened.callback(feed.close)
        index = TrackIndex(settings.store.folder)
        directory = Directory(feed, index)
        search = Search(index, directory, load or (lambda: load_networks(settings)), embedder, settings.match)
        previews = PreviewHub(previews_folders(settings), directory.name_of, blur=settings.web.blur)
        opened.callback(previews.close)
        yield WebSite(
            settings=settings,
            cameras=cameras,
            feed=feed,
            index=index,
            directory=directory,
            search=search,
            explanations=Explanations(index, lambda: load_explainer(settings), blur=settings.web.blur),
            overview=Overview(
                settings,
                cameras,
                feed,
                index,
                DaemonMetrics(settings.observe.host, settings.observe.port),
                [detector, embedder],
                client,
            ),
            reviews=Reviews(client, site, url, feed, index, directory, search),
            instructions=InstructionClient(client, site, url),
            sessions=sessions,
            limits=Limits(),
            previews=previews,
        )


def redis_url(settings: Settings) -> str:
    """Return the URL of the site's Redis.

    Raises:
        BrokerError: it is an embedded one, and no daemon runs it.
    """
    redis: Redis = settings.redis
    if not redis.is_embedded:
        return redis.url.get_secret_value()
    return running_url(redis.directory or default_directory(settings.site))


def load_explainer(settings: Settings) -> Explainer:
    """Load the site's embedder for explanations, on one thread so that the daemon keeps its cores.

    Raises:
        ModelError: the bundle is missing or broken, or its network cannot be explained.
    """
    folder, _ = catalog.embedder(settings.models.embedder)
    return Explainer(folder, threads=1)


def load_networks(settings: Settings) -> Loaded:
    """Load the site's networks for searches, on one thread so that the daemon keeps its cores.

    Raises:
        ModelError: a bundle is missing or broken, or its network computes something else here.
    """
    from reid_stream.runtime import networks as runtime

    modest = settings.models.model_copy(update={"threads": 1})
    bundle, embedder, _ = runtime.load_embedder(modest, settings.embed)

    @functools.cache
    def detector() -> Detect:
        # Few pictures show more than one person.
        return runtime.load_detector(settings.model_copy(update={"models": modest}))[1]

    def embed(image: UInt8) -> Floats:
        return np.asarray(embedder([image])[0], dtype=np.float32)

    def find(image: UInt8) -> list[Box]:
        found = detector()([Frame(CameraId("upload"), 0, 0.0, "file", image)])[0]
        wanted = found.boxes[found.scores >= settings.embed.min_score]
        return [(float(x1), float(y1), float(x2), float(y2)) for x1, y1, x2, y2 in wanted]

    return Loaded(bundle, embed, find)
