"""Read public sets in their published folder layout: training crops, query and gallery.

| set | layout below PATH | training / query / gallery images |
| --- | --- | --- |
| market1501:PATH | bounding_box_train, query, bounding_box_test | 12,936 / 3,368 / 15,913 |
| dukemtmc:PATH | the same | 16,522 / 2,228 / 17,661 |
| cuhk03-np:PATH | the same; PATH ends in labeled or in detected | 7,368 or 7,365 / 1,400 / 5,328 or 5,332 |
| msmt17:PATH | list_*.txt beside train and test, or mask_train_v2 and mask_test_v2 | 32,621 / 11,659 / 82,161 |

Names start with person and camera, `0002_c1s1_000451_03.jpg`; MSMT17 has the camera in the third place and the person
in its lists. Junk (person -1) is left out, since it counts neither for nor against; distractors (person 0000) stay in
the gallery. The validation list of MSMT17 belongs to its training. DukeMTMC-reID was withdrawn by its authors: the
format is read for those who have a copy and a right to use it.

Sources: Zheng et al., ICCV 2015; Ristani et al., ECCVW 2016, and Zheng, Zheng & Yang, ICCV 2017; Zhong et al., CVPR
2017 (the new protocol of CUHK03); Wei et al., CVPR 2018.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from reid_stream.images import without_clutter
from trainer.data.crops import IMAGE_SUFFIXES, StoredCrop, parse_name
from trainer.errors import DataError

PARTS = ("train", "query", "gallery")
_FOLDERS = dict(zip(PARTS, ("bounding_box_train", "query", "bounding_box_test"), strict=True))
_LISTS = {"train": ("list_train.txt", "list_val.txt"), "query": ("list_query.txt",), "gallery": ("list_gallery.txt",)}


@dataclass(frozen=True)
class PublicSet:
    """Layout and protocol of a published set."""

    title: str
    counts: tuple[tuple[int, int, int], ...]
    """Images of training, query and gallery, of each variant."""
    cameras: int
    """Numbered from 1."""


SETS = {
    "market1501": PublicSet("Market-1501", ((12936, 3368, 15913),), 6),
    "dukemtmc": PublicSet("DukeMTMC-reID", ((16522, 2228, 17661),), 8),
    "cuhk03-np": PublicSet("CUHK03, new protocol", ((7368, 1400, 5328), (7365, 1400, 5332)), 2),
    "msmt17": PublicSet("MSMT17", ((32621, 11659, 82161),), 15),
}


def is_public(source: str) -> bool:
    """Whether a set's name is one of this file's: `NAME:PATH`."""
    kind, separator, path = source.partition(":")
    return kind in SETS and bool(separator and path) and path != "validation"


def read_public(source: str, part: str = "train") -> Iterator[StoredCrop]:
    """Read one part of `NAME:PATH`, in the order of names.

    Raises:
        DataError: the folder, a list or an image is missing, or a name lacks person or camera.
    """
    kind, _, path = source.partition(":")
    root = Path(path)
    if not root.is_dir():
        raise DataError(f"{kind} must lie in a folder, {root} is none")
    crops = _msmt17(root, part) if kind == "msmt17" else _market_layout(kind, root, part)
    found = False
    for crop in crops:
        found = True
        if not 1 <= int(crop.camera) <= SETS[kind].cameras:
            raise DataError(
                f"{SETS[kind].title} has cameras 1 to {SETS[kind].cameras}, {crop.name} is of camera {crop.camera}"
            )
        yield crop
    if not found:
        raise DataError(f"{SETS[kind].title} must have images for {part}, {root} has none")


def protocol(source: str, query: int, gallery: int) -> str:
    """Return the name of the protocol, and whether all published images are present."""
    kind = source.partition(":")[0]
    known = SETS[kind]
    text = f"{known.title} single query, as published"
    if (query, gallery) in [count[1:] for count in known.counts]:
        return text
    wanted = " or ".join(f"{count[1]} and {count[2]}" for count in known.counts)
    return f"{text}, but incomplete: {query} queries and {gallery} gallery images of {wanted}"


def _market_layout(kind: str, root: Path, part: str) -> Iterator[StoredCrop]:
    folder = root / _FOLDERS[part]
    if not folder.is_dir():
        inside = ", ".join(_FOLDERS.values())
        hint = "; name its folder labeled or detected" if kind == "cuhk03-np" else ""
        raise DataError(f"{SETS[kind].title} must hold {inside}, {folder} is missing{hint}")
    for file in sorted(without_clutter(folder.iterdir(), folder)):
        if file.suffix.lower() in IMAGE_SUFFIXES and not file.name.startswith("-1"):
            yield StoredCrop(file.name, *parse_name(file.name, str(file)), kind, file.read_bytes())


def _msmt17(root: Path, part: str) -> Iterator[StoredCrop]:
    side = "train" if part == "train" else "test"
    folders = [root / name for name in (side, f"mask_{side}_v2") if (root / name).is_dir()]
    if not folders:
        raise DataError(f"MSMT17 must hold {side} or mask_{side}_v2, {root} holds neither")
    for name in _LISTS[part]:
        try:
            lines = (root / name).read_text(encoding="utf-8").splitlines()
        except OSError as error:
            raise DataError(f"MSMT17 must hold {name}, {root / name}: {error.strerror}") from error
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            path, _, person = line.strip().rpartition(" ")
            fields = path.rsplit("/", 1)[-1].split("_")
            if not person.isdigit() or len(fields) < 4 or not fields[2].isdigit():
                raise DataError(
                    f"a line of {name} must be PERSON/PPPP_NNN_CC_….jpg and a number, got {line!r} "
                    f"({root / name}, line {number})"
                )
            try:
                data = (folders[0] / path).read_bytes()
            except OSError as error:
                raise DataError(
                    f"{name} must name images that are there, {folders[0] / path}: {error.strerror}"
                ) from error
            yield StoredCrop(f"{side}/{path}", f"{side}-{int(person):04d}", str(int(fields[2])), "msmt17", data)
