"""`reid-stream identity show --explain`, with a real Redis and a tracklet store."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest
import redis
from typer.testing import CliRunner, Result

from benchmarks.ports import free_port
from reid_stream.commands.identity import app
from reid_stream.errors import ConfigError, ModelError
from reid_stream.events import IdentityEntered
from reid_stream.publish.cloudevents import encode
from reid_stream.publish.redis_server import newest_binary
from reid_stream.records import CameraId, GlobalId, TrackId
from tests.explain.test_stored import store_track
from tests.publish import servers

TINY = Path(__file__).parents[1] / "samples" / "embedder-tiny"


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A Redis that two people have been seen at; the tiny embedder is the default one."""
    monkeypatch.setattr(servers, "SERVER", newest_binary().path)
    (tmp_path / "shelf").mkdir()
    (tmp_path / "shelf" / "embedder").symlink_to(TINY)
    monkeypatch.setenv("REID_STREAM_MODELS", str(tmp_path / "shelf"))
    port = free_port()
    with servers.serving(tmp_path / "redis", port, "--port", str(port)):
        client = redis.Redis(port=port)
        for number, person in enumerate(("site-1", "site-2")):
            entered = IdentityEntered(
                person=GlobalId(person), revision=0, camera=CameraId("a"), track=TrackId(number), seen_at=1e9,
                clock="file", box=(0.0, 0.0, 16.0, 32.0), frame_size=(64, 48), score=0.9, state="confirmed",
                similarity=None, probability=None, model="any", since=1e9, run="r",
            )  # fmt: skip
            body = encode(entered, site="site", run="r", sequence=number)
            client.xadd(
                "reid:site:events", {"type": "identity.entered.v1", "event": body}, id=f"1000000000000-{number}"
            )
        yield f"redis://127.0.0.1:{port}/0"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    folder = tmp_path / "store"
    store_track(folder, "site-1", "a", 0, [(200, 60, 60)])
    store_track(folder, "site-1", "b", 2, [(10, 10, 240)])
    store_track(folder, "site-2", "a", 1, [(12, 10, 236)])
    return folder


def show(url: str, *words: object) -> Result:
    return CliRunner().invoke(app, ["show", "--url", url, *map(str, words)], catch_exceptions=False)


def test_a_page_is_drawn_of_one_person_and_of_two(url: str, store: Path, tmp_path: Path) -> None:
    alone = show(url, "site-1", "--store", store, "--explain", tmp_path / "one.png")
    assert alone.exit_code == 0, alone.output
    assert "the least sure two tracks" in alone.output
    two = show(url, "site-1", "--store", store, "--explain", tmp_path / "two.png", "--beside", "site-2")
    assert "the two most alike" in two.output
    assert cv2.imread(str(tmp_path / "one.png")) is not None
    assert cv2.imread(str(tmp_path / "two.png")) is not None


def test_the_store_and_the_models_are_those_of_cams_yaml(url: str, store: Path, tmp_path: Path) -> None:
    cams = tmp_path / "cams.yaml"
    cams.write_text(f"redis: {{url: '{url}'}}\nstore: {{folder: {store}}}\ncameras:\n  - {{id: a, url: a.mp4}}\n")
    assert "one.png" in show(url, "site-1", "--cameras", cams, "--explain", tmp_path / "one.png").output


def test_what_is_missing_for_a_page_is_named(url: str, store: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match="--explain needs the crops: give --cameras with store.folder set, or --store"
    ):
        show(url, "site-1", "--explain", tmp_path / "one.png")
    with pytest.raises(ModelError, match="must hold two tracks of site-2 to compare, found 1"):
        show(url, "site-2", "--store", store, "--explain", tmp_path / "one.png")
    with pytest.raises(ConfigError, match="--beside and --store need --explain"):
        show(url, "site-2", "--store", store)
