import os
import subprocess
import sys
import threading
from pathlib import Path

import av
import numpy as np
import pytest
from typer.testing import CliRunner

import reid_stream
from reid_stream.assembly.site import assemble
from reid_stream.cli import app
from reid_stream.config.sources import load_settings
from reid_stream.events import IdentityEntered
from tests.annotate.clips import needs_footage, two_cameras
from tests.builders import ListSink

pytestmark = [needs_footage, pytest.mark.slow]
FRAMES = 36


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return two_cameras(tmp_path_factory.mktemp("clips"), FRAMES)


def test_a_loop_over_two_files_yields_the_identities_of_the_daemon(clips: tuple[Path, Path]) -> None:
    moments = list(reid_stream.follow(clips))
    assert [moment.camera for moment in moments[:2]] == ["door", "till"]
    assert len(moments) == 2 * FRAMES
    first = next(moment for moment in moments if len(moment.people))
    assert first.frame.shape == first.source.pixels.shape
    assert (first.frame[..., ::-1] == first.source.pixels).all()
    people = first.people
    assert people.tracker_id is not None
    assert list(people.data["global_id"]) == [f"site-{number}" for number in people.tracker_id]
    # People are on both cameras under one ID.
    ids = {
        camera: {who for m in moments if m.camera == camera for who in m.people.data["global_id"]}
        for camera in ("door", "till")
    }
    assert len(ids["door"] & ids["till"]) >= 2
    for moment in moments:
        assert len(set(moment.people.data["global_id"])) == len(moment.people)

    sink = ListSink()
    settings = load_settings([str(clip) for clip in clips])
    with assemble(settings, run="r", fast=True, sink=sink) as site:
        site.daemon.run(threading.Event())
    entered = [(e.person, e.camera, e.seen_at, e.box) for e in sink.events if isinstance(e, IdentityEntered)]
    own = [(e.person, e.camera, e.seen_at, e.box) for m in moments for e in m.events if isinstance(e, IdentityEntered)]
    assert own == entered
    assert entered


def test_the_loop_may_end_early_and_take_fewer_frames(clips: tuple[Path, Path]) -> None:
    threads = threading.active_count()
    loop = reid_stream.follow(clips[0], max_fps=2)
    times = [next(loop).at for _ in range(3)]
    loop.close()  # type: ignore[attr-defined]
    assert np.diff(times) == pytest.approx([0.5, 0.5], abs=0.11)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("replay")]
    assert threading.active_count() <= threads + 2


def test_annotated_videos_have_all_frames_and_boxes_in_colour(clips: tuple[Path, Path], tmp_path: Path) -> None:
    result = CliRunner().invoke(
        app, ["annotate", *map(str, clips), "--out", str(tmp_path), "--max-fps", "5", "--name", "site-1=Ada"]
    )
    assert result.exit_code == 0, result.output
    assert f"{tmp_path}/door.mp4: {FRAMES} frames" in result.output
    with av.open(str(tmp_path / "till.mp4")) as drawn, av.open(str(clips[1])) as plain:
        pairs = list(zip(drawn.decode(video=0), plain.decode(video=0), strict=True))
    assert len(pairs) == FRAMES
    shown, source = (frame.to_ndarray(format="bgr24").astype(int) for frame in pairs[-1])
    changed = (np.abs(shown - source).max(axis=2) > 60).sum()
    assert changed > 1500  # outlines and labels, of several people


def test_videos_are_not_written_over_their_sources(clips: tuple[Path, Path]) -> None:
    before = clips[0].read_bytes()
    result = CliRunner().invoke(app, ["annotate", str(clips[0]), "--out", str(clips[0].parent)])
    assert result.exit_code != 0
    assert "another folder" in str(result.exception)
    assert clips[0].read_bytes() == before


def test_a_fast_replay_saves_the_same_people_and_a_live_one_is_refused(
    clips: tuple[Path, Path], tmp_path: Path
) -> None:
    command = [
        sys.executable,
        "-m",
        "reid_stream",
        "--cameras",
        *map(str, clips),
        "--plain",
        "--save",
        str(tmp_path / "out"),
    ]
    home = {**os.environ, "HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path / "data")}
    live = subprocess.run(command, env=home, capture_output=True, text=True, timeout=60, check=False)
    assert live.returncode == 2
    assert "--replay fast" in live.stderr
    done = subprocess.run(
        [*command, "--replay", "fast"], env=home, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    with av.open(str(tmp_path / "out" / "door.mp4")) as drawn, av.open(str(clips[0])) as plain:
        pairs = list(zip(drawn.decode(video=0), plain.decode(video=0), strict=True))
    shown, source = (frame.to_ndarray(format="bgr24").astype(int) for frame in pairs[-1])
    assert (np.abs(shown - source).max(axis=2) > 60).sum() > 1500
    assert "of them on several cameras" in done.stderr
