"""Find model bundles by path, by name in the search folders, or as `default` or `permissive`.

Searched are `$REID_STREAM_MODELS` (a folder of bundle folders), what `reid-stream models add` downloaded, and what the
package ships. Downloaded bundles are found by name and as `permissive`; they never become `default`.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec
import platformdirs

from reid_stream.bundles.bundle import (
    BUNDLE_FILE,
    Bundle,
    DetectorBundle,
    EmbedderBundle,
    load,
    load_detector,
    load_embedder,
)
from reid_stream.bundles.known_networks import PERMISSIVE
from reid_stream.errors import DECODE_ERRORS, ModelError

VARIABLE = "REID_STREAM_MODELS"
SHIPPED = Path(__file__).parents[1] / "models"
Kind = Literal["detector", "embedder"]


def find(name: str, kind: Kind) -> Path:
    """Return the folder of a bundle.

    `name` is a folder, the name of a bundle in a search folder, `default`: a folder called `kind` there, else the only
    one of its kind, or `permissive`: a downloaded network whose licence allows commercial use.

    Raises:
        ModelError: there is none, or `default` is ambiguous.
    """
    if name == "default":
        return _default(kind)
    if name == "permissive":
        return _permissive(kind)
    if Path(name).is_dir():
        return Path(name)
    for folder in _folders():
        if (folder / name / BUNDLE_FILE).is_file():
            return folder / name
    known = ", ".join(sorted({path.name for path in bundles()})) or "none"
    raise ModelError(f"models.{kind} must be the folder of a bundle or one of the bundles {known}, found {name!r}")


def bundles() -> Iterator[Path]:
    """Yield every bundle folder in the search folders, those of the user first."""
    for folder in _folders():
        yield from sorted(path.parent for path in folder.glob(f"*/{BUNDLE_FILE}"))


def kind_of(folder: Path) -> str | None:
    """Return the kind stated by a bundle, unverified; None if bundle.json cannot be read."""
    try:
        found = msgspec.json.decode((folder / BUNDLE_FILE).read_bytes(), type=dict[str, object])
    except (OSError, *DECODE_ERRORS):
        return None
    return str(found.get("kind"))


def detector(name: str) -> tuple[Path, DetectorBundle]:
    """Find and load a detector."""
    folder = find(name, "detector")
    return folder, load_detector(folder)


def embedder(name: str) -> tuple[Path, EmbedderBundle]:
    """Find and load an embedder."""
    folder = find(name, "embedder")
    return folder, load_embedder(folder)


def any_bundles(name: str) -> list[tuple[Path, Bundle]]:
    """Find and load a bundle of either kind; `default` is the detector and the embedder that are used."""
    if name == "default":
        return [detector(name), embedder(name)]
    folder = Path(name)
    if not folder.is_dir():
        folder = next((path for path in bundles() if path.name == name), folder)
    return [(folder, load(folder))]


def added_folder() -> Path:
    """Return the folder that `reid-stream models add` fills."""
    return Path(platformdirs.user_data_dir("reid-stream")) / "models"


def _folders(with_added: bool = True) -> list[Path]:
    named = os.environ.get(VARIABLE)
    own = [Path(named).expanduser()] if named else []
    added = [added_folder()] if with_added else []
    return [folder for folder in [*own, *added, SHIPPED] if folder.is_dir()]


def _permissive(kind: Kind) -> Path:
    for name in PERMISSIVE[kind]:
        for folder in _folders():
            if (folder / name / BUNDLE_FILE).is_file():
                return folder / name
    raise ModelError(
        f"models.{kind}: permissive needs one of {', '.join(PERMISSIVE[kind])}, none was added; download one: "
        f"reid-stream models add {PERMISSIVE[kind][0]}"
    )


def _default(kind: Kind) -> Path:
    for folder in _folders(with_added=False):
        if (folder / kind / BUNDLE_FILE).is_file():
            return folder / kind
        fitting = [path.parent for path in sorted(folder.glob(f"*/{BUNDLE_FILE}")) if kind_of(path.parent) == kind]
        if len(fitting) == 1:
            return fitting[0]
        if fitting:
            names = ", ".join(path.name for path in fitting)
            raise ModelError(f"models.{kind}: default is ambiguous, found several in {folder}: {names}; name one")
    raise ModelError(
        f"no {kind} bundle was found: ${VARIABLE} is {os.environ.get(VARIABLE) or 'not set'}, the package ships none; "
        f"make one from an ONNX file with `reid-stream models wrap MODEL.onnx FOLDER/{kind} --kind {kind}` and set "
        f"{VARIABLE}=FOLDER, or name a bundle's folder under models.{kind} in cams.yaml"
    )
