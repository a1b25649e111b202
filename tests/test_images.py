"""What operating systems, editors and notebooks leave in folders is no image and no track."""

import shutil
from pathlib import Path

import pytest

from reid_stream import store
from reid_stream.images import without_clutter
from tests.test_samples import SAMPLES

LEFT = [
    *("._a.jpg", ".DS_Store", "__MACOSX/._a.jpg", ".ipynb_checkpoints/a-checkpoint.jpg"),
    *("@eaDir/a.jpg", "lost+found/a.jpg", "$Recycle.Bin/S-1-5-21/a.jpg", "RECYCLER/a.jpg", "@Recently-Snapshot/a.jpg"),
]


@pytest.mark.parametrize("name", LEFT)
def test_clutter_is_left_out_wherever_the_folder_itself_lies(tmp_path: Path, name: str) -> None:
    folder = tmp_path / ".cache" / "set"
    for file in (folder / "1" / "a.jpg", folder / "1" / name):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    found = [path for path in folder.rglob("*") if path.is_file()]
    assert len(found) == 2
    assert list(without_clutter(found, folder)) == [folder / "1" / "a.jpg"]


def test_a_store_that_was_copied_with_its_clutter_is_read(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(SAMPLES / "store", tmp_path / "store"))
    before = [(place, len(store.read(place)[1])) for place in store.tracks(folder)]
    assert before
    for place, _ in before:
        (place / "._000001.jpg").write_bytes(b"AppleDouble")
        (place / ".ipynb_checkpoints").mkdir()
        shutil.copy(place / "track.json", place / ".ipynb_checkpoints" / "track.json")
        shutil.copytree(place, place.parent / f"._{place.name}")
    assert [(place, len(store.read(place)[1])) for place in store.tracks(folder)] == before
