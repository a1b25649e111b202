"""Published sets are read in their authors' layouts, and scored by their protocols."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from reid_stream.embed.preprocess import InputSpec
from trainer.config import load
from trainer.data.sets import read
from trainer.data.test_sets import read_test_set
from trainer.errors import DataError
from trainer.evaluate.retrieval import score, squared_distances
from trainer.train.loop import load_images

SPEC = InputSpec(32, 16)
PICTURE = cv2.imencode(".jpg", np.full((32, 16, 3), 90, np.uint8))[1].tobytes()


def put(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(PICTURE)


def market_like(root: Path, pattern: Callable[[int, int, int], str]) -> str:
    """Six persons to learn from, two to ask for: person 11 by cameras 1 and 2, person 12 by camera 1 only."""
    for person in range(1, 7):
        put(root, *(f"bounding_box_train/{pattern(person, camera, 1)}" for camera in (1, 2)))
    put(root, f"query/{pattern(11, 1, 1)}", f"query/{pattern(12, 1, 1)}")
    put(root, *(f"bounding_box_test/{pattern(11, camera, 2)}" for camera in (1, 2)))
    put(root, f"bounding_box_test/{pattern(12, 1, 2)}", f"bounding_box_test/{pattern(0, 2, 3)}")
    put(root, f"bounding_box_test/-1{pattern(11, 2, 9)[4:]}", "bounding_box_test/Thumbs.db")
    return str(root)


def market(person: int, camera: int, number: int) -> str:
    return f"{person:04d}_c{camera}s1_{number:06d}_00.jpg"


def duke(person: int, camera: int, number: int) -> str:
    return f"{person:04d}_c{camera}_f{number:07d}.jpg"


def cuhk03(person: int, camera: int, number: int) -> str:
    return f"{person:04d}_c{camera}_{number:02d}.png"


def msmt17(root: Path, train: str = "train", test: str = "test") -> str:
    def image(person: int, camera: int, number: int) -> str:
        return f"{person:04d}/{person:04d}_{number:03d}_{camera:02d}_0303morning_0015_0.jpg"

    lists: dict[str, list[tuple[int, int, int]]] = {
        "list_train.txt": [(p, c, c) for p in range(4) for c in (1, 15)],
        "list_val.txt": [(p, c, c) for p in range(4, 6) for c in (1, 15)],
        "list_query.txt": [(0, 1, 1)],
        "list_gallery.txt": [(0, 1, 2), (0, 2, 3), (1, 2, 1)],
    }
    for name, rows in lists.items():
        side = train if name in ("list_train.txt", "list_val.txt") else test
        put(root, *(f"{side}/{image(*row)}" for row in rows))
        (root / name).write_text("".join(f"{image(*row)} {row[0]}\n" for row in rows))
    return str(root)


@pytest.mark.parametrize(
    ("name", "pattern"),
    [("market1501", market), ("dukemtmc", duke), ("cuhk03-np", cuhk03)],
    ids=["market1501", "dukemtmc", "cuhk03-np"],
)
def test_query_and_gallery_follow_the_protocol(
    tmp_path: Path, name: str, pattern: Callable[[int, int, int], str]
) -> None:
    source = f"{name}:{market_like(tmp_path, pattern)}"
    assert len(list(read(source))) == 12
    tested = read_test_set(source, None, SPEC)
    assert (len(tested.query), len(tested.gallery)) == (2, 4)  # junk is out, the distractor is in
    vectors = np.eye(6, dtype=np.float32)
    vectors[tested.gallery[-1]] = vectors[tested.query[0]]
    found = score(squared_distances(vectors[tested.query], vectors[tested.gallery]), tested.labels, ranks=1)
    assert (found.queries, found.skipped) == (1, 1)  # 12 is on no other camera
    assert "as published, but incomplete: 2 queries and 4 gallery images of " in tested.protocol


@pytest.mark.parametrize(("train", "test"), [("train", "test"), ("mask_train_v2", "mask_test_v2")])
def test_msmt17_goes_by_its_lists_and_learns_from_its_validation_persons_too(
    tmp_path: Path, train: str, test: str
) -> None:
    source = f"msmt17:{msmt17(tmp_path, train, test)}"
    crops = list(read(source))
    assert len({crop.person for crop in crops}) == 6
    assert {crop.camera for crop in crops} == {"1", "15"}
    tested = read_test_set(source, None, SPEC)
    assert (len(tested.query), len(tested.gallery)) == (1, 3)
    assert "of 11659 and 82161" in tested.protocol


def test_a_published_set_can_be_learned_from(tmp_path: Path) -> None:
    config = Path(__file__).parents[3] / "configs" / "train-tiny.yaml"
    changes = (f"data.sets=['dukemtmc:{market_like(tmp_path, duke)}']", "data.validation_ids=2")
    training, held = load_images(load(config, changes), None)
    assert (len(training.person_names), len(held.person_names)) == (4, 2)
    assert training.domain_names == ("dukemtmc",)


def test_what_is_missing_or_wrong_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"dukemtmc must lie in a folder, .*nowhere is none"):
        list(read(f"dukemtmc:{tmp_path / 'nowhere'}"))
    with pytest.raises(DataError, match=r"bounding_box_train is missing; name its folder labeled or detected"):
        list(read(f"cuhk03-np:{tmp_path}"))
    put(tmp_path, "bounding_box_train/0001_c9_f0000001.jpg")
    with pytest.raises(DataError, match=r"DukeMTMC-reID has cameras 1 to 8, 0001_c9_f0000001.jpg is of camera 9"):
        list(read(f"dukemtmc:{tmp_path}"))
    put(tmp_path, "train/0001/0001_000_01_0303morning_0015_0.jpg")
    (tmp_path / "list_train.txt").write_text("0001/0001_000_01_0303morning_0015_0.jpg one\n")
    with pytest.raises(DataError, match=r"a line of list_train.txt must be PERSON/.* and a number, got .*line 1"):
        list(read(f"msmt17:{tmp_path}"))
    (tmp_path / "list_train.txt").write_text("0001/0001_001_01_0303morning_0015_0.jpg 1\n")
    with pytest.raises(DataError, match="list_train.txt must name images that are there"):
        list(read(f"msmt17:{tmp_path}"))
