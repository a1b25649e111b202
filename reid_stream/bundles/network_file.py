"""The network of a bundle on disk: `model.onnx`, or an OpenVINO IR, `model.xml` beside `model.bin`.

An IR is served by OpenVINO alone; there is no exact way back to ONNX.
"""

import stat
from pathlib import Path

from reid_stream.errors import ModelError

ONNX_FILE, IR_FILE, IR_WEIGHTS = "model.onnx", "model.xml", "model.bin"
_FILES = (ONNX_FILE, IR_FILE, IR_WEIGHTS)
_RULE = "every bundle carries its network"
MOST_BYTES = 4 << 30
"""Largest file of a network, bytes."""


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
    return b"".join(read_file(folder / name, _RULE) for name in _names(folder))


def network_bytes(folder: Path) -> int:
    """Return the size of a bundle's network on disk, of an IR that of both files.

    Raises:
        ModelError: a file is missing or is no regular file.
    """
    return sum(file_bytes(folder / name, _RULE) for name in _names(folder))


def file_bytes(path: Path, rule: str) -> int:
    """Return the size of a file.

    Raises:
        ModelError: it is missing, empty, or no regular file: a pipe or a device may have no end. `rule` starts the
            message.
    """
    try:
        found = path.stat()
    except OSError as error:
        raise ModelError(f"{rule}; {path}: {error.strerror or error}") from error
    if not stat.S_ISREG(found.st_mode):
        raise ModelError(f"{rule}; {path}: no regular file")
    if not found.st_size:
        raise ModelError(f"{rule}; {path} must not be empty, found 0 bytes; copy it again")
    return found.st_size


def read_file(path: Path, rule: str, most: int = MOST_BYTES) -> bytes:
    """Return the content of a file.

    Raises:
        ModelError: it is missing, empty, no regular file, or has more than `most` bytes. `rule` starts the message.
    """
    size = file_bytes(path, rule)
    if size > most:
        raise ModelError(f"{path} must have at most {most:,} bytes, found {size:,}")
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelError(f"{rule}; {path}: {error.strerror or error}") from error


def _names(folder: Path) -> tuple[str, ...]:
    return (IR_FILE, IR_WEIGHTS) if is_openvino_only(folder) else (ONNX_FILE,)


def write_network(folder: Path, model: bytes, weights: bytes | None) -> None:
    """Write a network and remove files of another kind; `weights` makes `model` the text of an IR."""
    kept = (IR_FILE, IR_WEIGHTS) if weights is not None else (ONNX_FILE,)
    for name, content in zip(kept, (model, weights), strict=False):
        (folder / name).write_bytes(content or b"")
    for name in set(_FILES) - set(kept):
        (folder / name).unlink(missing_ok=True)
