"""Read sets of crops into one uint8 array at the network's size, with person, camera and domain of each image.

Decoded and resized once, with the file that serving uses, so that a training step costs only the network. Persons are
never shared between splits: `split_market1501` holds the 150 test persons of Market-1501 back from every training run.

Sources: Zheng et al., "Scalable Person Re-identification: A Benchmark", ICCV 2015 (Market-1501,
`PPPP_cCsS_FFFFFF_NN.jpg`); Li et al., "DeepReID", CVPR 2014 (CUHK03); Li et al., "Human Reidentification with
Transferred Metric Learning", ACCV 2012 (CUHK01); both repacked as `PPPP_cC_NN.jpg`.

Letters: n images, h and w pixels.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from reid_stream.embed.preprocess import UInt8, resize
from reid_stream.images import decode as decode_image
from reid_stream.images import is_clutter
from reid_stream.store import read as read_track
from reid_stream.store import tracks
from trainer.data.files import UNREADABLE_TAR, is_whole_jpeg, read_image_file, tar_files
from trainer.errors import DataError

Ints = npt.NDArray[np.int64]

ARCHIVES = {
    "market1501": "market1501_train.tar.gz",
    "cuhk03": "cuhk03_pair1_labeled.tar.gz",
    "cuhk01": "cuhk01.tar.gz",
}
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
_NAME = re.compile(r"^(-?\d+)_c(\d+)")
_CAMERA = re.compile(r"(?:^|_)c(\d+)")


@dataclass(frozen=True, slots=True)
class StoredCrop:
    """One stored image of one person."""

    name: str
    """Location, for messages and drawings."""
    person: str
    """Unique within its domain."""
    camera: str
    """Unique within its domain."""
    domain: str
    """The set it came from: cameras and persons of two domains are never the same."""
    data: bytes
    """The file as stored: JPEG, PNG, ..."""


@dataclass(frozen=True, eq=False)
class Images:
    """Crops as arrays, in reading order."""

    pixels: UInt8
    """(n, h, w, 3) RGB at the network's size."""
    persons: Ints
    """(n,) numbered from 0, domain after domain."""
    cameras: Ints
    """(n,) numbered from 0 over all domains."""
    domains: Ints
    """(n,) numbered from 0."""
    names: tuple[str, ...]
    """(n,) for messages and drawings."""
    person_names: tuple[str, ...]
    """`domain:person` of each number."""
    camera_names: tuple[str, ...]
    """`domain:camera` of each number."""
    domain_names: tuple[str, ...]
    """Name of each number."""
    sizes: Ints | None = None
    """(n, 2) height and width of each within its pixels, from the upper left corner; None where all fill them."""
    stored: Ints | None = None
    """(n, 2) height and width of each as it was stored; None where unknown."""

    def __len__(self) -> int:
        return len(self.persons)

    def at(self, rows: Ints) -> "Images":
        """Return some of the images; persons, cameras and domains keep their numbers."""
        return replace(
            self,
            pixels=self.pixels[rows],
            persons=self.persons[rows],
            cameras=self.cameras[rows],
            domains=self.domains[rows],
            names=tuple(self.names[row] for row in rows.tolist()),
            sizes=None if self.sizes is None else self.sizes[rows],
            stored=None if self.stored is None else self.stored[rows],
        )

    @property
    def persons_per_domain(self) -> tuple[int, ...]:
        """Number of persons per domain: sizes of the ranges of `persons`."""
        return tuple(len(np.unique(self.persons[self.domains == domain])) for domain in range(len(self.domain_names)))


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


def read(source: str, folder: Path | None = None) -> Iterator[StoredCrop]:
    """Read a set: market1501, cuhk03 or cuhk01 below `folder`/people, or one that names its own PATH."""
    kind, separator, path = source.partition(":")
    if kind == "folder" and separator:
        return read_folder(Path(path))
    if kind == "tracklets" and separator:
        return read_tracklets(Path(path))
    if kind == "labelled" and separator:
        from trainer.site.data import read_labelled  # late: it makes this module's crops

        return read_labelled(Path(path))
    if kind == "synthetic" and path.isdigit():
        from trainer.data.synthetic import read_synthetic  # late: it makes this module's crops

        return read_synthetic(int(path))
    from trainer.data.public_sets import SETS, is_public, read_public  # late: it makes this module's crops

    if is_public(source):
        return read_public(source)
    from trainer.data.cuhk03 import SETS as CUHK03_SETS  # late: it makes this module's crops
    from trainer.data.cuhk03 import read_cuhk03

    if source in CUHK03_SETS:
        return read_cuhk03(source, folder)
    if source not in ARCHIVES:
        public = ", ".join(f"{name}:PATH" for name in SETS)
        own = ", ".join((*ARCHIVES, *CUHK03_SETS))
        known = f"{own}, {public}, folder:PATH, tracklets:PATH, labelled:FILE or synthetic:COUNT"
        raise DataError(f"a set must be {known}, got {source!r}")
    if folder is None:
        raise DataError(
            f"{source} needs the folder that holds people/{ARCHIVES[source]}: give --data or set REID_STREAM_DATA"
        )
    return read_archive(folder / "people" / ARCHIVES[source], source)


def read_archive(file: Path, domain: str) -> Iterator[StoredCrop]:
    """Read the crops of a tar file, named `PPPP_cC...`; junk (person -1) is left out."""
    crops = []
    try:
        for name, content in tar_files(file, lambda name: name.lower().endswith(IMAGE_SUFFIXES)):
            base = name.rsplit("/", 1)[-1]
            if not base.startswith("-1"):
                person, camera = parse_name(base, f"{file}:{name}")
                crops.append(StoredCrop(base, person, camera, domain, content))
    except UNREADABLE_TAR as error:
        raise DataError(f"{domain} must be a readable tar file, {file}: {error}") from error
    return iter(sorted(crops, key=lambda crop: crop.name))


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


def parse_name(base: str, where: str) -> tuple[str, str]:
    """Return person and camera of `PPPP_cC...`.

    >>> parse_name("0002_c1s1_000451_03.jpg", "here")
    ('0002', '1')
    """
    match = _NAME.match(base)
    if match is None:
        raise DataError(f"an image name must start with PPPP_cC (person, camera), got {base!r} ({where})")
    return match[1], match[2]


def decode(data: bytes, name: str) -> UInt8:
    """Decode an image to RGB (h, w, 3); a truncated JPEG is an error, not a half-grey image."""
    if data.startswith(b"\xff\xd8") and not is_whole_jpeg(data):
        raise DataError(f"an image must be decodable, {name} ends too early ({len(data)} bytes)")
    try:
        return decode_image(data)
    except ValueError as error:
        raise DataError(f"an image must be decodable, {name} {error} ({len(data)} bytes)") from error


def assemble(
    crops: Iterator[StoredCrop] | Sequence[StoredCrop],
    height: int,
    width: int,
    skip_broken: bool = False,
    undistorted: bool = False,
) -> Images:
    """Decode and resize crops, and number persons, cameras and domains in sorted order.

    Undistorted ones keep their aspect: the larger side becomes the larger one of height and width.
    """
    rows: list[UInt8] = []
    stored: list[tuple[int, ...]] = []
    kept: list[tuple[str, str, str, str]] = []
    broken: list[str] = []
    for crop in crops:
        try:
            pixels = decode(crop.data, crop.name)
            tall, wide = _keep_aspect(pixels, max(height, width)) if undistorted else (height, width)
            rows.append(resize(pixels, tall, wide))
            stored.append(pixels.shape[:2])
            kept.append((crop.domain, crop.person, crop.camera, crop.name))
        except DataError as error:
            broken.append(str(error))
    if broken and not skip_broken:
        more = f"; and {len(broken) - 5} more" if len(broken) > 5 else ""
        advice = "delete or replace them, or set data.skip_broken: true"
        raise DataError("; ".join(broken[:5]) + more + f"; {advice}")
    if not rows:
        raise DataError("a set must hold at least one image that can be decoded, got none")
    domain_names = list(dict.fromkeys(row[0] for row in kept))
    persons = sorted({(domain_names.index(row[0]), row[1]) for row in kept})
    cameras = sorted({(domain_names.index(row[0]), row[2]) for row in kept})
    person_of = {key: number for number, key in enumerate(persons)}
    camera_of = {key: number for number, key in enumerate(cameras)}
    domains = np.array([domain_names.index(row[0]) for row in kept], dtype=np.int64)
    return Images(
        pixels=_stack(rows),
        persons=np.array([person_of[d, row[1]] for d, row in zip(domains, kept, strict=True)], dtype=np.int64),
        cameras=np.array([camera_of[d, row[2]] for d, row in zip(domains, kept, strict=True)], dtype=np.int64),
        domains=domains,
        names=tuple(row[3] for row in kept),
        person_names=tuple(f"{domain_names[domain]}:{person}" for domain, person in persons),
        camera_names=tuple(f"{domain_names[domain]}:{camera}" for domain, camera in cameras),
        domain_names=tuple(domain_names),
        sizes=np.array([row.shape[:2] for row in rows], dtype=np.int64) if undistorted else None,
        stored=np.array(stored, dtype=np.int64),
    )


def _keep_aspect(pixels: UInt8, larger: int) -> tuple[int, int]:
    height, width = pixels.shape[:2]
    scale = larger / max(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def _stack(rows: list[UInt8]) -> UInt8:
    """Return images (h, w, 3) as one array (n, h, w, 3), at the upper left corner where they differ in size."""
    height, width = max(row.shape[0] for row in rows), max(row.shape[1] for row in rows)
    stacked = np.zeros((len(rows), height, width, 3), dtype=np.uint8)
    for place, row in enumerate(rows):
        stacked[place, : row.shape[0], : row.shape[1]] = row
    return stacked


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


def check_shared_persons(crops: Sequence[StoredCrop], source: str) -> None:
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
