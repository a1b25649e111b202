"""Read sets of crops by name, and split their persons.

Persons are never shared between splits: `split_market1501` holds the 150 test persons of Market-1501 back from every
training run.

Sources: Zheng et al., "Scalable Person Re-identification: A Benchmark", ICCV 2015 (Market-1501,
`PPPP_cCsS_FFFFFF_NN.jpg`); Li et al., "DeepReID", CVPR 2014 (CUHK03); Li et al., "Human Reidentification with
Transferred Metric Learning", ACCV 2012 (CUHK01); both repacked as `PPPP_cC_NN.jpg`.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from reid_stream.images import is_clutter
from reid_stream.store import read as read_track
from reid_stream.store import tracks
from trainer.data.crops import IMAGE_SUFFIXES, StoredCrop, parse_name, read_archive
from trainer.data.cuhk03 import SETS as CUHK03_SETS
from trainer.data.cuhk03 import read_cuhk03
from trainer.data.files import read_image_file
from trainer.data.public_sets import SETS as PUBLIC_SETS
from trainer.data.public_sets import is_public, read_public
from trainer.data.synthetic import read_synthetic
from trainer.errors import DataError

ARCHIVES = {
    "market1501": "market1501_train.tar.gz",
    "cuhk03": "cuhk03_pair1_labeled.tar.gz",
    "cuhk01": "cuhk01.tar.gz",
}
_CAMERA = re.compile(r"(?:^|_)c(\d+)")


def read(source: str, folder: Path | None = None) -> Iterator[StoredCrop]:
    """Read a set: market1501, cuhk03 or cuhk01 below `folder`/people, or one that names its own PATH."""
    kind, separator, path = source.partition(":")
    if kind == "folder" and separator:
        return read_folder(Path(path))
    if kind == "tracklets" and separator:
        return read_tracklets(Path(path))
    if kind == "labelled" and separator:
        from trainer.site.data import read_labelled  # late: it needs torch

        return read_labelled(Path(path))
    if kind == "synthetic" and path.isdigit():
        return read_synthetic(int(path))
    if is_public(source):
        return read_public(source)
    if source in CUHK03_SETS:
        return read_cuhk03(source, folder)
    if source not in ARCHIVES:
        public = ", ".join(f"{name}:PATH" for name in PUBLIC_SETS)
        own = ", ".join((*ARCHIVES, *CUHK03_SETS))
        known = f"{own}, {public}, folder:PATH, tracklets:PATH, labelled:FILE or synthetic:COUNT"
        raise DataError(f"a set must be {known}, got {source!r}")
    if folder is None:
        raise DataError(
            f"{source} needs the folder that holds people/{ARCHIVES[source]}: give --data or set REID_STREAM_DATA"
        )
    return read_archive(folder / "people" / ARCHIVES[source], source)


def read_folder(folder: Path) -> Iterator[StoredCrop]:
    """Read a plain folder: one sub-folder per person, or files named `PPPP_cC...`.

    In sub-folders the camera is taken from a `c<number>` in the file name; without one every image counts as its own
    camera 0, and then nothing across cameras can be learnt.
    """
    _must_be_folder(folder, "person/ folders or PPPP_cC... images")
    persons = sorted(entry for entry in folder.iterdir() if entry.is_dir() and not is_clutter(entry.name))
    domain = f"folder:{folder}"
    found = False
    for person in persons:
        files = _images_in(person)
        if not files:
            raise DataError(f"every person must have images, {person} has none; add some or remove the folder")
        for file in files:
            camera = _CAMERA.search(file.stem)
            found = True
            number = camera[1] if camera else "0"
            yield StoredCrop(f"{person.name}/{file.name}", person.name, number, domain, read_image_file(file))
    for file in _images_in(folder):
        if not file.name.startswith("-1"):
            found = True
            yield StoredCrop(file.name, *parse_name(file.name, str(file)), domain, read_image_file(file))
    if not found:
        raise DataError(f"a folder of images must hold person/ folders or PPPP_cC... images, {folder} holds neither")


def read_tracklets(store: Path) -> Iterator[StoredCrop]:
    """Read the daemon's store: STORE/<camera>/<YYYYMMDD>/<run>-<track>/ with images and track.json.

    Only tracks with a global id are of use; the others are left out.
    """
    _must_be_folder(store, "<camera>/<day>/<track>/track.json")
    folders = list(tracks(store))
    if not folders:
        raise DataError(f"a tracklet store must hold <camera>/<day>/<track>/track.json, {store} holds none")
    for folder in folders:
        try:
            track, images = read_track(folder)
        except ValueError as error:
            raise DataError(str(error)) from error
        if track.global_id is None:
            continue
        if not images:
            raise DataError(f"every tracklet must have images, {folder} has none; remove the folder")
        for image in images:
            name = "/".join(image.parts[-4:])
            yield StoredCrop(
                name, str(track.global_id), str(track.camera), f"tracklets:{store.name}", read_image_file(image)
            )


@dataclass(frozen=True)
class Market1501Split:
    """Persons of Market-1501's training part: for training, validation and test."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    query: tuple[str, ...]
    """Names of the images that ask, all of test persons."""
    gallery: tuple[str, ...]
    """Names of the images that are searched, all of test persons."""


def split_market1501(folder: Path, validation_ids: int = 60, seed: int = 1501) -> Market1501Split:
    """Read the identity split and draw the validation persons from its training persons."""
    file = folder / "people" / "market1501_split.json"
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        learn, test = tuple(document["train_ids"]), tuple(document["test_ids"])
        query, gallery = _base_names(document["query"]), _base_names(document["gallery"])
    except OSError as error:
        raise DataError(f"market1501 needs its identity split {file}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{file} must be JSON with train_ids, test_ids, query and gallery: {error!r}") from error
    train, validation = hold_out(learn, validation_ids, seed)
    check_disjoint({"train": train, "validation": validation, "test": test})
    return Market1501Split(train, validation, test, query, gallery)


def hold_out(persons: Sequence[str], count: int, seed: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Split persons in (kept, held out): `count` of them, drawn by `seed`, whatever their order."""
    ordered = sorted(persons)
    if len(ordered) < 3:
        raise DataError(f"a set must hold at least 3 persons, 2 to learn from and 1 to validate on, got {len(ordered)}")
    if not 0 < count <= len(ordered) - 2:
        raise DataError(
            f"data.validation_ids must hold out between 1 and {len(ordered) - 2} of {len(ordered)} persons, got {count}"
        )
    held = {ordered[index] for index in np.random.default_rng(seed).choice(len(ordered), count, replace=False)}
    return tuple(person for person in ordered if person not in held), tuple(sorted(held))


def check_disjoint(splits: dict[str, Sequence[str]]) -> None:
    """Raise unless no person is in two splits."""
    seen: dict[str, str] = {}
    for split, persons in splits.items():
        for person in persons:
            if seen.setdefault(person, split) != split:
                raise DataError(f"a person must be in one split only, {person} is in {seen[person]} and in {split}")


def check_shared_persons(crops: Iterable[StoredCrop], source: str) -> None:
    """Raise unless some person is seen by two cameras: else nothing across cameras can be learned or measured.

    Raises:
        DataError: one camera only, or cameras without a common person.
    """
    seen: dict[tuple[str, str], set[str]] = {}
    for crop in crops:
        seen.setdefault((crop.domain, crop.person), set()).add(crop.camera)
    if any(len(cameras) > 1 for cameras in seen.values()):
        return
    cameras = sorted(set[str]().union(*seen.values()))
    found = "1 camera" if len(cameras) == 1 else f"cameras {', '.join(cameras[:5])} without a common person"
    raise DataError(
        f"{source} must show persons by at least 2 cameras, found {len(seen)} persons and {found}; name the camera in "
        "file names (PPPP_cC_...), and give a person the same number, or folder, on every camera"
    )


def _base_names(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(name.rsplit("/", 1)[-1] for name in names)


def _must_be_folder(folder: Path, content: str) -> None:
    if not folder.is_dir():
        state = "is a file" if folder.exists() else "does not exist"
        raise DataError(f"images must lie in a folder with {content}, {folder} {state}")


def _images_in(folder: Path) -> list[Path]:
    return sorted(
        file for file in folder.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES and not is_clutter(file.name)
    )
