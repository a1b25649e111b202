"""Files as cameras: replayed the same every time, played at their own pace, and refused in plain words."""

import hashlib
import os
import re
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from reid_stream.config.settings import Camera, Ingest
from reid_stream.errors import StreamError
from reid_stream.events import CameraChanged, CameraDown, CameraUp
from reid_stream.ingest.camera_set import CameraSet
from reid_stream.ingest.changes import CameraChange
from reid_stream.ingest.connection import open_source
from reid_stream.ingest.probe import CameraFailure, CameraReport, probe
from reid_stream.ingest.replay import FastReplay
from reid_stream.records import CameraId, Frame
from tests.ingest.streams import transport_stream
from tests.integration.rtsp import draw_clip

ORIGIN = 1_700_000_000.0
pytestmark = pytest.mark.timeout(60)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_clip(tmp_path_factory.mktemp("files") / "clip.mp4", seconds=3, fps=20)


def camera(name: str, path: Path, **options: object) -> Camera:
    return Camera.model_validate({"id": name, "url": str(path), **options})


def replayed(cameras: list[Camera]) -> list[list[Frame]]:
    with FastReplay(cameras, Ingest(), origin=ORIGIN) as replay:
        return list(replay)


def fingerprint(batches: list[list[Frame]]) -> str:
    lines = [
        [(f.camera, f.sequence, f.captured_at, hashlib.sha256(f.pixels.tobytes()).hexdigest()) for f in batch]
        for batch in batches
    ]
    return hashlib.sha256(repr(lines).encode()).hexdigest()


def test_two_replays_of_the_same_files_are_the_same_to_the_pixel(clip: Path) -> None:
    cameras = [
        camera("a", clip),
        camera("b", clip, start_after_s=0.53, resize=(160, 120)),
        camera("c", clip, max_fps=3),
    ]
    assert fingerprint(replayed(cameras)) == fingerprint(replayed(cameras))


def test_batches_are_in_order_of_capture_with_at_most_one_frame_per_camera(clip: Path) -> None:
    batches = replayed([camera("a", clip), camera("b", clip, start_after_s=0.53), camera("c", clip, max_fps=None)])
    times = [frame.captured_at for batch in batches for frame in batch]
    assert times == sorted(times)
    assert all(len({frame.camera for frame in batch}) == len(batch) for batch in batches)


def test_capture_times_are_the_files_own_from_the_origin_on(clip: Path) -> None:
    frames = [batch[0] for batch in replayed([camera("a", clip, start_after_s=2, max_fps=None)])]
    assert [frame.captured_at for frame in frames] == pytest.approx([ORIGIN + 2 + n / 20 for n in range(60)])
    assert [frame.sequence for frame in frames] == list(range(60))
    assert {frame.clock for frame in frames} == {"file"}


def test_the_rate_cap_takes_every_second_frame_of_a_clip_twice_as_fast(clip: Path) -> None:
    frames = [batch[0] for batch in replayed([camera("a", clip, max_fps=10)])]
    assert [frame.sequence for frame in frames] == list(range(0, 60, 2))


def test_cameras_of_equal_rate_share_every_batch(clip: Path) -> None:
    assert {len(batch) for batch in replayed([camera(name, clip) for name in "abcd"])} == {4}


def test_a_looping_file_starts_again_one_frame_after_its_end(clip: Path) -> None:
    with FastReplay([camera("a", clip, loop=True, max_fps=None)], Ingest(), origin=ORIGIN) as replay:
        frames = [replay.take_frames()[0] for _ in range(130)]  # type: ignore[index]
    assert [frame.captured_at for frame in frames] == pytest.approx([ORIGIN + n / 20 for n in range(130)])
    np.testing.assert_array_equal(frames[0].image, frames[60].image)


@pytest.mark.parametrize(
    ("second_s", "gap_s"), [(101.0, 0.1), (80.0, 0.1), (3700.0, 0.1), (105.0, 3.1), ((1 << 33) / 90_000 - 0.5, 0.1)]
)
def test_a_file_of_joined_recordings_plays_on_where_its_timestamps_step(
    tmp_path: Path, second_s: float, gap_s: float
) -> None:
    file = tmp_path / "joined.ts"
    file.write_bytes(b"".join([*transport_stream(100, 2), *transport_stream(second_s, 2)]))
    times = [batch[0].captured_at - ORIGIN for batch in replayed([camera("a", file, max_fps=None)])]
    assert len(times) == 40
    assert np.diff(times) == pytest.approx([0.1] * 19 + [gap_s] + [0.1] * 19, abs=1e-3)


def test_a_looping_file_without_timestamps_is_opened_again(tmp_path: Path) -> None:
    file = tmp_path / "none.ts"
    # The flags of a packet's header say which timestamps follow; without them, they are padding (ISO 13818-1, 2.4.3.7).
    stream = re.sub(
        rb"(\x00\x00\x01\xe0..\x80)[\x80\xc0]", b"\\1\0", b"".join(transport_stream(100, 0.5)), flags=re.DOTALL
    )
    file.write_bytes(stream)
    with FastReplay([camera("a", file, loop=True)], Ingest(), origin=ORIGIN) as replay:
        assert len([batch for batch, _ in zip(replay, range(12), strict=False)]) == 12


def test_a_resized_camera_gives_frames_of_that_size_and_the_same_image(clip: Path) -> None:
    whole, small = replayed([camera("a", clip)]), replayed([camera("a", clip, resize=(160, 120))])
    assert small[0][0].size == (160, 120)
    blocks = whole[0][0].pixels.reshape(120, 2, 160, 2, 3).mean(axis=(1, 3))
    assert np.abs(blocks - small[0][0].pixels).mean() < 2


def test_a_replay_that_is_stopped_in_the_middle_ends_its_threads(clip: Path) -> None:
    before = threading.active_count()
    with FastReplay([camera(name, clip, loop=True) for name in "abc"], Ingest(), origin=ORIGIN) as replay:
        replay.take_frames()
        assert threading.active_count() == before + 3
    assert threading.active_count() == before
    assert replay.take_frames() is None


def test_only_files_can_be_replayed_fast() -> None:
    live = Camera.model_validate({"id": "a", "url": "rtsp://me:hunter2@host/x"})
    with pytest.raises(StreamError, match="camera a: only files can be replayed fast, got rtsp://host/x"):
        FastReplay([live], Ingest(), origin=ORIGIN)


def broken(folder: Path, clip: Path) -> dict[str, tuple[Path, str]]:
    """Files that are no videos, and the message for each."""
    whole = clip.read_bytes()
    contents = {
        "empty.mp4": (b"", "must be a video|is empty"),
        "text.mp4": (b"this is not a video\n" * 100, "must be a video"),
        "noise.avi": (np.random.default_rng(0).bytes(50_000), "must be a video|must hold video"),
        "cut.mp4": (whole[: len(whole) // 2], "must be a video"),
        "header.mp4": (whole[:40], "must be a video"),
    }
    for name, (content, _) in contents.items():
        (folder / name).write_bytes(content)
    return {name: (folder / name, words) for name, (_, words) in contents.items()} | {
        "missing": (folder / "missing.mp4", "does not exist"),
        "folder": (folder, "must be a file, it is a folder|must be a video"),
    }


@pytest.mark.parametrize("name", ["empty.mp4", "text.mp4", "noise.avi", "cut.mp4", "header.mp4", "missing", "folder"])
def test_a_file_that_is_no_video_is_refused_in_plain_words(name: str, tmp_path: Path, clip: Path) -> None:
    path, words = broken(tmp_path, clip)[name]
    result = probe(camera("a", path), Ingest())
    assert isinstance(result, CameraFailure), result
    assert result.reason.startswith(str(path))
    assert re.search(words, what_a_replay_says(path))


def what_a_replay_says(path: Path) -> str:
    """Of a file that cannot be opened, or of one that turns out to hold no picture."""
    try:
        with FastReplay([camera("a", path)], Ingest(), origin=ORIGIN) as replay:
            assert not list(replay)
            return replay.stats[CameraId("a")].reason
    except StreamError as error:
        return str(error)


def test_all_files_that_cannot_be_replayed_are_named_at_once(tmp_path: Path, clip: Path) -> None:
    cameras = [camera("a", clip), camera("b", tmp_path / "b.mp4"), camera("c", tmp_path / "c.mp4")]
    with pytest.raises(StreamError, match=r"(?s)b\.mp4 does not exist.*c\.mp4 does not exist"):
        replayed(cameras)


def test_check_describes_a_file(clip: Path) -> None:
    result = probe(camera("a", clip), Ingest())
    assert isinstance(result, CameraReport)
    assert (result.codec, result.size, result.rate, result.clock) == ("h264", (320, 240), 20.0, "file")


@pytest.mark.slow
def test_a_file_plays_at_its_own_pace_and_then_ends(clip: Path) -> None:
    changes: list[CameraChange] = []
    live = CameraSet([camera("a", clip, start_after_s=0.2, max_fps=None)], Ingest(), changes.append)
    began, frames = time.time(), []
    live.start()
    while (batch := live.take_frames(1.0)) is not None:
        frames += [(frame, time.time()) for frame in batch]
    live.stop()
    assert frames[0][0].captured_at - began >= 0.2  # and as long as the machine needs to start a process
    assert frames[-1][0].captured_at - frames[0][0].captured_at == pytest.approx(2.95, abs=0.01)
    assert all(seen >= frame.captured_at - 0.01 for frame, seen in frames)  # nothing before its time
    assert [type(change) for change in changes] == [CameraUp, CameraDown]
    assert changes[-1].reason == "the file has ended"  # type: ignore[union-attr]


def test_a_missing_file_is_tried_again_until_it_is_there(tmp_path: Path, clip: Path) -> None:
    path = tmp_path / "later.mp4"
    changes: list[CameraChange] = []
    live = CameraSet([camera("a", path)], Ingest(backoff_first_s=0.05, backoff_max_s=0.1), changes.append)
    live.start()
    while not changes:
        live.take_frames(0.01)
    os.link(clip, path)
    while len(changes) < 2:
        live.take_frames(0.01)
    live.stop()
    assert isinstance(changes[0], CameraDown)
    assert changes[0].reason.endswith("does not exist")
    assert isinstance(changes[1], CameraUp)


@pytest.mark.slow
@pytest.mark.parametrize("isolate", [True, False])
def test_hardware_decoding_falls_back_where_there_is_none_and_that_is_counted(isolate: bool, clip: Path) -> None:
    settings = Ingest(hardware_decode=True, isolate=isolate)
    live = CameraSet([camera("a", clip)], settings, lambda _: None)
    live.start()
    while live.take_frames(0.1) is not None:
        pass
    live.stop()
    with FastReplay([camera("a", clip)], settings, origin=ORIGIN) as replay:
        assert sum(len(batch) for batch in replay) == 30
        all_stats = [*live.stats.values(), *replay.stats.values()]
    for stats in all_stats:
        assert stats.read == 60
        # One or the other: this machine may have a GPU.
        assert stats.hardware_fallbacks == (not stats.hardware)


def test_a_stream_that_changes_its_size_continues_and_reports_it(tmp_path: Path) -> None:
    small, large = draw_clip(tmp_path / "s.h264", seconds=2), draw_clip(tmp_path / "l.h264", seconds=2, size=(640, 480))
    both = tmp_path / "both.h264"
    both.write_bytes(small.read_bytes() + large.read_bytes())
    changes: list[CameraChange] = []
    with FastReplay([camera("a", both, max_fps=None)], Ingest(), origin=ORIGIN, on_change=changes.append) as replay:
        sizes = [batch[0].size for batch in replay]
    assert set(sizes[:15]) == {(320, 240)}
    assert set(sizes[-15:]) == {(640, 480)}
    assert [type(change) for change in changes] == [CameraUp, CameraChanged, CameraDown]
    assert [getattr(change, "frame_size", None) for change in changes[:2]] == [(320, 240), (640, 480)]


def test_damage_in_the_middle_of_a_file_costs_only_the_frames_it_hits(tmp_path: Path, clip: Path) -> None:
    data, path = bytearray(clip.read_bytes()), tmp_path / "damaged.mp4"
    middle = len(data) // 3
    data[middle : middle + 400] = np.random.default_rng(1).bytes(400)
    path.write_bytes(data)
    with FastReplay([camera("a", path, max_fps=None)], Ingest(), origin=ORIGIN) as replay:
        frames = sum(len(batch) for batch in replay)
    assert 30 <= frames <= 60


def test_closing_a_source_leaves_no_file_open(clip: Path) -> None:
    before = set(Path("/proc/self/fd").iterdir())
    for _ in range(5):
        with open_source(camera("a", clip), Ingest()) as source:
            next(iter(source.read(lambda stream_s, is_key: True)))
    assert set(Path("/proc/self/fd").iterdir()) == before


@pytest.mark.slow
@pytest.mark.skipif("REID_STREAM_DATA" not in os.environ, reason="$REID_STREAM_DATA must name the folder of real clips")
@pytest.mark.parametrize(
    ("name", "size", "frames"),
    [
        ("video/vtest.avi", (768, 576), 795),
        ("video/one-by-one-person-detection.mp4", (768, 432), 1394),
        ("worlds/plaza/cam_1.mp4", (960, 540), 1200),
    ],
)
def test_every_frame_of_a_real_clip_is_read(name: str, size: tuple[int, int], frames: int) -> None:
    count = 0
    path = Path(os.environ["REID_STREAM_DATA"]) / name
    with FastReplay([camera("a", path, max_fps=None)], Ingest(), origin=ORIGIN) as replay:
        for batch in replay:
            assert batch[0].size == size
            count += 1
    assert count == frames
