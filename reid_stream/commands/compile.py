"""`reid-stream compile`: build TensorRT engines before the first start on a GPU."""

from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reid_stream.bundles.bundle import Bundle
    from reid_stream.console.output import Output
    from reid_stream.engines.plan_cache import PlanCache
    from reid_stream.engines.tensorrt_library import Precision
    from reid_stream.images import UInt8


_PICTURES = (".jpg", ".jpeg", ".png")
_MOST_PICTURES = 64


class Arithmetic(StrEnum):
    """Arithmetic of the GPU."""

    f16 = "f16"
    bf16 = "bf16"
    f32 = "f32"


def compile_engines(
    bundle: Annotated[
        list[str] | None, typer.Argument(help="Folders or names of bundles. Default: both that are used.")
    ] = None,
    cameras: Annotated[Path | None, typer.Option(help="cams.yaml whose models are built.")] = None,
    arch: Annotated[
        str | None, typer.Option(help="GPU architectures, comma-separated: sm_86,sm_89. Default: this machine's.")
    ] = None,
    precision: Annotated[Arithmetic, typer.Option(help="Arithmetic of the GPU.")] = Arithmetic.f16,
    pictures: Annotated[
        Path | None,
        typer.Option(
            help="Folder of real crops or frames (of one bundle) to compare on. Default: the daemon compares later."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the engines. Default: $REID_STREAM_ENGINES, or the user's cache.")
    ] = None,
) -> None:
    """Build TensorRT engines; those in the cache that still fit are kept."""
    from reid_stream.console.output import Output
    from reid_stream.engines.plan_cache import PlanCache
    from reid_stream.engines.tensorrt_library import gpu_arch
    from reid_stream.errors import ConfigError

    console, gpu, plans = Output(error=True), gpu_arch(), PlanCache(out)
    named = [name.strip() for name in arch.split(",") if name.strip()] if arch else [gpu] if gpu else []
    if not named:
        raise ConfigError("compile needs the GPU architectures to build for where there is no GPU: --arch sm_86,sm_89")
    bundles = find_bundles(bundle or [], cameras)
    if pictures is not None and len(bundles) != 1:
        raise ConfigError(f"--pictures are of one bundle, got {len(bundles)}: name it")
    for folder, found in bundles:
        for one in named:
            shown = _shown(found, pictures) if pictures is not None and one == gpu else []
            _compile(found, folder, one, gpu, precision.value, plans, shown, console)


def _compile(
    bundle: "Bundle",
    folder: Path,
    arch: str,
    gpu: str | None,
    precision: "Precision",
    plans: "PlanCache",
    pictures: "Sequence[UInt8]",
    console: "Output",
) -> None:
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from reid_stream.bundles.bundle import MODEL_FILE
    from reid_stream.console.output import Output
    from reid_stream.console.printable import printable
    from reid_stream.engines.build import get_plan, key_of
    from reid_stream.engines.build_worker import BuildProgress as Step
    from reid_stream.engines.plan_check import check_plan
    from reid_stream.engines.tensorrt_library import library_for
    from reid_stream.errors import ModelError

    key = key_of(bundle, folder, library_for(arch, gpu), arch, precision)
    bar = Progress(
        TextColumn(f"{bundle.kind} {printable(bundle.name)} {arch} {precision}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} % {task.fields[phase]}"),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )

    with bar:
        task = bar.add_task("", total=1.0, phase="")

        def step(line: Step) -> None:
            bar.update(task, completed=line.share, phase=line.phase)

        found = get_plan(key, folder / MODEL_FILE, plans, report=console.say, progress=step)
    if plans.read(key)[0] is None:
        raise ModelError(f"compile must keep what it builds; {'; '.join(found.notes)}; name another folder with --out")
    parity = plans.checked(key, found.plan)
    if arch == gpu and (parity is None or pictures):
        parity = check_plan(bundle, folder, key, found.plan, plans, pictures)
    if parity is None:
        checked = "unchecked: compared with float32 when a GPU first loads it"
    elif parity.faults:
        raise ModelError(f"{bundle.kind} {bundle.name} for {arch} must agree with float32: {'; '.join(parity.faults)}")
    else:
        checked = f"agrees with float32 to {parity.difference:.4f}"
    Output().say(
        f"{bundle.kind} {bundle.name} {arch} {precision}: {found.origin}, {len(found.plan) / 2**20:.1f} MiB, "
        f"{key.library}, {plans.path(key)}; {checked}"
    )


def _shown(bundle: "Bundle", folder: Path) -> "list[UInt8]":
    """Return real pictures at the size that the network meets most, RGB (n, h, w, 3)."""
    import cv2
    import numpy as np

    from reid_stream.engines.build import profile_of
    from reid_stream.errors import ConfigError
    from reid_stream.images import decode, read_file, without_clutter

    height, width = profile_of(bundle.kind, (bundle.input.height, bundle.input.width)).usual
    files = sorted(path for path in without_clutter(folder.rglob("*"), folder) if path.suffix.lower() in _PICTURES)
    sized = []
    for path in files[:: max(1, len(files) // _MOST_PICTURES)][:_MOST_PICTURES]:
        with suppress(OSError, ValueError):  # no picture
            sized.append(cv2.resize(decode(read_file(path)), (width, height)))
    if not sized:
        raise ConfigError(f"--pictures must be a folder of pictures ({', '.join(_PICTURES)}), found none in {folder}")
    return [np.ascontiguousarray(sized, dtype=np.uint8)]


def find_bundles(names: list[str], cameras: Path | None = None) -> "list[tuple[Path, Bundle]]":
    """Return the named bundles; without names those of cams.yaml, or both that ship.

    Raises:
        ConfigError: names and cams.yaml were given.
        ModelError: a bundle is not found.
    """
    from reid_stream.bundles import catalog
    from reid_stream.config import cams_yaml
    from reid_stream.config.settings import Models
    from reid_stream.errors import ConfigError

    if names and cameras is not None:
        raise ConfigError("compile takes bundles or --cameras, got both")
    if names:
        return [found for name in names for found in catalog.any_bundles(name)]
    models = cams_yaml.load(cameras).models if cameras is not None else Models()
    return [catalog.detector(models.detector), catalog.embedder(models.embedder)]
