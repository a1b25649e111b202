"""Looks of simulated people: real vectors, synthetic people like them, look-alikes."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.simulator import crops
from benchmarks.simulator.looks import Looks, cast, made
from reid_stream.errors import ConfigError
from reid_stream.records import Floats
from tests.benchmarks.simulator.people import looks


def means(people: Looks) -> Floats:
    found = np.stack(
        [people.vectors[people.rows(person)].astype(np.float32).mean(axis=0) for person in range(len(people))]
    )
    return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True), dtype=np.float32)


def nearest(people: Looks) -> Floats:
    cosines = means(people) @ means(people).T
    np.fill_diagonal(cosines, -1)
    return np.asarray(cosines.max(axis=1))


def test_vectors_are_found_by_person_and_view() -> None:
    people = looks(4, 3, 2)
    assert len(people) == 4
    assert people.views == 3
    assert people.count.tolist() == [[2] * 3] * 4
    assert people.rows(1) == slice(6, 12)


def test_made_up_people_are_as_alike_as_real_ones_and_vary_as_much() -> None:
    real = looks(60, dim=16)
    new = made(real, 300, np.random.default_rng(1))
    assert len(new) == 300
    lengths = np.linalg.norm(new.vectors.astype(np.float32), axis=1)
    assert lengths == pytest.approx(1, abs=2e-3)

    def spread(people: Looks) -> float:
        inner = [people.vectors[people.rows(p)].astype(np.float32) for p in range(60)]
        return float(np.mean([(v @ v.T)[np.triu_indices(len(v), 1)].mean() for v in inner]))

    def between(people: Looks) -> float:
        cosines = means(people) @ means(people).T
        return float(np.std(cosines[np.triu_indices(len(people), 1)]))

    assert spread(new) == pytest.approx(spread(real), abs=0.03)
    assert between(new) == pytest.approx(between(real), rel=0.25)


def test_a_cast_larger_than_the_real_people_is_filled_up() -> None:
    people = cast(looks(10), 25, 0.0, 0.5, np.random.default_rng(1))
    assert len(people) == 25
    assert people.first[-1, -1] + people.count[-1, -1] == len(people.vectors)


def test_look_alikes_are_nearer_to_one_person() -> None:
    real = looks(40, dim=128)
    plain, alike = (cast(real, 40, share, 0.5, np.random.default_rng(1)) for share in (0.0, 0.5))
    assert np.median(nearest(plain)) < 0.4
    assert (nearest(alike) > 0.55).sum() >= 20


def test_crops_of_a_folder_are_named_by_person_and_camera(tmp_path: Path) -> None:
    (tmp_path / "ann").mkdir()
    (tmp_path / "ann" / "x_c4.jpg").write_bytes(b"3")
    (tmp_path / "0007_c2s1_000451_03.jpg").write_bytes(b"2")
    (tmp_path / "0002_c1s1_000451_03.jpg").write_bytes(b"1")
    (tmp_path / "-1_c1s1_000451_03.jpg").write_bytes(b"junk")
    found = crops.read(str(tmp_path), None, "test")
    assert [(c.person, c.camera, c.data) for c in found] == [
        ("0002", "1", b"1"),
        ("0007", "2", b"2"),
        ("ann", "4", b"3"),
    ]


@pytest.mark.parametrize(
    ("name", "message"), [("holiday.jpg", "must start with PPPP_cC"), ("ann/holiday.jpg", "must name its camera")]
)
def test_a_crop_without_a_name_is_refused(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b"1")
    with pytest.raises(ConfigError, match=message):
        crops.read(str(tmp_path), None, "test")


def test_no_crops_are_an_error_with_what_is_needed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="crops must be images named"):
        crops.read(str(tmp_path), None, "test")
    with pytest.raises(ConfigError, match="set REID_STREAM_DATA"):
        crops.read("market1501", None, "test")
    with pytest.raises(ConfigError, match="needs its identity split"):
        crops.read("market1501", tmp_path, "test")


def test_the_people_to_tune_on_are_the_ones_that_the_trainer_holds_back(tmp_path: Path) -> None:
    from trainer.data.sets import split_market1501

    (tmp_path / "people").mkdir()
    ids = [f"{number:04}" for number in range(2, 200)]
    (tmp_path / "people" / "market1501_split.json").write_text(
        json.dumps({"train_ids": ids, "test_ids": ["0001"], "query": [], "gallery": []})
    )
    drawn = crops._persons(tmp_path / "people" / "market1501_split.json", "validation")
    assert sorted(drawn) == sorted(split_market1501(tmp_path).validation)
