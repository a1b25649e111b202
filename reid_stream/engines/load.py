"""Model file -> Engine: choose the library that is there and runs it fastest.

`auto` takes OpenVINO, then ONNX Runtime: measured on a server core, OpenVINO in bf16 is about twice as fast.
"""

from importlib.util import find_spec
from pathlib import Path

from reid_stream.config import Models
from reid_stream.engines.protocol import PixelEngine, Pixels
from reid_stream.errors import ModelError

_INSTALL = {
    "openvino": "the package openvino, part of the base install: pip install reid-stream",
    "onnx": "the package onnxruntime: pip install 'reid-stream[onnx]'",
}


def load_engine(
    model: Path, settings: Models, *, pixels: Pixels | None = None, size: tuple[int, int] | None = None
) -> PixelEngine:
    """Build an engine from an ONNX file.

    Args:
        model: an ONNX file with one image input (b, 3, h, w).
        settings: which engine, precision, threads.
        pixels: what `images` shall do to 8 bit pictures; none leaves only `__call__`.
        size: (height, width) in pixels to prepare for now rather than at the first call.

    Raises:
        ModelError: the file cannot be read or is no such network, or the engine asked for is not there.
    """
    _check_file(model)
    wanted = ("openvino", "onnx") if settings.engine == "auto" else (settings.engine,)
    for name in wanted:
        if name == "openvino" and find_spec("openvino"):
            from reid_stream.engines.openvino_engine import OpenVinoEngine

            return OpenVinoEngine(model, settings, pixels=pixels, size=size)
        if name == "onnx" and find_spec("onnxruntime"):
            from reid_stream.engines.onnx_engine import OnnxEngine

            return OnnxEngine(model, settings, pixels=pixels)
    if settings.engine in ("tensorrt", "torch"):
        raise ModelError(
            f"models.engine must be auto, openvino or onnx, got {settings.engine}: this version has no GPU engine yet; "
            "set models.engine to auto"
        )
    raise ModelError(f"engine {settings.engine} needs {' or '.join(_INSTALL[name] for name in wanted)}")


def _check_file(model: Path) -> None:
    try:
        empty = model.stat().st_size == 0
        with model.open("rb"):
            pass
    except OSError as error:
        raise ModelError(f"a network must be a readable ONNX file; {model}: {error.strerror or error}") from error
    if empty:
        raise ModelError(f"a network must be an ONNX file, {model} has 0 bytes; copy it again")
