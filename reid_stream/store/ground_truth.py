"""True identities of a store's tracks, where known: `truth.json` beside the cameras' folders."""

from collections.abc import Mapping
from pathlib import Path

import msgspec

from reid_stream.errors import DECODE_ERRORS

TRUTH_FILE = "truth.json"


def write_truth(store: Path, people: Mapping[str, str]) -> None:
    """Write the true person of each track: folder within the store -> person."""
    (store / TRUTH_FILE).write_bytes(msgspec.json.format(msgspec.json.encode(people), indent=1) + b"\n")


def read_truth(file: Path) -> dict[str, str]:
    """Read the true person of each track, as `write_truth` or a person wrote it.

    Raises:
        ValueError: the file cannot be read, or holds something else.
    """
    try:
        return msgspec.json.decode(file.read_bytes(), type=dict[str, str])
    except OSError as error:
        raise ValueError(f"truth must be a readable file, {file}: {error.strerror}") from error
    except DECODE_ERRORS as error:
        raise ValueError(
            f"truth must be JSON, the folder of each track with a person's name, {file}: {error}"
        ) from error
