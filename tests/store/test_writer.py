"""Tracklets reach the disk whole, with the right names, within the quota, and without delaying the daemon."""

import errno
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from reid_stream import store
from reid_stream.config.settings import Store as StoreSettings
from reid_stream.errors import ConfigError, InUseError
from reid_stream.records import (
    CameraId,
    Crop,
    Decision,
    Erasing,
    GlobalId,
    Merge,
    Observation,
    Sighting,
    Split,
    TrackEnded,
    TrackId,
    pack_vector,
)
from reid_stream.store import writer as writing
from reid_stream.store.layout import NOW, now_file
from reid_stream.store.writer import StoreWriter

DOOR = CameraId("door")
AT = 1_790_000_000.0


def crop(track: int = 1, at: float = AT, quality: float = 0.5, shade: int = 90) -> Crop:
    return Crop(
        camera=DOOR,
        run="r",
        track=TrackId(track),
        at=at,
        clock="rtcp",
        box=(1.0, 2.0, 9.0, 22.0),
        quality=quality,
        image=np.full((20, 8, 3), (shade, 10, 200), np.uint8),
        vector=pack_vector(np.array([0.6, 0.8], np.float32)),
        model="b" * 8,
    )


def picture(shade: int) -> bytes:
    """Return a JPEG of one grey."""
    return bytes(cv2.imencode(".jpg", np.full((64, 32, 3), shade, np.uint8))[1].tobytes())


def observation(track: int) -> Observation:
    return Observation(
        run="r", camera=DOOR, track=TrackId(track), sequence=1, seen_at=AT, clock="rtcp", box=(1, 2, 9, 22),
        frame_size=(64, 48), score=0.9, quality=0.5, vector=None, model="b" * 8,
    )  # fmt: skip


def sighting(track: int, person: str, revision: int = 0) -> Sighting:
    return Sighting(GlobalId(person), "confirmed", None, None, revision, observation(track))


def ended(track: int) -> TrackEnded:
    return TrackEnded(run="r", camera=DOOR, track=TrackId(track), sequence=2, seen_at=AT)


@contextmanager
def opened(folder: Path, at: float = AT, *, shows_now: bool = False, **settings: float) -> Iterator[StoreWriter]:
    made = StoreSettings.model_validate({"settle_s": 0} | settings)
    writer = StoreWriter(made, folder, lambda: at, shows_now=shows_now)
    try:
        yield writer
    finally:
        writer.close()


def wait(until: Callable[[], object]) -> None:
    limit = time.monotonic() + 10
    while not until():
        assert time.monotonic() < limit, "timed out"
        time.sleep(0.01)


def keep(folder: Path, *decisions: Decision, tracks: int = 1) -> None:
    with opened(folder) as writer:
        writer.decided(decisions)
        for track in range(1, tracks + 1):
            writer.take([crop(track)], [ended(track)])


def people(folder: Path) -> list[tuple[int, str | None, int]]:
    read = [store.read(path)[0] for path in store.tracks(folder)]
    return sorted((track.track, track.global_id, track.revision) for track in read)


def test_a_track_lies_on_disk_whole_with_its_name_crops_and_vectors(tmp_path: Path) -> None:
    with opened(tmp_path) as writer:
        writer.take([crop(at=AT + second, shade=100 + second) for second in range(3)], [])
        writer.decided([sighting(1, "site-7", 2)])
        writer.take([], [ended(1)])
    (folder,) = store.tracks(tmp_path)
    track, crops = store.read(folder)
    assert folder == store.folder_of(tmp_path, "door", "20260921", "r", 1)
    assert (track.global_id, track.revision, track.clock, track.times) == ("site-7", 2, "rtcp", [AT, AT + 1, AT + 2])
    assert len(crops) == 3
    vectors = np.asarray(store.vectors_of(folder, track))
    assert vectors[0].tolist() == pytest.approx([0.6, 0.8], abs=1e-3)
    assert not (tmp_path / ".part").exists() or not list((tmp_path / ".part").iterdir())


def test_colours_stay_as_they_were(tmp_path: Path) -> None:
    keep(tmp_path)
    (folder,) = store.tracks(tmp_path)
    pixel = np.asarray(cv2.imread(str(folder / store.crop_name(1))))[10, 4].tolist()
    assert pixel == pytest.approx([200, 10, 90], abs=12)  # OpenCV reads blue first


def test_the_best_crops_stay_in_time_order(tmp_path: Path) -> None:
    with opened(tmp_path, crops_per_track=2) as writer:
        writer.take([crop(at=AT + n, quality=quality) for n, quality in enumerate((0.9, 0.2, 0.7, 0.3))], [])
    (folder,) = store.tracks(tmp_path)
    assert store.read(folder)[0].qualities == [0.9, 0.7]


def test_a_merge_renames_what_is_on_disk_and_what_is_open(tmp_path: Path) -> None:
    merge = Merge(GlobalId("site-2"), GlobalId("site-1"), 3, 0.9, 0.9, AT)
    with opened(tmp_path) as writer:
        writer.decided([sighting(1, "site-2"), sighting(2, "site-2")])
        writer.take([crop(1), crop(2)], [ended(1)])
        wait(lambda: writer.written == 1)
        writer.decided([merge])
    assert people(tmp_path) == [(1, "site-1", 3), (2, "site-1", 3)]


def test_a_split_renames_only_its_tracks(tmp_path: Path) -> None:
    keep(tmp_path, sighting(1, "site-1"), sighting(2, "site-1"), tracks=2)
    split = Split(GlobalId("site-1"), GlobalId("site-5"), ((DOOR, "r", TrackId(2)),), 1, AT)
    with opened(tmp_path) as writer:  # another process: it has taken stock
        writer.decided([split])
    assert people(tmp_path) == [(1, "site-1", 0), (2, "site-5", 1)]


def test_an_erased_person_has_no_crop_left_open_or_on_disk(tmp_path: Path) -> None:
    keep(tmp_path, sighting(1, "site-1"), sighting(2, "site-2"), tracks=2)
    with opened(tmp_path) as writer:
        writer.decided([sighting(3, "site-7"), sighting(4, "site-2")])
        writer.take([crop(3), crop(4)], [])
        merge = Merge(GlobalId("site-7"), GlobalId("site-1"), 3, 0.9, 0.9, AT)
        writer.decided([merge, Erasing(GlobalId("site-1"), "5-0", AT), sighting(3, "site-8")])
        assert writer.erased("5-0", 5) == 2
        writer.take([crop(3)], [])  # still in view, and a new person
    assert people(tmp_path) == [(2, "site-2", 0), (3, "site-8", 0), (4, "site-2", 0)]


def test_the_best_crop_so_far_is_there_until_the_track_is_written(tmp_path: Path) -> None:
    shown = now_file(tmp_path, DOOR, "r", 1)
    with opened(tmp_path, shows_now=True) as writer:
        writer.take([crop(quality=0.3, shade=40)], [])
        wait(shown.is_file)
        first = shown.read_bytes()
        writer.take([crop(at=AT + 1, quality=0.2, shade=80), crop(at=AT + 2, quality=0.8, shade=200)], [])
        wait(lambda: shown.read_bytes() != first)
        best = cv2.imdecode(np.frombuffer(shown.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
        assert best is not None
        assert best[..., 2].mean() == pytest.approx(200, abs=3)
        writer.take([], [ended(1)])
        wait(lambda: list(store.tracks(tmp_path)) != [])
        wait(lambda: not shown.exists())
    with opened(tmp_path / "off") as writer:
        writer.take([crop()], [])
        time.sleep(0.1)
        assert not (tmp_path / "off" / NOW).exists()


def test_a_picture_of_a_person_in_view_is_erased_with_the_person(tmp_path: Path) -> None:
    shown = now_file(tmp_path, DOOR, "r", 1)
    with opened(tmp_path, shows_now=True) as writer:
        writer.take([crop()], [])
        wait(shown.is_file)
        writer.decided([sighting(1, "shop-1"), Erasing(GlobalId("shop-1"), "1-0", AT)])
        assert writer.erased("1-0", 10) == 1
        assert not shown.exists()


def test_room_is_counted_in_blocks_of_the_disk(tmp_path: Path) -> None:
    keep(tmp_path, tracks=3)
    with opened(tmp_path) as writer:
        files = [path for folder in store.tracks(tmp_path) for path in (folder, *folder.iterdir())]
        assert writer.used_bytes == sum(path.stat().st_blocks * 512 for path in files)
        assert writer.used_bytes > sum(path.stat().st_size for path in files if path.is_file())


def test_the_oldest_tracks_make_room(tmp_path: Path) -> None:
    with opened(tmp_path, max_gb=50e-6) as writer:  # 50 kB
        for track in range(1, 9):
            writer.take([crop(track)], [ended(track)])
            wait(partial(lambda track: writer.written == track, track))
        wait(lambda: writer.used_bytes <= 50_000)
        assert writer.removed > 0
    left = [track for track, _, _ in people(tmp_path)]
    assert left == list(range(9 - len(left), 9))


def test_old_tracks_are_deleted(tmp_path: Path) -> None:
    keep(tmp_path)
    (folder,) = store.tracks(tmp_path)
    os.utime(folder / store.TRACK_FILE, (AT, AT))
    with opened(tmp_path, at=AT + 101, retention_s=100):
        pass
    assert list(store.tracks(tmp_path)) == []
    assert not (tmp_path / "door").exists()


def test_a_full_disk_costs_the_oldest_tracks_and_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(tmp_path, tracks=3)
    is_full = [True]
    real = store.write

    def write(folder: Path, *rest: object) -> Path:
        if len(list(store.tracks(folder))) >= 3 or is_full[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(folder, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(writing, "write", write)
    with opened(tmp_path) as writer:
        writer.take([crop(8)], [ended(8)])
        wait(lambda: writer.lost["disk full"] == 1)
        is_full[0] = False
        writer.take([crop(9)], [ended(9)])
        wait(lambda: writer.written == 1)
    assert 9 in [track for track, _, _ in people(tmp_path)]


def test_what_comes_while_another_track_is_written_is_kept_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_writing, may_write, real = threading.Event(), threading.Event(), store.write

    def write(*what: Any) -> Path:
        is_writing.set()
        may_write.wait(10)
        return real(*what)

    monkeypatch.setattr(writing, "write", write)
    with opened(tmp_path) as writer:
        writer.take([crop(1)], [ended(1)])
        assert is_writing.wait(10)
        writer.take([crop(2)], [ended(2)])
        threading.Timer(0.2, may_write.set).start()  # the writer closes before the first track is written
    assert [track for track, _, _ in people(tmp_path)] == [1, 2]


def test_a_crop_whose_time_is_of_no_day_costs_no_other_track(tmp_path: Path) -> None:
    with opened(tmp_path) as writer:
        writer.take([crop(1, at=1e12), crop(2, at=1e300)], [ended(1), ended(2)])
        wait(lambda: writer.lost["unwritable"] == 2)
        writer.take([crop(3)], [ended(3)])
    assert [track for track, _, _ in people(tmp_path)] == [3]


def test_links_that_lead_nowhere_neither_stop_the_store_nor_count_as_their_target(tmp_path: Path) -> None:
    keep(tmp_path, tracks=2)
    first, second = store.tracks(tmp_path)
    (first / "away.jpg").symlink_to(tmp_path / "nothing")
    (first / "loop.jpg").symlink_to(first / "loop.jpg")
    (second / store.TRACK_FILE).unlink()
    (second / store.TRACK_FILE).symlink_to(tmp_path / "nothing")
    with opened(tmp_path) as writer:
        assert writer.used_bytes == sum(path.lstat().st_blocks * 512 for path in (first, *first.iterdir()))
        writer.take([crop(3)], [ended(3)])
    assert writer.written == 1


def test_crops_that_could_not_be_cut_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StoreWriter, "_loop", lambda self: None)
    writer = StoreWriter(StoreSettings(), tmp_path, queue_size=3)
    writer.take([crop(at=AT + n) for n in range(6)], [])
    writer.close()
    assert writer.lost == {"busy": 3}


def test_a_second_daemon_is_refused(tmp_path: Path) -> None:
    with opened(tmp_path), pytest.raises(InUseError, match="one daemon only"):
        StoreWriter(StoreSettings(), tmp_path)


def test_what_a_killed_daemon_left_half_done_is_swept_away(tmp_path: Path) -> None:
    (tmp_path / ".part" / "door-r-1").mkdir(parents=True)
    keep(tmp_path)
    assert people(tmp_path) == [(1, None, 0)]


def test_a_file_where_the_store_should_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"store\.folder must be a folder"):
        StoreWriter(StoreSettings(), tmp_path / "file")
