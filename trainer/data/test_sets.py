"""Test sets by name: query and gallery by a stated protocol.

| set | query | gallery |
| --- | --- | --- |
| market1501 | the 650 query images of the split's 150 test persons | its 1,806 gallery images |
| market1501:validation | one image per person and camera of the 60 validation persons | their other images |
| cuhk03, cuhk01 | all images of camera 1 | all images of camera 2 |
| market1501:PATH, dukemtmc:PATH, cuhk03-np:PATH, msmt17:PATH | see public_sets.py | as published |
| folder:PATH, tracklets:PATH | one image per person and camera | the other images |

In all of them same-person images of the query's own camera are taken out (trainer/evaluate/retrieval.py).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from reid_stream.embed.preprocess import InputSpec
from trainer.data.crops import Images, StoredCrop, assemble
from trainer.data.files import is_distractor
from trainer.data.public_sets import is_public, protocol, read_public
from trainer.data.sets import check_shared_persons, read, split_market1501
from trainer.errors import DataError
from trainer.evaluate.retrieval import Ints, RetrievalLabels


@dataclass(frozen=True, eq=False)
class TestSet:
    """Images with a protocol."""

    __test__ = False  # for pytest: no test, whatever its name

    name: str
    protocol: str
    """Protocol in words, for reports."""
    images: Images
    query: Ints
    """Places in `images`."""
    gallery: Ints
    """Places in `images`."""

    @property
    def labels(self) -> RetrievalLabels:
        """Persons and cameras of query and gallery."""
        persons, cameras = self.images.persons, self.images.cameras
        return RetrievalLabels(persons[self.query], cameras[self.query], persons[self.gallery], cameras[self.gallery])


def read_test_set(
    name: str, data: Path | None, spec: InputSpec, validation_ids: int = 60, validation_seed: int = 1501
) -> TestSet:
    """Read a set at a network's size.

    Raises:
        DataError: unknown set, missing files, one camera only, broken images.
    """
    if name in ("market1501", "market1501:validation"):
        return _market1501(name, data, spec, validation_ids, validation_seed)
    if is_public(name):
        asked, searched = list(read_public(name, "query")), list(read_public(name, "gallery"))
        images = assemble(asked + searched, spec.height, spec.width)
        query, gallery = np.arange(len(asked)), np.arange(len(asked), len(images))
        return TestSet(name, protocol(name, len(query), len(gallery)), images, query, gallery)
    crops = list(read(name, data))
    check_shared_persons([crop for crop in crops if not is_distractor(crop.name)], name)
    images = assemble(crops, spec.height, spec.width)
    if name in ("cuhk03", "cuhk01"):
        first = np.array([camera.endswith(":1") for camera in images.camera_names])[images.cameras]
        return TestSet(
            name, "query = camera 1, gallery = camera 2", images, np.flatnonzero(first), np.flatnonzero(~first)
        )
    return one_each(name, images)


def check_test_sets(names: Iterable[str], data: Path | None) -> None:
    """Make sure that sets have what a test needs, before anything is computed on the first; no image is decoded.

    Raises:
        DataError: unknown set, missing files, one camera only, or cameras without a common person.
    """
    for name in names:
        if not is_public(name) and name not in ("market1501", "market1501:validation"):
            check_shared_persons((crop for crop in read(name, data) if not is_distractor(crop.name)), name)


def _market1501(name: str, data: Path | None, spec: InputSpec, validation_ids: int, seed: int) -> TestSet:
    if data is None:
        raise DataError("market1501 needs the folder that holds people/: give --data or set REID_STREAM_DATA")
    split = split_market1501(data, validation_ids, seed)
    crops: list[StoredCrop] = list(read("market1501", data))
    if name == "market1501:validation":
        held = set(split.validation)
        return one_each(name, assemble([c for c in crops if c.person in held], spec.height, spec.width))
    asked, searched = set(split.query), set(split.gallery)
    images = assemble([c for c in crops if c.name in asked or c.name in searched], spec.height, spec.width)
    query = np.flatnonzero([image in asked for image in images.names])
    gallery = np.flatnonzero([image in searched for image in images.names])
    if (len(query), len(gallery)) != (len(asked), len(searched)):
        raise DataError(
            f"market1501 must hold {len(asked)} query and {len(searched)} gallery images, "
            f"found {len(query)} and {len(gallery)}"
        )
    return TestSet(name, "Market-1501 single query, 150 test persons", images, query, gallery)


def one_each(name: str, images: Images) -> TestSet:
    """Take the first image of each person and camera as query, all others as gallery; distractors are never queries."""
    keys = images.persons * (images.cameras.max() + 1) + images.cameras
    query = np.unique(keys, return_index=True)[1]
    query = np.array([row for row in query.tolist() if not is_distractor(images.names[row])], dtype=np.int64)
    gallery = np.setdiff1d(np.arange(len(images)), query)
    if not len(gallery):
        raise DataError(f"{name} must have a second image of someone in one camera, found one image each")
    return TestSet(name, "query = first image of each person and camera, gallery = the others", images, query, gallery)
