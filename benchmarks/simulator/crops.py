"""Read images of people, named by person and camera, from a folder or the packed Market-1501.

    FOLDER/PPPP_cC....jpg | FOLDER/PERSON/...cC....jpg | FILE.tar.gz of PPPP_cC....jpg | market1501 -> Crop, Crop, ...

Market-1501's persons are split once and for all: settings are tuned on 60 validation persons and reported on 150 test
persons. The draw of the 60 is that of the trainer, which holds the same ones back from learning (tested).

Source: Zheng et al., "Scalable Person Re-identification: A Benchmark", ICCV 2015 (`PPPP_cCsS_FFFFFF_NN.jpg`).
"""

import json
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from reid_stream.errors import ConfigError

Part = Literal["validation", "test"]
MARKET = "market1501"
_ARCHIVE = Path("people") / "market1501_train.tar.gz"
_SPLIT = Path("people") / "market1501_split.json"
_VALIDATION = (60, 1501)
"""Persons and seed of the draw."""
_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
_NAME = re.compile(r"^(?P<person>-?\d+)_c(?P<camera>\d+)")
_CAMERA = re.compile(r"(?:^|_)c(\d+)")


@dataclass(frozen=True, slots=True)
class PersonCrop:
    """One stored image of one person."""

    person: str
    camera: str
    """Camera of the data set that took it."""
    data: bytes
    """The file as stored: JPEG, PNG, ..."""


def read(source: str, data: Path | None, part: Part) -> list[PersonCrop]:
    """Read the crops of a folder, or of a part of Market-1501, sorted by name.

    Args:
        source: a folder, a tar file, or `market1501`.
        data: for `market1501`, the folder that holds people/.
        part: for `market1501`, which persons; a folder is taken whole.

    Raises:
        ConfigError: nothing is there, or it is not named as it must be.
    """
    if source == MARKET:
        if data is None:
            raise ConfigError(f"{MARKET} needs the folder that holds people/: give --data or set REID_STREAM_DATA")
        wanted = set(_persons(data / _SPLIT, part))
        found = [(name, crop) for name, crop in _unpack(data / _ARCHIVE) if crop.person in wanted]
    elif Path(source).is_file():
        found = list(_unpack(Path(source)))
    else:
        found = list(_walk(Path(source)))
    if not found:
        raise ConfigError(f"crops must be images named PPPP_cC... or PERSON/...cC..., {source} holds none")
    return [crop for _, crop in sorted(found, key=lambda pair: pair[0])]


def _persons(file: Path, part: Part) -> list[str]:
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        learnt, test = sorted(document["train_ids"]), list(document["test_ids"])
    except OSError as error:
        raise ConfigError(f"{MARKET} needs its identity split {file}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{file} must be JSON with train_ids and test_ids: {error!r}") from error
    if part == "test":
        return test
    count, seed = _VALIDATION
    return [learnt[index] for index in np.random.default_rng(seed).choice(len(learnt), count, replace=False)]


def _unpack(archive: Path) -> Iterator[tuple[str, PersonCrop]]:
    try:
        with tarfile.open(archive) as packed:
            for member in packed:
                base = member.name.rsplit("/", 1)[-1]
                content = packed.extractfile(member) if base.lower().endswith(_SUFFIXES) else None
                if content is not None and not base.startswith("-1"):
                    yield base, _named(base, str(archive), content.read())
    except (OSError, tarfile.TarError, EOFError) as error:
        raise ConfigError(f"an archive of crops must be a readable tar file, {archive}: {error}") from error


def _walk(folder: Path) -> Iterator[tuple[str, PersonCrop]]:
    if not folder.is_dir():
        raise ConfigError(f"crops must be {MARKET} or a folder of images, found nothing at {folder}")
    for file in sorted(file for file in folder.rglob("*") if file.suffix.lower() in _SUFFIXES):
        inner = file.relative_to(folder)
        if len(inner.parts) == 1:
            if not file.name.startswith("-1"):  # Market-1501's junk
                yield file.name, _named(file.name, str(folder), file.read_bytes())
            continue
        camera = _CAMERA.search(file.stem)
        if camera is None:
            raise ConfigError(f"the image of a person's folder must name its camera as c<number>, got {file}")
        yield str(inner), PersonCrop(inner.parts[0], camera[1], file.read_bytes())


def _named(base: str, where: str, data: bytes) -> PersonCrop:
    match = _NAME.match(base)
    if match is None:
        raise ConfigError(f"an image's name must start with PPPP_cC (person, camera), got {base!r} ({where})")
    return PersonCrop(match["person"], match["camera"], data)
