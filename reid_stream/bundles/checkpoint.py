"""Find or export the file that a bundle is made of: from a .pt file of ultralytics or a folder of OpenVINO."""

import os
import shutil
from pathlib import Path
from typing import Any

from reid_stream.errors import ModelError
from reid_stream.images import without_clutter


def wrappable(model: Path, folder: Path, *, kind: str, size: tuple[int, int] | None, trust_pickle: bool) -> Path:
    """Return the file to wrap for a network.

    Args:
        model: an ONNX file, which is returned as it is; a .pt file of ultralytics, which is exported; an OpenVINO .xml
            or its folder. Of a detector the .onnx or .pt that it was made of is taken where it lies beside it: all
            engines serve that, OpenVINO alone serves the IR.
        folder: for the file that is exported.
        kind: `detector` or `embedder`.
        size: (height, width) of the input in pixels; none for that of the checkpoint.
        trust_pickle: run whatever code a .pt file contains.

    Raises:
        ModelError: it is none of these, ultralytics is not installed, or the checkpoint cannot be exported.
    """
    if model.is_dir() or model.suffix.lower() == ".xml":
        network = _openvino_network(model)
        beside = None if kind == "embedder" else _beside_openvino(network)
        if beside is None:
            return network
        model = beside
    if model.suffix.lower() not in (".pt", ".pth"):
        return model
    if kind != "detector":
        raise ModelError(
            f"an embedder must be an ONNX or OpenVINO file, found {model}; `reid-train export` makes a bundle of its "
            "own checkpoints, torch.onnx.export an ONNX file of any other"
        )
    return _export(model, folder, size, trust_pickle=trust_pickle)


def _openvino_network(model: Path) -> Path:
    if not model.is_dir():
        return model
    found = sorted(without_clutter(model.glob("*.xml"), model))
    if len(found) != 1:
        listed = ", ".join(path.name for path in found) or "none"
        raise ModelError(
            f"a folder to wrap must hold one OpenVINO network (.xml), {model} holds {listed}; name the file"
        )
    return found[0]


def _beside_openvino(network: Path) -> Path | None:
    """Return the file that an OpenVINO detector was exported from; None where it is not there."""
    name = network.stem
    for place in (network.parent, network.parent.parent):
        for suffix in (".onnx", ".pt"):
            if (place / f"{name}{suffix}").is_file():
                return place / f"{name}{suffix}"
    return None


def _export(model: Path, folder: Path, size: tuple[int, int] | None, *, trust_pickle: bool) -> Path:
    # Read when ultralytics is imported: nothing is installed or fetched behind the user's back.
    for name, value in (("YOLO_AUTOINSTALL", "false"), ("YOLO_OFFLINE", "true"), ("YOLO_VERBOSE", "false")):
        os.environ.setdefault(name, value)
    try:
        import onnx  # noqa: F401 (ultralytics needs it to export)
        from ultralytics.models import YOLO
        from ultralytics.nn import tasks
    except ImportError as error:
        raise ModelError(
            f"a .pt file needs the package {error.name} to be exported, which is not installed: pip install "
            "ultralytics onnx; or export it elsewhere and wrap the ONNX file"
        ) from None
    module: Any = tasks
    guard = getattr(module, "_SafeLoad", None)
    if not trust_pickle and not (guard is not None and guard.SUPPORTED):
        raise ModelError(
            f"{model} can only be read safely by a newer ultralytics and torch; update them, or run the code that it "
            "may contain with --trust-pickle"
        )
    usual = getattr(module, "SAFE_LOAD", False)
    # A .pt file is a pickle, which can run any code while it is read: so only torch's and ultralytics' classes are.
    module.SAFE_LOAD = not trust_pickle
    # It exports beside the file it reads.
    copy = Path(shutil.copy(model, folder / model.name))
    try:
        network: Any = YOLO(str(copy), task="detect")
        options = {} if size is None else {"imgsz": size}
        return Path(network.export(format="onnx", simplify=False, dynamic=False, verbose=False, **options))
    except Exception as error:  # a damaged file can raise anything
        if not trust_pickle and "references types outside" in str(error):
            raise ModelError(
                f"{model} must hold nothing but an ultralytics network, it names other code, which loading would run; "
                "if you trust its source, give --trust-pickle"
            ) from error
        raise ModelError(f"{model} must be an ultralytics detection checkpoint: {error}") from error
    finally:
        module.SAFE_LOAD = usual
