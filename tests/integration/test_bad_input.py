"""Every mistake of a user ends the program with one message on stderr and the exit code of its kind, no traceback."""

import shutil
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis

from benchmarks.faults.unguarded_redis import UnguardedRedis
from tests.engines.networks import answers
from tests.integration.program import call, running, write_cams
from tests.integration.rtsp import draw_clip

pytestmark = pytest.mark.timeout(180)

PASSWORD = "hunter2-of-the-shop"


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_clip(tmp_path_factory.mktemp("clips") / "a.mp4", seconds=3)


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[UnguardedRedis]:
    """Give a Redis that wants a password."""
    with UnguardedRedis(tmp_path / "locked") as server:
        client: Any = redis.Redis.from_url(server.url)
        client.config_set("requirepass", PASSWORD)
        client.close()
        yield server


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cameras: [\n  {id: a", ["line"]),
        ("cameras:\n  - {id: a, url: rtsp://h/x, max_fps: fast}\nzite: x\n", ["cameras[0].max_fps", "zite", "site"]),
    ],
)
def test_a_cams_yaml_with_faults_is_reported_with_their_lines(tmp_path: Path, text: str, message: list[str]) -> None:
    file = tmp_path / "cams.yaml"
    file.write_text(text)
    ended = call("--cameras", file, models=None, home=tmp_path)
    assert ended.code == 2
    assert ended.is_plain
    assert all(word in ended.err for word in [str(file), *message])


def test_an_unknown_option_is_a_usage_error(tmp_path: Path) -> None:
    ended = call("--camera", "x", models=None, home=tmp_path)
    assert ended.code == 2
    assert ended.is_plain
    assert "No such option" in ended.err


def test_a_folder_as_a_camera_and_a_missing_file_to_replay_are_reported_before_anything_starts(
    tmp_path: Path, clip: Path
) -> None:
    cams = write_cams(tmp_path, {"a": clip, "b": tmp_path / "missing.mp4", "c": tmp_path})
    for options, faults in (((), "c"), (("--replay", "fast"), "bc")):
        ended = call("--cameras", cams, *options, models=None, home=tmp_path)
        assert ended.code == 2
        assert ended.is_plain
        assert ("camera b: url must name an existing video file, found nothing" in ended.err) == ("b" in faults)
        assert "camera c: url must name an existing video file, found a folder" in ended.err


def test_a_missing_file_is_a_camera_that_is_down_until_it_is_there(tmp_path: Path, models: Path, clip: Path) -> None:
    late = tmp_path / "late.mp4"
    more = "observe: {port: null}\ningest: {backoff_first_s: 0.5, backoff_max_s: 1}"
    cams = write_cams(tmp_path, {"a": late}, more=more)
    with running("--cameras", cams, models=models, home=tmp_path) as daemon:
        daemon.until(lambda: "camera_down" in daemon.err)
        assert "does not exist" in daemon.err
        time.sleep(1.0)
        assert daemon.process.poll() is None
        shutil.copy(clip, late)
        daemon.until(lambda: "camera_up" in daemon.err)


def _cut(models: Path) -> None:
    file = models / "embedder" / "model.onnx"
    file.write_bytes(file.read_bytes()[:100])


def _empty(models: Path) -> None:
    (models / "detector" / "model.onnx").write_bytes(b"")


def _tampered(models: Path) -> None:
    file = models / "embedder" / "model.onnx"
    content = bytearray(file.read_bytes())
    content[-20] ^= 1
    file.write_bytes(bytes(content))


def _wrong_kind(models: Path) -> None:
    shutil.rmtree(models / "embedder")
    shutil.copytree(models / "detector", models / "embedder")


def _another_network(models: Path) -> None:
    """Put a network of another shape under a bundle, with a matching hash, as `save` would write it."""
    from reid_stream.bundles import bundle

    folder = models / "detector"
    network = answers(models / "x.onnx", np.zeros((7, 20), dtype=np.float32), 96, 64).read_bytes()
    bundle.save(bundle.load_detector(folder), network, folder)


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (_empty, "model.onnx"),
        (_cut, "model.onnx"),
        (_tampered, "hash"),
        (_wrong_kind, "embedder"),
        (_another_network, "detector"),
    ],
)
def test_a_model_that_cannot_be_used_is_reported(
    tmp_path: Path, models: Path, clip: Path, harm: Callable[[Path], None], message: str
) -> None:
    own = shutil.copytree(models, tmp_path / "models")
    harm(own)
    ended = call("--cameras", write_cams(tmp_path, {"a": clip}), models=own, home=tmp_path)
    assert ended.code == 3, ended.err
    assert ended.is_plain
    assert message in ended.err
    assert "must" in ended.err or "found" in ended.err
    assert len(ended.err.strip().splitlines()) <= 2


def test_a_redis_that_is_not_there_is_reported_by_every_command(tmp_path: Path, models: Path, clip: Path) -> None:
    url = f"redis://me:{PASSWORD}@127.0.0.1:1/0"
    cams = write_cams(tmp_path, {"a": clip}, redis=url)
    for arguments in (("--cameras", cams), ("events", "--url", url)):
        ended = call(*arguments, models=models, home=tmp_path)
        assert ended.code == 4, ended.err
        assert ended.is_plain
        assert "127.0.0.1:1" in ended.err
        assert PASSWORD not in ended.out + ended.err


def test_a_redis_that_refuses_the_password_is_reported_without_it(
    tmp_path: Path, models: Path, clip: Path, locked: UnguardedRedis
) -> None:
    wrong = locked.url.replace("redis://", "redis://:wrong-secret@")
    cams = write_cams(tmp_path, {"a": clip}, redis=wrong)
    ended = call("--cameras", cams, models=models, home=tmp_path)
    assert ended.code == 4
    assert ended.is_plain
    assert "refuses the user or the password" in ended.err
    assert "wrong-secret" not in ended.out + ended.err


def test_a_metrics_port_that_is_taken_is_reported(tmp_path: Path, models: Path, clip: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        cams = write_cams(tmp_path, {"a": clip}, more=f"observe: {{port: {port}}}")
        ended = call("--cameras", cams, models=models, home=tmp_path)
    assert ended.code == 2
    assert ended.is_plain
    assert f"observe.port must be free, 127.0.0.1:{port}" in ended.err


def test_a_live_camera_cannot_be_replayed_fast(tmp_path: Path, models: Path, clip: Path) -> None:
    cams = write_cams(tmp_path, {"a": clip, "b": f"rtsp://me:{PASSWORD}@127.0.0.1:1/x"})
    ended = call("--cameras", cams, "--replay", "fast", models=models, home=tmp_path)
    assert ended.code == 1
    assert ended.is_plain
    assert "camera b: only files can be replayed fast, got rtsp://127.0.0.1:1/x" in ended.err
    assert PASSWORD not in ended.out + ended.err


def test_files_that_are_no_video_end_a_fast_replay_with_all_their_names(
    tmp_path: Path, models: Path, clip: Path
) -> None:
    empty, text = tmp_path / "empty.mp4", tmp_path / "text.mp4"
    empty.write_bytes(b"")
    text.write_text("this is no video\n" * 100)
    cams = write_cams(tmp_path, {"a": clip, "b": empty, "c": text})
    ended = call("--cameras", cams, "--replay", "fast", "--plain", models=models, home=tmp_path)
    assert ended.code == 1
    assert ended.is_plain
    assert str(empty) in ended.err
    assert str(text) in ended.err


def test_a_file_that_breaks_off_costs_only_its_camera(tmp_path: Path, models: Path, clip: Path) -> None:
    # MPEG-TS can be read up to where it breaks off; an MP4 without its index cannot be opened.
    whole = draw_clip(tmp_path / "whole.ts", seconds=3)
    broken = tmp_path / "broken.ts"
    broken.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    cams = write_cams(tmp_path, {"a": clip, "b": broken})
    ended = call("--cameras", cams, "--replay", "fast", "--plain", models=models, home=tmp_path)
    assert ended.code == 0, ended.err
    assert ended.is_plain
    assert "camera a ended" in ended.out
    assert "camera b ended" in ended.out
    assert "1 global ID, " in ended.out


def test_damaged_files_are_reported_and_tried_again_beside_a_healthy_one(
    tmp_path: Path, models: Path, clip: Path
) -> None:
    empty = tmp_path / "empty.mp4"
    empty.write_bytes(b"")
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(clip.read_bytes()[:2000])
    cams = write_cams(tmp_path, {"a": f"{clip}, loop: true", "b": empty, "c": cut})
    with running("--cameras", cams, "--plain", models=models, home=tmp_path) as daemon:
        daemon.until(lambda: "camera b down" in daemon.out and "camera c down" in daemon.out)
        daemon.until(lambda: "entered a" in daemon.out)
        began = time.monotonic()
        ended = daemon.terminate(20)
    assert ended.code == 0
    assert ended.is_plain
    assert time.monotonic() - began < 10


def test_check_shows_every_camera_and_fails_for_a_dead_one(tmp_path: Path, models: Path, clip: Path) -> None:
    cams = write_cams(tmp_path, {"a": clip, "b": f"rtsp://me:{PASSWORD}@127.0.0.1:1/x"})
    ended = call("check", "--cameras", cams, models=models, home=tmp_path)
    assert ended.code == 1, ended.err
    assert ended.is_plain
    rows = {line.split()[0]: line for line in ended.out.splitlines() if line.strip()}
    assert "h264" in rows["a"]
    assert "-- b: " in rows["--"]
    assert "refused" in rows["--"]
    assert "every camera must answer, found 1 of 2 that did not" in ended.err
    assert PASSWORD not in ended.out + ended.err


def test_a_model_that_is_not_found_is_reported_with_the_known_ones(tmp_path: Path, models: Path, clip: Path) -> None:
    cams = write_cams(tmp_path, {"a": clip}, more="observe: {port: null}\nmodels: {embedder: nowhere}")
    ended = call("--cameras", cams, models=models, home=tmp_path)
    assert ended.code == 3, ended.err
    assert "must be the folder of a bundle or one of the bundles " in ended.err
