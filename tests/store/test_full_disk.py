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


@pytest.mark.skipif(not _mounts(), reason="a small disk is mounted by `unshare -rm`, which is not allowed here")
def test_the_oldest_tracks_give_way_on_a_full_disk_and_the_newest_are_whole(tmp_path: Path) -> None:
    (tmp_path / "fill.py").write_text(_FILL)
    script = f"mount -t tmpfs -o size=2m disk {tmp_path}/disk && exec {sys.executable} fill.py {tmp_path}/disk/store"
    (tmp_path / "disk").mkdir()
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin:/usr/sbin:/sbin"},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    left, written, removed, lost, parts = msgspec.json.decode(
        done.stdout.splitlines()[-1], type=tuple[list[int], int, int, dict[str, int], int]
    )
    assert 20 < len(left) < 300  # about as many as the disk holds
    assert left[-1] == 300  # the newest is there
    assert removed > 0
    assert len(left) == written - removed
    assert written + sum(lost.values()) == 300  # each crop is on disk, or was, or is counted as lost
    assert set(lost) <= {"disk full"}
    assert parts == 0
