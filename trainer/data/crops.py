"""Decode crops into one uint8 array at the network's size, with person, camera and domain of each image.

Decoded and resized once, with the file that serving uses, so that a training step costs only the network. Sets are read
by `sets`.

Letters: n images, h and w pixels.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from reid_stream.embed.preprocess import UInt8, resize
from reid_stream.images import decode as decode_image
from trainer.data.files import UNREADABLE_TAR, is_whole_jpeg, tar_files
from trainer.errors import DataError

Ints = npt.NDArray[np.int64]

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
_NAME = re.compile(r"^(-?\d+)_c(\d+)")


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
