"""Download a known network, check it, and wrap it: `reid-stream models add`.

NAME -> files of the official folder, or of --url, by pooch -> checksum -> wrap -> SHELF/NAME/bundle.json
"""

import hashlib
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import msgspec

from reid_stream.bundles.bundle import Bundle, EmbedderBundle, update
from reid_stream.bundles.catalog import added_folder
from reid_stream.bundles.known_networks import KnownFile, KnownNetwork
from reid_stream.bundles.wrap import wrap
from reid_stream.errors import ConfigError, ModelError

_TIMEOUT_S = 30


def add(network: KnownNetwork, url: str | None, shelf: Path | None, log: Callable[[str], None]) -> tuple[Path, Bundle]:
    """Download and wrap a network; return the bundle's folder and the bundle.

    Args:
        network: one of `known_networks.NETWORKS`.
        url: folder of the files, in place of the official one.
        shelf: folder of bundles to add it to; default: `catalog.added_folder()`.
        log: called with a line for each step.

    Raises:
        ConfigError: no official address is known and `url` is not given.
        ModelError: a download fails, a checksum differs, or the folder cannot be written.
    """
    base = url or network.url
    if base is None:
        files = ", ".join(file.name for file in network.files)
        raise ConfigError(
            f"--url must name the folder of {files}: no official address of {network.name} is known; its checksum is"
        )
    log(f"licence: {network.licence}")
    folder = (shelf or added_folder()) / network.name
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{network.name}-") as place:
            for file in network.files:
                fetch(f"{base.rstrip('/')}/{file.name}", file, Path(place))
                log(f"{file.name}: {(Path(place) / file.name).stat().st_size:,} bytes, checksum right")
            options = {**network.options, **({"log": log} if network.kind == "embedder" else {})}
            bundle = wrap(
                Path(place) / network.files[0].name, Path(place) / "bundle", kind=network.kind, name=network.name,
                licence=network.licence, data=network.data, source=base, **options,
            )  # fmt: skip
            if isinstance(bundle, EmbedderBundle) and network.calibration is not None:
                bundle = update(
                    msgspec.structs.replace(bundle, calibration=network.calibration), Path(place) / "bundle"
                )
            shutil.rmtree(folder, ignore_errors=True)
            (Path(place) / "bundle").rename(folder)
    except OSError as error:
        raise ModelError(f"{folder.parent} must be writable: {error.strerror or error}; give --to FOLDER") from error
    return folder, bundle


def fetch(url: str, file: KnownFile, folder: Path) -> Path:
    """Download a file and check it.

    Raises:
        ModelError: it cannot be had, or its checksum is none of the known ones.
    """
    import pooch  # heavy
    import requests

    pooch.get_logger().setLevel("ERROR")
    try:
        downloader = pooch.HTTPDownloader(timeout=_TIMEOUT_S)
        found = Path(pooch.retrieve(url, known_hash=None, fname=file.name, path=folder, downloader=downloader))
    except (requests.RequestException, ValueError) as error:
        raise ModelError(
            f"{file.name} must be downloadable, {url}: {error}; on a machine without internet, serve the files from "
            "another one and give --url"
        ) from error
    digest = hashlib.sha256(found.read_bytes()).hexdigest()
    if digest not in file.sha256:
        raise ModelError(
            f"{file.name} must have the sha256 {' or '.join(file.sha256)}, got {digest} from {url}; nothing was added. "
            "If you trust this file, use `reid-stream models wrap`"
        )
    return found
