"""The two networks of a site, loaded and checked, and the first half that runs them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, Protocol, TypeVar

from reid_stream.bundles import catalog
from reid_stream.bundles.bundle import (
    BUNDLE_FILE,
    MODEL_FILE,
    Bundle,
    DetectorBundle,
    EmbedderBundle,
    check_probe,
    probe_input,
)
from reid_stream.config.settings import Embed as EmbedSettings
from reid_stream.config.settings import Models, Settings
from reid_stream.engines.protocol import PixelEngine
from reid_stream.errors import ModelError
from reid_stream.pipeline import Detect, Embed, Keep, PerceiveCounts, Perception
from reid_stream.records import CameraId
from reid_stream.runtime.watchdog import Pulse

if TYPE_CHECKING:
    from reid_stream.ingest.convert import GpuConverter

P = ParamSpec("P")
R = TypeVar("R")


class Timer(Protocol):
    """Takes the time of each call of a stage; `metrics.Metrics`."""

    def timed(self, stage: str, call: Callable[P, R]) -> Callable[P, R]:
        """Wrap a stage."""
        ...


@dataclass(frozen=True, slots=True)
class Networks:
    """The two networks, ready to run, and where they came from."""

    detect: Detect
    embed: Embed
    detector: DetectorBundle
    embedder: EmbedderBundle
    detector_engine: PixelEngine
    embedder_engine: PixelEngine


def load_networks(settings: Settings) -> Networks:
    """Load both bundles, build their engines and make sure that they compute what they should.

    Raises:
        ModelError: a bundle is missing, broken or of the wrong kind, or its network computes something else here.
    """
    from reid_stream.detect.yolo import Detector as Yolo
    from reid_stream.detect.yolo import spec_of as detector_spec
    from reid_stream.detect.zones import zones_of
    from reid_stream.engines.load import load_engine

    folder, detector = catalog.detector(settings.models.detector)
    yolo = detector_spec(detector)
    finds = _checked(
        detector, load_engine(folder / MODEL_FILE, settings.models, pixels=yolo.pixels, bundle=detector), folder
    )
    embedder, embed, embeds = load_embedder(settings.models, settings.embed)
    return Networks(
        detect=Yolo(finds, yolo, settings.detect, zones_of(settings.cameras)),
        embed=embed,
        detector=detector,
        embedder=embedder,
        detector_engine=finds,
        embedder_engine=embeds,
    )


def load_embedder(models: Models, settings: EmbedSettings) -> tuple[EmbedderBundle, Embed, PixelEngine]:
    """Load the embedder's bundle, build its engine and make sure that it computes what it should.

    Raises:
        ModelError: see `load_networks`.
    """
    from reid_stream.embed.embedder import Embedder as Vectors
    from reid_stream.embed.embedder import pixels_of, spec_of
    from reid_stream.engines.load import load_engine

    folder, bundle = catalog.embedder(models.embedder)
    crops = spec_of(bundle.input)
    size = (crops.height, crops.width)
    engine = _checked(
        bundle, load_engine(folder / MODEL_FILE, models, pixels=pixels_of(crops), size=size, bundle=bundle), folder
    )
    return bundle, Vectors(engine, crops, bundle.dim, settings), engine


def perceive(
    settings: Settings,
    networks: Networks,
    run: str,
    timer: Timer,
    *,
    pulse: Pulse | None = None,
    counts: PerceiveCounts | None = None,
    keep: Keep | None = None,
) -> Perception:
    """Wire the first half; `pulse` tells of its thread, `counts` goes on counting, `keep` takes the crops."""
    pulse = pulse or Pulse()

    def stage(name: str, call: Callable[P, R]) -> Callable[P, R]:
        return pulse.watched(name, timer.timed(name, call))

    from reid_stream.embed.selector import Selector
    from reid_stream.track.tracker import Tracker

    return Perception(
        run=run,
        model=networks.embedder.hash,
        detect=stage("detect", networks.detect),
        follow={CameraId(camera.id): stage("track", Tracker(settings.track).update) for camera in settings.cameras},
        select=stage("select", Selector(settings.embed)),
        embed=stage("embed", networks.embed),
        keep=keep,
        counts=counts or PerceiveCounts(),
    )


def take_over(settings: Settings) -> "GpuConverter | None":
    """What leaves pictures in the memory of the GPU that decoded them, where `ingest.gpu_frames` asks for it.

    Raises:
        ModelError: torch is not there.
    """
    if not settings.ingest.gpu_frames:
        return None
    try:
        from reid_stream.engines import nvdec
    except ImportError as error:
        raise ModelError(f"ingest.gpu_frames needs the package {error.name}: pip install 'reid-stream[gpu]'") from error
    return nvdec.NvdecConverter()


def _checked(bundle: Bundle, engine: PixelEngine, folder: Path) -> PixelEngine:
    """Run the bundle's probe through the engine."""
    try:
        check_probe(bundle, engine(probe_input(bundle)))
    except ModelError as error:
        raise ModelError(f"{bundle.kind} {folder} must compute what its {BUNDLE_FILE} says: {error}") from error
    return engine
