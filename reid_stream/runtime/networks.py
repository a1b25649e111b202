"""Load and check the two networks of a site, and make the perception that runs them."""

import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from reid_stream.bundles import catalog
from reid_stream.bundles.bundle import (
    BUNDLE_FILE,
    Bundle,
    DetectorBundle,
    EmbedderBundle,
    check_probe,
    probe_input,
)
from reid_stream.bundles.network_file import network_file
from reid_stream.config.settings import Camera, Models, Settings
from reid_stream.config.settings import Embed as EmbedSettings
from reid_stream.engines.protocol import PixelEngine
from reid_stream.errors import ModelError
from reid_stream.images import Unread
from reid_stream.pipeline import (
    Attend,
    Detect,
    Embed,
    Follow,
    Keep,
    PerceiveCounts,
    Perception,
    Select,
    StageWrapper,
    unwrapped,
)
from reid_stream.records import CameraId, Frame, Pick, Tracks

if TYPE_CHECKING:
    from collections.abc import Mapping

    from reid_stream.detect.yolo import Detector as Yolo
    from reid_stream.detect.zones import Zones
    from reid_stream.ingest.convert import GpuConverter


@dataclass(frozen=True, slots=True)
class Networks:
    """The two networks, ready to run, with their bundles and engines."""

    detect: Detect
    embed: Embed
    detector: DetectorBundle
    embedder: EmbedderBundle
    detector_engine: PixelEngine
    embedder_engine: PixelEngine
    change_zones: "Callable[[Mapping[CameraId, Zones]], None]"
    """Makes the detector use other zones."""

    def change_cameras(self, cameras: Iterable[Camera]) -> None:
        """Use the zones of these cameras."""
        from reid_stream.detect.zones import zones_of

        self.change_zones(zones_of(cameras))


def load_networks(settings: Settings, clock: Callable[[], float] | None = None) -> Networks:
    """Load both bundles, build their engines and check the engines' outputs.

    Args:
        settings: of the site.
        clock: for live cameras, see `load_detector`.

    Raises:
        ModelError: a bundle is missing, broken or of the wrong kind, or its network gives other outputs here.
    """
    detector, detect, finds = load_detector(settings, clock)
    embedder, embed, embeds = load_embedder(settings.models, settings.embed)
    return Networks(
        detect=detect,
        embed=embed,
        detector=detector,
        embedder=embedder,
        detector_engine=finds,
        embedder_engine=embeds,
        change_zones=detect.change_zones,
    )


def load_detector(
    settings: Settings, clock: Callable[[], float] | None = None
) -> "tuple[DetectorBundle, Yolo, PixelEngine]":
    """Load the detector's bundle, build its engine and check the engine's output.

    Args:
        settings: of the site.
        clock: to choose between whole frames and packed regions by what they cost here; None to choose by their areas,
            so that a replay repeats.

    Raises:
        ModelError: see `load_networks`.
    """
    from reid_stream.detect.yolo import Detector
    from reid_stream.detect.yolo import spec_of as detector_spec
    from reid_stream.detect.zones import zones_of
    from reid_stream.engines.load import load_engine

    folder, bundle = catalog.detector(settings.models.detector)
    yolo = detector_spec(bundle)
    engine = _checked(
        bundle, load_engine(network_file(folder), settings.models, pixels=yolo.pixels, bundle=bundle), folder
    )
    detector = Detector(engine, yolo, settings.detect, zones_of(settings.cameras), clock)
    if clock is not None and settings.detect.gate == settings.detect.packing == "auto":
        threading.Thread(target=_warm_up, args=(detector,), name="warm-up", daemon=True).start()
    return bundle, detector, engine


def _warm_up(detector: "Yolo") -> None:
    """Prepare a detector for packed regions; if that fails, it continues with whole frames."""
    with suppress(ModelError):
        detector.warm_up()


def load_embedder(models: Models, settings: EmbedSettings) -> tuple[EmbedderBundle, Embed, PixelEngine]:
    """Load the embedder's bundle, build its engine and check the engine's output.

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
        bundle, load_engine(network_file(folder), models, pixels=pixels_of(crops), size=size, bundle=bundle), folder
    )
    return bundle, Vectors(engine, crops, bundle.dim, settings), engine


def make_perception(
    settings: Settings,
    networks: Networks,
    run: str,
    stage: StageWrapper = unwrapped,
    *,
    counts: PerceiveCounts | None = None,
    keep: Keep | None = None,
    show: Callable[[Frame, Tracks], None] | None = None,
    attend: Attend = lambda *_: None,
) -> Perception:
    """Return perception that runs the networks.

    Args:
        settings: of the site.
        networks: detector and embedder.
        run: of its tracks.
        stage: wraps the stages "detect", "gate", "track", "select" and "embed".
        counts: continued; None to start from 0.
        keep: stores crops; None where they are not stored.
        show: takes every frame with its tracks, for previews; None for none.
        attend: see `Perception.attend`.
    """
    from reid_stream.detect.gate import MotionGate
    from reid_stream.embed.selector import Selector
    from reid_stream.track.tracker import Tracker

    gate, selector = MotionGate(settings.detect), Selector(settings.embed)

    def new_follow(first_id: int) -> Follow:
        return stage("track", Tracker(settings.track, first_id).update)

    def forget(camera: CameraId) -> None:
        gate.forget(camera)
        selector.forget(camera)

    return Perception(
        run=run,
        model=networks.embedder.hash,
        detect=stage("detect", networks.detect),
        follow={CameraId(camera.id): new_follow(0) for camera in settings.cameras},
        select=stage("select", _shown(selector, show)),
        embed=stage("embed", networks.embed),
        keep=keep,
        gate=stage("gate", gate) if settings.detect.gate == "auto" else None,
        attend=attend,
        counts=counts or PerceiveCounts(),
        new_follow=new_follow,
        forget=forget,
    )


def _shown(select: Select, show: Callable[[Frame, Tracks], None] | None) -> Select:
    """Show each frame with its tracks before its crops are chosen."""
    if show is None:
        return select

    def shown(frame: Frame, tracks: Tracks) -> list[Pick]:
        if not isinstance(frame.image, Unread):
            show(frame, tracks)
        return select(frame, tracks)

    return shown


def take_over(settings: Settings) -> "GpuConverter | None":
    """Return what keeps decoded images in GPU memory, None unless `ingest.gpu_frames` asks for it.

    Raises:
        ModelError: torch is not installed.
    """
    if not settings.ingest.gpu_frames:
        return None
    try:
        from reid_stream.engines import nvdec
    except ImportError as error:
        raise ModelError(f"ingest.gpu_frames needs the package {error.name}: pip install 'reid-stream[gpu]'") from error
    return nvdec.NvdecConverter()


def _checked(bundle: Bundle, engine: PixelEngine, folder: Path) -> PixelEngine:
    """Check the engine's output on the bundle's probe."""
    try:
        check_probe(bundle, engine(probe_input(bundle)))
    except ModelError as error:
        raise ModelError(
            f"{bundle.kind} {folder} must give the outputs stored in its {BUNDLE_FILE}: {error}"
        ) from error
    return engine
