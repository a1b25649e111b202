"""A recording replays to the daemon's events; other files are refused."""

import os
import threading
from pathlib import Path

import msgspec
import pytest

from benchmarks.rtsp.clips import cut_clip, draw_clip
from reid_stream.assembly.site import assemble
from reid_stream.config.settings import Camera, Match, Models, Observe, Publish, Settings, TopologySettings, Track
from reid_stream.errors import ConfigError
from reid_stream.evaluation import recording
from reid_stream.evaluation.recording import RecordedBatch, Recording
from reid_stream.evaluation.score import score
from reid_stream.evaluation.stream import Timeline, boxes_of
from reid_stream.evaluation.truth import read_mot
from reid_stream.events import Event, IdentityEntered
from reid_stream.match.matcher import Matcher
from reid_stream.match.presence import Presence
from reid_stream.pipeline import Identification
from reid_stream.records import CameraId
from reid_stream.runtime.networks import load_networks
from tests.builders import ListSink
from tests.integration.program import tiny_models
from tests.worlds import MODEL, RUN, World

DATA = os.environ.get("REID_STREAM_DATA")


def recorded(world: World) -> Recording:
    """Output of a perfect perception for a simulated world, one batch per instant."""
    batches: dict[float, RecordedBatch] = {}
    for record in world.observations():
        batches.setdefault(record.seen_at, RecordedBatch(record.seen_at, [])).records.append(record)
    return Recording(
        name="simulated",
        run=RUN,
        model=MODEL,
        dim=world.dim,
        verifier=None,
        calibration=None,
        detector="none",
        stages={},
        cameras={camera: Timeline(world.begins_at, world.fps) for camera, _ in world.owner},
        batches=list(batches.values()),
        frames=0,
        seconds=0.0,
    )


def about_people(events: list[Event]) -> list[Event]:
    return [event for event in events if event.type.startswith("identity.")]


@pytest.mark.slow
@pytest.mark.parametrize("source", ["drawn", "real"])
def test_a_replay_gives_the_events_that_the_daemon_published(tmp_path: Path, source: str) -> None:
    """Drawn pictures through tiny networks, and real ones through those that ship."""
    clip, models = tmp_path / "clip.avi", Models()
    if source == "real":
        if DATA is None:
            pytest.skip("$REID_STREAM_DATA with real footage is needed")
        clip = cut_clip(Path(DATA) / "video" / "vtest.avi", clip, seconds=1)
    else:
        tiny = tiny_models(tmp_path / "tiny")
        models = Models(detector=str(tiny / "detector"), embedder=str(tiny / "embedder"))
        clip = draw_clip(tmp_path / "clip.mp4", seconds=1)
    settings = Settings(
        site="lab",
        models=models,
        cameras=tuple(
            Camera.model_validate({"id": name, "url": str(clip), "start_after_s": late})
            for name, late in (("east", 0), ("west", 0.5))
        ),
        publish=Publish(seen_interval_s=0.3),
        observe=Observe(port=None),
    )
    sink = ListSink()
    with assemble(settings, run="eval", fast=True, sink=sink) as site:
        site.daemon.run(threading.Event())
    published = about_people(sink.events)
    assert any(isinstance(event, IdentityEntered) for event in published)

    file, networks = tmp_path / "kept" / "clip.rec", load_networks(settings)
    recording.save(recording.record(settings, networks=networks), file)
    made = recording.load(file)
    assert recording.replay(made, settings.match, settings.publish, site="lab") == published

    assert recording.is_of(made, settings, networks)
    other_tracks = settings.model_copy(update={"track": Track(lost_s=1.0)})
    assert not recording.is_of(made, other_tracks, networks), "another tracker gives something else"
    assert recording.is_of(made, settings.model_copy(update={"match": Match(similarity=0.1)}), networks)


def test_a_replay_is_the_matcher_and_presence_batch_by_batch() -> None:
    made = recorded(World(people=4, cameras=2, seed=3))
    match, publish = Match(similarity=0.6), Publish(snapshots=False)
    identify = Identification(Matcher(match, "s", MODEL), presence := Presence(publish))
    expected = [event for batch in made.batches for event in identify.step(batch.records, batch.now)]
    assert recording.replay(made, match, publish, site="s") == expected + presence.close()


def test_what_is_stated_of_the_cameras_holds_in_a_replay_too() -> None:
    """Two cameras see one person at the same time: where cameras do not overlap, that cannot be one."""
    seen = [record for batch in recorded(World(people=1, cameras=1, seed=3)).batches for record in batch.records]
    double = [msgspec.structs.replace(record, camera=CameraId("cam1")) for record in seen]
    made = msgspec.structs.replace(
        recorded(World(people=1, cameras=1, seed=3)),
        cameras={camera: Timeline(seen[0].seen_at, 5) for camera in ("cam0", "cam1")},
        batches=[RecordedBatch(one.seen_at, [one, two]) for one, two in zip(seen, double, strict=True)],
    )

    def people(topology: TopologySettings) -> int:
        published = boxes_of(recording.replay(made, Match(similarity=0.6), topology=topology), made.cameras)
        return len({person for boxes in published.in_the_end.values() for person in boxes.people})

    assert people(TopologySettings(overlaps=(("cam0", "cam1"),))) == 1
    assert people(TopologySettings(overlaps=())) == 2


def test_settings_of_the_matcher_change_what_is_replayed() -> None:
    made = recorded(World(people=4, cameras=2, seed=3))

    def people(similarity: float) -> int:
        events = recording.replay(made, Match(similarity=similarity))
        return len({event.person for event in events if isinstance(event, IdentityEntered)})

    assert people(1.0) > people(0.6) == 4


def test_a_recording_comes_back_whole(tmp_path: Path) -> None:
    truth = tmp_path / "gt.txt"
    truth.write_text("1,7,10,20,30,40,1,1,1\n2,7,11,20,30,40,1,1,1\n2,8,90,20,30,40,0,1,1\n")
    boxes = read_mot(truth)
    kept = recording.TrueBoxes([1, 2], [7, 7], [(10, 20, 40, 60), (11, 20, 41, 60)], [2], [(90, 20, 120, 60)])
    assert recording.kept(boxes) == kept
    made = msgspec.structs.replace(recorded(World(people=2, cameras=1)), truth={"cam0": kept})
    recording.save(made, tmp_path / "a.rec")
    back = recording.load(tmp_path / "a.rec")
    assert back == made
    assert score({"cam0": boxes}, back.true_boxes()).hota == pytest.approx(1)
    assert recording.kept(back.true_boxes()["cam0"]) == kept


def test_a_replayed_recording_is_scored_by_its_own_timelines() -> None:
    world = World(people=3, cameras=2, seed=1)
    made = recorded(world)
    published = boxes_of(recording.replay(made, Match(similarity=0.6)), made.cameras)
    seen = {camera: len(boxes.frames) for camera, boxes in published.in_the_end.items()}
    assert sum(seen.values()) == sum(len(batch.records) for batch in made.batches) - len(world.visits)
    assert all(boxes.frames.min() >= 1 for boxes in published.in_the_end.values())


def test_a_file_that_is_no_recording_is_reported(tmp_path: Path) -> None:
    file = tmp_path / "a.rec"
    with pytest.raises(ConfigError, match="must be a file that can be read"):
        recording.load(file)
    file.write_bytes(b"\x81\xa1a\x01")
    with pytest.raises(ConfigError, match="must be msgpack of schema 1.*record it again"):
        recording.load(file)
    file.write_bytes(msgspec.msgpack.encode(msgspec.structs.replace(recorded(World(people=1, cameras=1)), schema=2)))
    with pytest.raises(ConfigError, match="schema 1, got 2"):
        recording.load(file)
