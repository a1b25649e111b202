"""Follow people across cameras: one global ID per person, every change an event on Redis.

Stages, each a package of that name, and the records between them:

    cameras ─▶ ingest ─▶ detect ─▶ track ─▶ embed ──Observations──▶ match ─▶ publish ─▶ Redis
               Frame     Detections Tracks   └──────── link ───────┘ Events
               └─────────── perceive (many, per node) ───┘          └── identify (one per site) ──┘

Reading order: records (data types), pipeline (order of the stages), runtime/daemon (threads, shutdown), then any stage.
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reid_stream.annotate.follow import follow as follow
    from reid_stream.publish.projection import Fold as Fold
    from reid_stream.publish.projection import SiteView as SiteView
    from reid_stream.publish.subscribe import subscribe as subscribe

__all__ = ["Fold", "SiteView", "__version__", "follow", "subscribe"]

try:
    __version__ = version("reid-stream")
except PackageNotFoundError:  # a checkout that is not installed
    __version__ = "0+unknown"


def __getattr__(name: str) -> Any:
    """Import the client at its first use, so that `import reid_stream` stays quick."""
    if name == "subscribe":
        from reid_stream.publish.subscribe import subscribe

        return subscribe
    if name == "follow":
        # Packages below `annotate` import this one.
        return import_module("reid_stream.annotate.follow").follow
    if name in {"SiteView", "Fold"}:
        from reid_stream.publish import projection

        return getattr(projection, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
