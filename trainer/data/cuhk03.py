"""The parts of CUHK03 beside its labelled boxes of camera pair 1.

| set | images |
| --- | --- |
| cuhk03+detected | labelled and detected boxes of the 843 people of pair 1, as one set |
| cuhk03-pair2 to cuhk03-pair5 | cameras 3+4, 5+6, 7+8, 9+10, one set per pair; people may come again in another pair |

Source: Li et al., "DeepReID", CVPR 2014.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from trainer.data.crops import StoredCrop, read_archive
from trainer.errors import DataError

BOTH = "cuhk03+detected"
PAIRS = {f"cuhk03-pair{pair}": (str(2 * pair - 1), str(2 * pair)) for pair in range(2, 6)}
SETS = (BOTH, *PAIRS)


def read_cuhk03(source: str, folder: Path | None) -> Iterator[StoredCrop]:
    """Read one of `SETS` below `folder`/people.

    Raises:
        DataError: no folder, or an archive is missing or broken.
    """
    if folder is None:
        raise DataError(f"{source} needs the folder that holds people/: give --data or set REID_STREAM_DATA")
    people = folder / "people"
    if source == BOTH:
        for boxes in ("labeled", "detected"):
            for crop in read_archive(people / f"cuhk03_pair1_{boxes}.tar.gz", "cuhk03"):
                yield replace(crop, name=f"{boxes}/{crop.name}")
        return
    for crop in read_archive(people / "cuhk03_pairs2to5.tar.gz", source):
        if crop.camera in PAIRS[source]:
            yield crop
