"""Events wait in a folder per Redis and site; the one of earlier releases is found."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from reid_stream.assembly.spool_place import adopt_former_spool, spool_folder
from reid_stream.config.settings import Camera, Redis, Settings, SpoolSettings
from reid_stream.publish.spool import Spool
from reid_stream.publish.spool_row import Row
from reid_stream.publish.stream_ids import Position

CAMERAS = (Camera(id="a", url=SecretStr("rtsp://h/s")),)


def settings(url: str = "redis://10.0.0.1:6379/0", site: str = "shop", **more: object) -> Settings:
    return Settings.model_validate({"site": site, "redis": Redis(url=SecretStr(url)), "cameras": CAMERAS, **more})


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    return tmp_path / "reid-stream"


def test_two_redis_with_sites_of_one_name_have_two_folders() -> None:
    folders = {
        spool_folder(settings(url))
        for url in ("redis://10.0.0.1", "redis://10.0.0.2", "redis://10.0.0.1/1", "unix:///r.sock", "embedded")
    }
    assert len(folders) == 5
    assert spool_folder(settings(site="other")) not in folders


def test_however_the_url_is_written_the_folder_is_the_same_and_names_no_login() -> None:
    one = spool_folder(settings("redis://h:6379/0"))
    for url in ("redis://H", "rediss://me:geheim@h:6379", "redis://h/0"):
        assert spool_folder(settings(url)) == one
    here = spool_folder(settings("redis://127.0.0.1:6379/0"))
    assert {spool_folder(settings(f"redis://{host}")) for host in ("localhost", "LOCALHOST", "[::1]")} == {here}
    sentinels = spool_folder(settings("redis+sentinel://a:1,b:2/main/0"))
    assert sentinels == spool_folder(settings("redis+sentinel://b:2,a:1/main"))
    assert "geheim" not in str(one)


def test_the_spool_of_an_earlier_release_is_taken_over_with_its_events(data: Path) -> None:
    former = data / "spool" / "shop"
    spool = Spool(former)
    spool.append([Row(Position(5, 0), 3, "identity.entered.v1", b"{}")])
    adopt_former_spool(settings())  # in use: left alone
    assert former.exists()
    spool.close()
    adopt_former_spool(settings())
    assert not former.exists()
    found = Spool(spool_folder(settings()))
    assert found.last() == Position(5, 0)
    found.close()
    Spool(former).close()
    adopt_former_spool(settings())  # there is one of its own now
    assert former.exists()


def test_a_folder_that_is_named_is_used_and_that_of_an_embedded_redis_stays(data: Path, tmp_path: Path) -> None:
    named = settings(spool=SpoolSettings(directory=tmp_path / "own"))
    assert spool_folder(named) == tmp_path / "own"
    (data / "redis" / "shop").mkdir(parents=True)
    Spool(data / "spool" / "shop").close()
    adopt_former_spool(settings())
    assert (data / "spool" / "shop").exists()
    assert spool_folder(settings("embedded")) == data / "spool" / "shop"
