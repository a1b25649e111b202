"""A disk that is really full: a file system of two megabytes in its own name space."""

import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

ROOT = Path(__file__).parents[2]
_FILL = """
import json, sys
from pathlib import Path
import numpy as np
from reid_stream import store
from reid_stream.config.settings import Store
from reid_stream.records import CameraId, Crop, TrackEnded, TrackId
from reid_stream.store.writer import StoreWriter

folder, random = Path(sys.argv[1]), np.random.default_rng(0)
writer = StoreWriter(Store(folder=folder, settle_s=0), folder, lambda: 0.0)
for track in range(1, 301):
    picture = random.integers(0, 255, (96, 48, 3)).astype(np.uint8)
    at = float(track)
    writer.take(
        [Crop(CameraId("door"), "r", TrackId(track), at, "rtcp", (0.0, 0.0, 48.0, 96.0), 0.5, picture, None, "b")],
        [TrackEnded("r", CameraId("door"), TrackId(track), 0, at)],
    )
writer.close(60)
left = [store.read(place)[0].track for place in store.tracks(folder)]
parts = list((folder / ".part").glob("*")) if (folder / ".part").exists() else []
print(json.dumps([sorted(left), writer.written, writer.removed, dict(writer.lost), len(parts)]))
"""


def _mounts() -> bool:
    if shutil.which("unshare") is None:
        return False
    return subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False).returncode == 0


_ERASE = """
import json, subprocess, sys, time
from pathlib import Path
import numpy as np
from reid_stream import store
from reid_stream.config.settings import Store
from reid_stream.records import CameraId, Crop, Erasing, GlobalId, TrackEnded, TrackId
from reid_stream.store.layout import StoredTrack, write
from reid_stream.store.quota import StoreQuota
from reid_stream.store.writer import StoreWriter, encode_crop

disk = Path(sys.argv[1])
picture = encode_crop(np.zeros((20, 8, 3), np.uint8))
for track in (1, 2):
    stored = StoredTrack(
        camera=CameraId("door"), run="r", track=TrackId(track), times=[1.0], boxes=[(0.0, 0.0, 8.0, 20.0)],
        qualities=[0.5], clock="rtcp", global_id=GlobalId(f"shop-{track}"), revision=1, bundle="b",
    )
    write(disk, stored, [picture], None)
writer = StoreWriter(Store(folder=disk, settle_s=0), disk, lambda: 2.0)
for step in (["--bind", disk / "door"], ["-o", "remount,bind,ro"]):
    subprocess.run(["mount", *step, disk / "door"], check=True)
writer.decided([Erasing(GlobalId("shop-1"), "1-0", 2.0)])
while_refused = writer.erased("1-0", 1.5), len(list(store.tracks(disk)))
removed = []
for remove in (lambda quota: quota.trim(1e12), StoreQuota.give_way):
    quota = StoreQuota(disk, 1 << 30, 60.0)
    quota.open()
    removed += [len(remove(quota)), quota.removed]
subprocess.run(["umount", disk / "door"], check=True)
afterwards = writer.erased("1-0", 20), len(list(store.tracks(disk)))
writer.close(60)
print(json.dumps([while_refused, afterwards, removed]))
"""
needs_mounts = pytest.mark.skipif(
    not _mounts(), reason="a small disk is mounted by `unshare -rm`, which is not allowed here"
)


def _run_on_disk(code: str, folder: Path) -> str:
    """Run a program with the path of an own file system of 2 MB as its argument; return its last line."""
    (folder / "program.py").write_text(code)
    (folder / "disk").mkdir()
    script = f"mount -t tmpfs -o size=2m disk {folder}/disk && exec {sys.executable} program.py {folder}/disk"
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin:/usr/sbin:/sbin"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=120,
    )
    return done.stdout.splitlines()[-1]


@pytest.mark.slow
@needs_mounts
def test_a_person_is_erased_once_the_files_are_gone_and_not_before(tmp_path: Path) -> None:
    while_refused, afterwards, removed = msgspec.json.decode(
        _run_on_disk(_ERASE, tmp_path), type=tuple[list[int | None], list[int], list[int]]
    )
    assert while_refused == [None, 2]
    assert afterwards == [1, 1]
    assert removed == [0, 0, 0, 0]  # by age and for want of room, so that their labels stay


@needs_mounts
def test_the_oldest_tracks_give_way_on_a_full_disk_and_the_newest_are_whole(tmp_path: Path) -> None:
    left, written, removed, lost, parts = msgspec.json.decode(
        _run_on_disk(_FILL, tmp_path), type=tuple[list[int], int, int, dict[str, int], int]
    )
    assert 20 < len(left) < 300  # about as many as the disk holds
    assert left[-1] == 300  # the newest is there
    assert removed > 0
    assert len(left) == written - removed
    assert written + sum(lost.values()) == 300  # each crop is on disk, or was, or is counted as lost
    assert set(lost) <= {"disk full"}
    assert parts == 0
