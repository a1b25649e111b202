"""Build an engine from a model file with the fastest library that is installed.

`auto` takes, on a machine with an NVIDIA GPU, TensorRT, and torch until that engine is built; else OpenVINO, then ONNX
Runtime: measured on a server core, OpenVINO in bf16 is about twice as fast.
"""

from importlib.util import find_spec
from pathlib import Path

import structlog

from reid_stream.bundles.bundle import Bundle
from reid_stream.config.settings import Models
from reid_stream.engines.protocol import PixelEngine, Pixels
from reid_stream.engines.tensorrt_library import gpu_arch, library_for
from reid_stream.errors import ModelError

_INSTALL = {
    "openvino": "the package openvino, part of the base install: pip install reid-stream",
    "onnx": "the package onnxruntime: pip install 'reid-stream[onnx]'",
    "torch": "the package torch: pip install 'reid-stream[gpu]'",
}
_log = structlog.get_logger(__name__)


def load_engine(
    model: Path,
    settings: Models,
    *,
    pixels: Pixels | None = None,
    size: tuple[int, int] | None = None,
    bundle: Bundle | None = None,
) -> PixelEngine:
    """Build an engine from an ONNX file, or from an OpenVINO IR, which OpenVINO alone runs.

    Args:
        model: an ONNX file, or the .xml of an IR, with one image input (b, 3, h, w).
        settings: which engine, precision, threads.
        pixels: what `images` shall do to 8-bit images; none leaves only `__call__`.
        size: (height, width) in pixels to prepare for now rather than at the first call.
        bundle: that the file belongs to; TensorRT needs to know what it is built for and compared on.

    Raises:
        ModelError: the file cannot be read or is no such network, or the engine asked for is not there.
    """
    _check_file(model)
    if model.suffix == ".xml":
        if settings.engine not in ("auto", "openvino"):
            raise ModelError(
                f"models.engine must be auto or openvino for {model}, an OpenVINO network, which nothing else runs; "
                f"got {settings.engine}"
            )
        return _first(("openvino",), model, settings, pixels, size)
    arch = gpu_arch() if settings.engine in ("auto", "tensorrt") and bundle is not None else None
    if arch is not None and bundle is not None:
        return _on_gpu(model, settings, bundle, arch, pixels, size)
    if settings.engine == "tensorrt":
        raise ModelError(
            "models.engine tensorrt must find an NVIDIA GPU with its driver, there is none here; set models.engine to "
            "auto"
        )
    wanted = ("openvino", "onnx") if settings.engine == "auto" else (settings.engine,)
    return _first(wanted, model, settings, pixels, size)


def _first(
    wanted: tuple[str, ...], model: Path, settings: Models, pixels: Pixels | None, size: tuple[int, int] | None
) -> PixelEngine:
    """Return the first engine whose library is installed."""
    for name in wanted:
        if name == "openvino" and find_spec("openvino"):
            from reid_stream.engines.openvino import OpenVinoEngine

            return OpenVinoEngine(model, settings, pixels=pixels, size=size)
        if name == "onnx" and find_spec("onnxruntime"):
            from reid_stream.engines.onnx import OnnxEngine

            return OnnxEngine(model, settings, pixels=pixels)
        if name == "torch" and find_spec("torch") and find_spec("onnx"):
            from reid_stream.engines.torch_engine import TorchEngine

            return TorchEngine(model, settings, pixels=pixels)
    raise ModelError(f"engine {settings.engine} needs {' or '.join(_INSTALL[name] for name in wanted)}")


def _on_gpu(
    model: Path, settings: Models, bundle: Bundle, arch: str, pixels: Pixels | None, size: tuple[int, int] | None
) -> PixelEngine:
    """Return TensorRT's engine where it is ready, else what serves until it is."""
    try:
        library = library_for(arch, arch)
    except ModelError as error:
        if settings.engine == "tensorrt":
            raise
        _log.warning("engine_chosen", network=bundle.kind, reason=f"the GPU serves without TensorRT: {error}")
        return _serving(model, settings, pixels, size)
    from reid_stream.engines.background_build import PRECISIONS, TensorRtPreparation
    from reid_stream.engines.hot_swap import SwapEngine

    precisions = PRECISIONS if settings.precision == "auto" else (settings.precision,)
    preparation = TensorRtPreparation(bundle, model, library, arch, precisions, pixels)
    try:
        ready = preparation.ready()
    except ModelError as error:
        _log.warning("engine_chosen", network=bundle.kind, reason=str(error))
        ready = None
    if ready is not None:
        return ready
    return SwapEngine(_serving(model, settings, pixels, size), preparation, bundle.kind)


def _serving(model: Path, settings: Models, pixels: Pixels | None, size: tuple[int, int] | None) -> PixelEngine:
    """Return what serves without TensorRT: torch on the GPU, else the CPU."""
    try:
        found = _first(("torch",), model, settings, pixels, size)
        if "cuda" in found.name:
            return found
        reason = "torch finds no GPU"
    except ModelError as error:
        reason = str(error)
    _log.warning("engine_chosen", reason=f"the CPU serves: {reason}")
    return _first(("openvino", "onnx"), model, settings, pixels, size)


def _check_file(model: Path) -> None:
    try:
        empty = model.stat().st_size == 0
        with model.open("rb"):
            pass
    except OSError as error:
        raise ModelError(f"a network must be a readable ONNX file; {model}: {error.strerror or error}") from error
    if empty:
        raise ModelError(f"a network must be an ONNX file, {model} has 0 bytes; copy it again")
