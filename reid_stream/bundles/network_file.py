"""The network of a bundle on disk: `model.onnx`, or an OpenVINO IR, `model.xml` beside `model.bin`.

An IR is served by OpenVINO alone; there is no exact way back to ONNX.
"""

from pathlib import Path

from reid_stream.errors import ModelError

ONNX_FILE, IR_FILE, IR_WEIGHTS = "model.onnx", "model.xml", "model.bin"
_FILES = (ONNX_FILE, IR_FILE, IR_WEIGHTS)


def network_file(folder: Path) -> Path:
    """Return the file that engines open: the IR's `model.xml` where there is one, else `model.onnx`."""
    return folder / IR_FILE if (folder / IR_FILE).is_file() else folder / ONNX_FILE


def is_openvino_only(folder: Path) -> bool:
    """Whether a bundle's network is an OpenVINO IR."""
    return network_file(folder).name == IR_FILE


def read_network(folder: Path) -> bytes:
    """Return the whole content of a bundle's network, of an IR both files in a row.

    Raises:
        ModelError: a file is missing or empty.
    """
    names = (IR_FILE, IR_WEIGHTS) if is_openvino_only(folder) else (ONNX_FILE,)
    return b"".join(_read(folder / name) for name in names)


def write_network(folder: Path, model: bytes, weights: bytes | None) -> None:
    """Write a network and remove files of another kind; `weights` makes `model` the text of an IR."""
    kept = (IR_FILE, IR_WEIGHTS) if weights is not None else (ONNX_FILE,)
    for name, content in zip(kept, (model, weights), strict=False):
        (folder / name).write_bytes(content or b"")
    for name in set(_FILES) - set(kept):
        (folder / name).unlink(missing_ok=True)


def _read(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"every bundle carries its network; {path}: {error.strerror or error}") from error
    if not content:
        raise ModelError(f"{path} must not be empty, found 0 bytes; copy the bundle again")
    return content
