"""Engines on disk: keyed by all they depend on, never half-read, built once by the first process."""

import os
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from reid_stream.engines.accuracy_check import Parity
from reid_stream.engines.plan_cache import OptimizationProfile, PlanCache, PlanKey

KEY = PlanKey(
    model="ab" * 32,
    library="tensorrt_rtx 1.7.1.116",
    arch="sm_86",
    precision="f16",
    profile=OptimizationProfile(batch=(1, 4, 16), least=(32, 32), usual=(384, 640), most=(640, 640)),
)
PLAN = bytes(range(256)) * 40


def _changed(**changes: object) -> PlanKey:
    return msgspec.structs.replace(KEY, **changes)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    plans = PlanCache(tmp_path / "deep" / "cache")
    assert plans.read(KEY) == (None, "")
    plans.write(KEY, PLAN)
    assert plans.read(KEY) == (PLAN, "")
    assert [path.name for path in plans.folder.iterdir()] == [f"{KEY.name}.plan"]


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "cd" * 32},
        {"library": "tensorrt_rtx 1.8.0"},
        {"arch": "sm_89"},
        {"precision": "bf16"},
        {"profile": OptimizationProfile(batch=(1, 4, 16), least=(32, 32), usual=(384, 640), most=(1280, 1280))},
    ],
)
def test_another_model_library_gpu_precision_or_profile_finds_nothing(
    tmp_path: Path, changes: dict[str, object]
) -> None:
    plans = PlanCache(tmp_path)
    plans.write(KEY, PLAN)
    assert plans.read(_changed(**changes)) == (None, "")


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda content: content[:-100], "cut off"),
        (lambda content: content[:50], "no engine of ours"),
        (lambda content: b"", "no engine of ours"),
        (lambda content: content[:-1] + bytes([content[-1] ^ 1]), "altered"),
        (lambda content: b"ptrt" + os.urandom(4000), "no engine of ours"),
        (lambda content: content.replace(b"sm_86", b"sm_89"), "another network, library, GPU"),
    ],
)
def test_what_is_cut_off_altered_or_foreign_is_reported_and_not_read(
    tmp_path: Path, spoil: Callable[[bytes], bytes], why: str
) -> None:
    plans = PlanCache(tmp_path)
    path = plans.write(KEY, PLAN)
    path.write_bytes(spoil(path.read_bytes()))
    found, reason = plans.read(KEY)
    assert found is None
    assert why in reason
    assert path.name in reason


def test_a_folder_that_cannot_be_written_is_an_error_that_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(FileExistsError):
        PlanCache(tmp_path / "file").write(KEY, PLAN)
    with PlanCache(tmp_path / "file").lock(KEY, lambda: None, 1) as is_ours:
        assert not is_ours


def test_a_full_disk_leaves_no_part_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plans = PlanCache(tmp_path)

    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        plans.write(KEY, PLAN)
    assert list(tmp_path.iterdir()) == []


def test_one_builds_while_the_other_waits(tmp_path: Path) -> None:
    plans, waits = PlanCache(tmp_path), threading.Event()
    order: list[tuple[str, bool]] = []

    def second() -> None:
        with PlanCache(tmp_path).lock(KEY, waits.set, 30) as is_ours:
            order.append(("second", is_ours))

    with plans.lock(KEY, lambda: None, 1) as is_ours:
        assert is_ours
        other = threading.Thread(target=second)
        other.start()
        assert waits.wait(10)
        order.append(("first", True))
    other.join(10)
    assert order == [("first", True), ("second", True)]


def test_a_check_belongs_to_the_plan_it_was_made_of(tmp_path: Path) -> None:
    plans, parity = PlanCache(tmp_path), Parity(pictures=3, is_finite=True, difference=0.01, cosine=0.999)
    plans.write(KEY, PLAN)
    assert plans.checked(KEY, PLAN) is None
    plans.remember(KEY, PLAN, parity)
    assert plans.checked(KEY, PLAN) == parity
    assert plans.checked(KEY, PLAN + b"!") is None
