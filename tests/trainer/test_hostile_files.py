"""Hostile training data: image, tar and YAML bombs, pipes, devices, pickles; each is refused by name, and not read."""

import gzip
import io
import os
import pickle
import struct
import tarfile
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from reid_stream.images import decode, decode_as_stored
from trainer import output
from trainer.config import load
from trainer.data import crops, sets
from trainer.detector import dataset
from trainer.errors import CheckpointError, DataError, TrainerError
from trainer.model.siamese import load_branch
from trainer.train import checkpoint

JPEG = cv2.imencode(".jpg", np.full((64, 32, 3), 90, np.uint8))[1].tobytes()


def png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + data


def jpeg(width: int, height: int) -> bytes:
    data = bytearray(JPEG)
    place = data.index(b"\xff\xc0") + 5
    data[place : place + 4] = struct.pack(">HH", height, width)
    return bytes(data)


def tiff(side: int) -> bytes:
    fields = [(256, side), (257, side), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1), (278, side), (279, 4)]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in fields)
    return b"II*\0" + struct.pack("<I", 12) + bytes(4) + struct.pack("<H", len(fields)) + entries + bytes(4)


BOMBS = {
    "png of 60,000 px": png(60_000, 60_000),
    "png of 30,000 px": png(30_000, 30_000),
    "png of 2^31 px": png(2**31 - 1, 2**31 - 1),
    "png wide": png(2**31 - 1, 1),
    "jpeg of 60,000 px": jpeg(60_000, 60_000),
    "jpeg of 12,000 px": jpeg(12_000, 12_000),
    "tiff of 60,000 px": tiff(60_000),
    "empty": b"",
    "text": b"<svg/>",
}


@pytest.mark.parametrize("content", BOMBS.values(), ids=BOMBS)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_picture_is_refused_before_memory_is_taken_for_its_pixels(content: bytes) -> None:
    for read in (decode, decode_as_stored):
        with pytest.raises(ValueError, match=r"pixels|no image|is empty|no whole image|broken image"):
            read(content)
    with pytest.raises(DataError, match="an image must be decodable, name"):
        crops.decode(content, "name")


def test_pictures_of_all_formats_are_decoded() -> None:
    shown = np.zeros((20, 10, 3), np.uint8)
    shown[..., 2] = 255
    for suffix in crops.IMAGE_SUFFIXES:
        found = decode(cv2.imencode(suffix, shown)[1].tobytes())
        assert found.shape == (20, 10, 3)
        assert found[10, 5, 0] > 200 > 50 > found[10, 5, 2]


def people(folder: Path) -> Path:
    for person in range(3):
        (folder / f"p{person}").mkdir(parents=True)
        for camera in (1, 2):
            (folder / f"p{person}" / f"c{camera}.jpg").write_bytes(JPEG)
    return folder


def test_pipes_devices_and_endless_files_in_a_folder_are_named_and_not_read(tmp_path: Path) -> None:
    folder = people(tmp_path / "set")
    bad = folder / "p0" / "c9.jpg"
    os.mkfifo(bad)
    with pytest.raises(DataError, match=r"c9\.jpg: is no regular file"):
        list(sets.read(f"folder:{folder}"))
    bad.unlink()
    bad.symlink_to("/dev/zero")
    with pytest.raises(DataError, match=r"c9\.jpg: is no regular file"):
        list(sets.read(f"folder:{folder}"))
    bad.unlink()
    with bad.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(DataError, match=r"c9\.jpg: has 1,099,511,627,776 bytes"):
        list(sets.read(f"folder:{folder}"))


def member(name: str, size: int = 0, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.size, made.type, made.linkname = size, kind, link
    return made


def archive(path: Path, *more: tarfile.TarInfo) -> Path:
    """Write an archive with one good image, then members without their content."""
    with path.open("wb") as file:
        file.write(member("0001_c1.jpg", len(JPEG)).tobuf() + JPEG + bytes(-len(JPEG) % 512))
        for one in more:
            file.write(one.tobuf(format=tarfile.GNU_FORMAT))
        file.write(bytes(10_240))
    return path


def test_a_tar_file_yields_regular_files_only_and_writes_nothing(tmp_path: Path) -> None:
    path = archive(
        tmp_path / "links.tar",
        member("0002_c1.jpg", kind=tarfile.SYMTYPE, link="/etc/passwd"),
        member("0003_c1.jpg", kind=tarfile.LNKTYPE, link="/etc/passwd"),
        member("0004_c1.jpg", kind=tarfile.CHRTYPE),
        member("0005_c1.jpg", kind=tarfile.FIFOTYPE),
        member("../../0006_c1.txt"),
        member("/0007_c1.txt"),
    )
    assert [crop.name for crop in crops.read_archive(path, "set")] == ["0001_c1.jpg"]
    assert [path.name for path in tmp_path.iterdir()] == ["links.tar"]


def test_tar_bombs_are_refused_unread(tmp_path: Path) -> None:
    bombs = [archive(tmp_path / "huge.tar", member("0002_c1.jpg", 1 << 40))]
    for number, kind in enumerate((tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME)):
        # An extended header that unpacks to 100 MB, and claims 6 GB.
        bomb = tmp_path / f"header{number}.tar.gz"
        with gzip.open(bomb, "wb", compresslevel=1) as file:
            file.write(member("x", 6 << 30, kind).tobuf(format=tarfile.GNU_FORMAT))
            file.write(bytes(100 << 20))
        bombs.append(bomb)
    sparse = tmp_path / "sparse.tar"
    with tarfile.open(sparse, "w", format=tarfile.PAX_FORMAT) as packed:
        one = member("GNUSparseFile.0/0002_c1.jpg", 512)
        real = str(1 << 40)
        one.pax_headers = {
            "GNU.sparse.major": "1",
            "GNU.sparse.minor": "0",
            "GNU.sparse.name": "0002_c1.jpg",
            "GNU.sparse.realsize": real,
        }
        packed.addfile(one, io.BytesIO(b"0\n".ljust(512, b"\0")))
    bombs.append(sparse)
    for bomb in bombs:
        with pytest.raises(DataError, match=r"too many bytes|extended header"):
            crops.read_archive(bomb, "set")
        with pytest.raises(DataError, match=r"too many bytes|extended header"):
            list(dataset.read(dataset.BoxSource("yolo", bomb, 1), lambda _: pytest.fail("no teacher is needed")))


class Command:
    """Run a command when unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.mark),)


def test_a_checkpoint_runs_no_code_and_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    evil, plain, pipe = tmp_path / "last.pt", tmp_path / "plain.pt", tmp_path / "pipe.pt"
    torch.save({"settings": Command(mark)}, evil)
    plain.write_bytes(pickle.dumps(Command(mark), protocol=2))
    os.mkfifo(pipe)
    for path in (evil, plain, pipe):
        for read in (checkpoint.load, checkpoint.load_facts, load_branch):
            with pytest.raises(CheckpointError, match=path.name):
                read(path)
    assert not mark.exists()


LAUGHS = "a0: &a0 [p, p, p, p, p, p, p, p, p, p]\n" + "".join(
    f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]\n" for level in range(1, 12)
)


@pytest.mark.parametrize(
    "text",
    [
        LAUGHS + "model: *a11\n",
        "model: " + "[" * 20_000 + "]" * 20_000,
        "model: &a [*a]",
        "model: !!python/object/apply:os.mkdir [ran]",
        "model: {seed: 1, seed: 2}",
        "\0",
    ],
    ids=["laughs", "deep", "loop", "python", "twice", "zero"],
)
def test_a_recipe_of_hostile_yaml_is_one_message(tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(text)
    with pytest.raises(TrainerError, match=r"a configuration must be|input should be") as found:
        load(recipe)
    assert len(str(found.value)) < 500
    assert not (tmp_path / "ran").exists()


def test_a_name_from_outside_does_not_control_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    output.say("teacher \x1b]0;owned\x07 [red]\nline 2")
    assert capsys.readouterr().out == "teacher \\u001b]0;owned\\u0007 [red]\nline 2\n"
    with pytest.raises(SystemExit, match=r"reid-train: no \\u001b\[2J"):
        output.fail("no \x1b[2J")
