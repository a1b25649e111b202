"""Read ONNX files with their external weights.

Finding those needs no library: `external_files` walks the protobuf wire format.

Source: onnx.proto of ONNX 1.16 for field numbers; https://protobuf.dev/programming-guides/encoding for the wire format.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from reid_stream.bundles.network_file import MOST_BYTES
from reid_stream.errors import ModelError

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
# Messages that hold tensors, as {field number: message}: model > graph > node > attribute > graph ..., and functions.
_CHILDREN: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
}
_EXTERNAL_DATA, _DATA_LOCATION, _EXTERNAL = 13, 14, 1
_MOST_DEPTH = 32


def external_files(content: bytes) -> list[str]:
    """Return the names of the external weight files of an ONNX file, in order (pure).

    Content that is not protobuf has none; the library that reads the network reports that.
    """
    try:
        return list(dict.fromkeys(_external(memoryview(content), "model", 0)))
    except (IndexError, ValueError):
        return []


def read_whole(model: Path, content: bytes) -> bytes:
    """Return an ONNX file with its external weights included.

    Raises:
        ModelError: an external file is missing or outside of the folder, or the package `onnx` is missing.
    """
    names = external_files(content)
    if not names:
        return content
    folder = model.parent
    real = (folder.resolve(), model.resolve().parent)  # a download's cache may link both files to another folder
    is_linked = model.is_symlink()
    for name in names:
        file = folder / name
        is_inside = not Path(name).is_absolute() and ".." not in Path(name).parts
        if not is_inside or not any(file.resolve().is_relative_to(each) for each in real):
            raise ModelError(f"weights of {model} must be in its folder, found {name!r}; export one file")
        if not name or not file.is_file():
            raise ModelError(
                f"weights of {model} are in {name!r}, which is not in {folder.resolve()}; copy it there too"
            )
        if file.stat().st_size > MOST_BYTES:
            raise ModelError(f"{file} must have at most {MOST_BYTES:,} bytes, found {file.stat().st_size:,}")
        is_linked |= file.is_symlink()
    onnx = onnx_package(f"weights of {model} are in {', '.join(names)}; to include them")
    try:
        with TemporaryDirectory() as copies:
            if is_linked:  # onnx reads no weights through links
                for name in (model.name, *names):
                    (Path(copies) / name).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(folder / name, Path(copies) / name)
            return bytes(onnx.load(str(Path(copies) / model.name if is_linked else model)).SerializeToString())
    except Exception as error:  # protobuf and onnx each have their own
        raise ModelError(
            f"weights of {model} in {', '.join(names)} cannot be read: {error}; export one file"
        ) from error


def onnx_package(purpose: str) -> Any:
    """Return the package `onnx`.

    Raises:
        ModelError: it is missing; the text states the purpose.
    """
    try:
        import onnx
    except ImportError as error:
        raise ModelError(f"{purpose}, the package onnx is needed: pip install onnx") from error
    return onnx


def _external(data: memoryview, message: str, depth: int) -> Iterator[str]:
    """Yield the location of every tensor in a message whose data is in another file."""
    if depth > _MOST_DEPTH:
        raise ValueError("nested too deep")
    location, is_external = "", False
    for number, value in _fields(data):
        child = _CHILDREN.get(message, {}).get(number)
        if isinstance(value, int):
            is_external |= message == "tensor" and number == _DATA_LOCATION and value == _EXTERNAL
        elif child is not None:
            yield from _external(value, child, depth + 1)
        elif message == "tensor" and number == _EXTERNAL_DATA:
            pair = {key: bytes(text) for key, text in _fields(value) if not isinstance(text, int)}
            if pair.get(1) == b"location":
                location = pair.get(2, b"").decode("utf-8", "replace")
    if is_external:
        yield location


def _fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield (field number, value) of a protobuf message; fixed-width values are skipped."""
    place = 0
    while place < len(data):
        key, place = _varint(data, place)
        kind = key & 7
        if kind == _VARINT:
            value, place = _varint(data, place)
            yield key >> 3, value
        elif kind == _BYTES:
            size, place = _varint(data, place)
            if place + size > len(data):
                raise ValueError("cut off")
            yield key >> 3, data[place : place + size]
            place += size
        elif kind in (_FIXED64, _FIXED32):
            place += 8 if kind == _FIXED64 else 4
        else:
            raise ValueError(f"wire type {kind}")


def _varint(data: memoryview, place: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 70:
        byte = data[place]
        value |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if byte < 0x80:
            return value, place
    raise ValueError("varint of more than 10 bytes")
