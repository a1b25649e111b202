"""Folders with names that another user may have taken."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from reid_stream.config.own_folder import require_own
from reid_stream.config.settings import Store
from reid_stream.errors import ConfigError
from reid_stream.outlets.bookmark import Bookmark
from reid_stream.publish.embedded_redis import EmbeddedRedis
from reid_stream.publish.spool import Spool
from reid_stream.store.writer import StoreWriter

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")
OTHER = 65534
"""User and group `nobody`."""


@needs_root
def test_neither_spool_nor_redis_nor_store_use_what_another_user_made_in_a_shared_folder(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    theirs = shared / "site" / "data"
    theirs.mkdir(parents=True)
    os.chown(theirs.parent, OTHER, OTHER)
    link = shared / "link"
    link.symlink_to(tmp_path)
    os.chown(link, OTHER, OTHER, follow_symlinks=False)
    for folder in (theirs, link / "new"):
        with pytest.raises(ConfigError, match="all users share"):
            Spool(folder)
        with pytest.raises(ConfigError, match="all users share"):
            EmbeddedRedis(folder)
        with pytest.raises(ConfigError, match="all users share"):
            StoreWriter(Store(folder=folder), folder)


@needs_root
def test_other_folders_may_have_any_owner(tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    os.chown(volume, OTHER, OTHER)
    require_own(volume)  # as where a container's volume is the host user's
    require_own(Path("/"))


@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_no_file_of_ours_is_written_through_a_link_or_a_pipe_of_its_name(tmp_path: Path, kind: str) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    uses: list[tuple[str, Callable[[Path], object]]] = [
        ("lock", Spool),
        ("spool.last", Spool),
        (".lock", lambda folder: StoreWriter(Store(folder=folder), folder)),
        ("web.lock", lambda folder: Bookmark(folder / "web.position")),
    ]
    for number, (name, use) in enumerate(uses):
        folder = tmp_path / str(number)
        folder.mkdir()
        if kind == "link":
            (folder / name).symlink_to(victim)
        else:
            os.mkfifo(folder / name)
        with pytest.raises(ConfigError):
            use(folder)
    assert victim.read_text() == "precious"
