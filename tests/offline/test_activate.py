"""Changing the embedder: compared first, then activated, with the same IDs."""

import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest
import redis
from typer.testing import CliRunner

from benchmarks.simulator.crops import PersonCrop
from benchmarks.simulator.scenario import load
from benchmarks.simulator.stored import ALL_AT_ONCE, STILL, build
from reid_stream import store
from reid_stream.assembly.identification import identification, open_state
from reid_stream.assembly.resources import redis_url
from reid_stream.assembly.site_state import SiteState
from reid_stream.bundles import catalog
from reid_stream.bundles.bundle import MODEL_FILE, EmbedderBundle, save
from reid_stream.bundles.embedder_info import EmbedderInfo
from reid_stream.bundles.wrap import wrap_embedder
from reid_stream.cli import app
from reid_stream.config import cams_yaml
from reid_stream.config.settings import Embed, Match, Models, Settings
from reid_stream.errors import ConfigError
from reid_stream.journal.entry import StateKeys
from reid_stream.match.matcher import Matcher
from reid_stream.match.snapshot import MatcherState
from reid_stream.offline.reembed import carried, reembed
from reid_stream.offline.rematch import read_store
from reid_stream.records import CameraId, GlobalId, Observation, TrackId
from reid_stream.runtime.networks import load_embedder
from reid_stream.store.ground_truth import TRUTH_FILE
from reid_stream.store.replay import StoredReplay, batches
from tests.engines.networks import channel_means

BUNDLE_B = "b" * 64


def call(*words: str) -> str:
    done = CliRunner().invoke(app, ["models", *words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return " ".join(done.output.split())


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a bundle that is not the shipped one, as far as any vector goes."""
    folder, bundle = catalog.embedder("default")
    made = tmp_path_factory.mktemp("shelf") / "other"
    head = msgspec.structs.replace(bundle.verifier, b=bundle.verifier.b + 1e-6)
    save(msgspec.structs.replace(bundle, name="other", verifier=head), (folder / MODEL_FILE).read_bytes(), made)
    assert catalog.embedder(str(made))[1].hash != bundle.hash
    return made


def simulated(out: Path) -> dict[str, str]:
    """Let people in bands of colours walk past two cameras."""
    random, found = np.random.default_rng(1), []
    for person in range(8):
        bands = random.integers(0, 220, (4, 1, 3)).repeat(32, axis=0).repeat(64, axis=1)
        for camera in "12":
            for _ in range(3):
                noisy = np.clip(bands + random.integers(0, 30, (128, 64, 3)), 0, 255).astype(np.uint8)
                found.append(PersonCrop(f"{person:04}", camera, cv2.imencode(".jpg", noisy)[1].tobytes()))
    return build(found, load(None, **{**ALL_AT_ONCE, **STILL, "people": 8}), 3, out)


def site(place: Path, **store_settings: str) -> tuple[Path, Settings]:
    """Write cams.yaml of a site with a store and a Redis of its own."""
    cams = place / "cams.yaml"
    kept = "".join(f"  {key}: {value}\n" for key, value in store_settings.items())
    cams.write_text(
        "# ours\nsite: shop\nredis:\n  url: embedded\n  directory: redis\n  port: 0\nspool:\n  directory: spool\n"
        # Bands of color are no people, and look more alike to an embedder than people do.
        "match:\n  similarity: 0.75\n"
        + (f"store:\n{kept}" if kept else "")
        + "cameras:\n  - id: cam1  # the door\n    url: rtsp://a\n  - id: cam2\n    url: rtsp://b\n"
    )
    return cams, cams_yaml.load(cams)


def lived(
    opened: SiteState, settings: Settings, run: str, tracks: tuple[StoredReplay, ...], model: str
) -> dict[tuple[str, int], str]:
    """Let tracks go by and the day end; return whose each is in the end."""
    steps = identification(settings, opened, run)
    for now, records in batches(tracks, model):
        steps.commit(steps.step(records, now))
    steps.commit(steps.finish())
    state, run = opened.matcher.state(), tracks[0].track.run
    steps.close(10)
    return {
        (stay.camera, stay.track): f"shop-{person.number}"
        for person in state.people
        for stay in person.stays
        if stay.run == run
    }


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_people_keep_their_ids_under_another_embedder(other: Path, tmp_path: Path) -> None:
    cams, settings = site(tmp_path, folder="store")
    assert settings.store.folder is not None
    simulated(settings.store.folder)
    bundle, embed, _ = load_embedder(Models(), Embed())
    seen = read_store(settings.store.folder, bundle, embed).tracks
    with open_state(settings, EmbedderInfo.of(bundle), run="monday") as opened:
        whose = lived(opened, settings, "monday", seen, bundle.hash)
    for place in store.tracks(settings.store.folder):
        track, _ = store.read(place)
        named = GlobalId(whose[track.camera, track.track])
        store.relabel(place, msgspec.structs.replace(track, global_id=named))

    result = call("activate", str(other), "--cameras", str(cams))
    people = set(whose.values())
    assert len(people) >= 4
    assert f"{len(people)} people keep their IDs" in result
    assert "was default" in result
    text = cams.read_text()
    assert "# ours" in text
    assert "\n  - id: cam1  # the door\n    url: rtsp://a\n" in text
    after = cams_yaml.load(cams)
    assert after.models.embedder == str(other)

    following = catalog.embedder(str(other))[1]
    later = tuple(
        StoredReplay(
            msgspec.structs.replace(one.track, run="tuesday", times=[at + 3000 for at in one.track.times]), one.vectors
        )
        for one in seen
    )
    with redis_url(after) as url, redis.Redis.from_url(url) as client:
        kept = {key.decode() for key in client.scan_iter("reid:shop:state:*:*") if b":snapshot:" in key}
        assert kept == {StateKeys.of("shop", following.hash).snapshots[0]}  # nothing of the old vectors is left
    with open_state(after, EmbedderInfo.of(following), run="tuesday") as opened:
        assert {f"shop-{person.number}" for person in opened.matcher.state().people} == people
        again = lived(opened, after, "tuesday", later, following.hash)
    same = np.mean([again[key] == whose[key] for key in whose])
    assert same > 0.6  # bands of colours look alike; by chance it would be a fifth


@pytest.mark.slow
def test_a_site_that_keeps_no_crops_is_refused_before_anything_changes(other: Path, tmp_path: Path) -> None:
    cams, _ = site(tmp_path)
    before = cams.read_text()
    with pytest.raises(ConfigError, match="people would get new IDs: store.folder is not set"):
        call("activate", str(other), "--cameras", str(cams))
    assert cams.read_text() == before
    assert "people get new IDs" in call("activate", str(other), "--cameras", str(cams), "--anew")
    assert cams_yaml.load(cams).models.embedder == str(other)
    with pytest.raises(ConfigError, match="in use already"):
        call("activate", str(other), "--cameras", str(cams))


@pytest.mark.slow
def test_a_running_daemon_keeps_its_people(other: Path, tmp_path: Path) -> None:
    cams, settings = site(tmp_path, folder="store")
    simulated(tmp_path / "store")
    bundle = catalog.embedder("default")[1]
    with open_state(settings, EmbedderInfo.of(bundle), run="r"), pytest.raises(ConfigError, match="one"):
        call("activate", str(other), "--cameras", str(cams))
    assert cams_yaml.load(cams).models.embedder == "default"


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_what_would_change_is_printed_and_nothing_changes(other: Path, tmp_path: Path) -> None:
    folder, kept = tmp_path / "store", tmp_path / "shadow.json"
    truth = simulated(folder)
    before = {place: (place / store.TRACK_FILE).read_bytes() for place in store.tracks(folder)}
    result = call(
        "shadow", str(other), "--store", str(folder), "--truth", str(folder / TRUTH_FILE), "--json", str(kept)
    )
    found = json.loads(kept.read_text())
    assert found["tracks"] == len(truth)
    assert found["stay"] == found["present"]["people"] == found["other"]["people"]  # the very same network
    assert (found["merged"], found["split"], found["same_pairs"]) == (0, 0, 1)
    assert 0 < found["present"]["right"]["idf1"] <= 1
    assert f"{found['stay']} identities stay as they are" in result
    assert {place: (place / store.TRACK_FILE).read_bytes() for place in store.tracks(folder)} == before
    with pytest.raises(ConfigError, match="is the present one"):
        call("shadow", "embedder", "--store", str(folder))
    (tmp_path / "wrong.json").write_text('{"nowhere": "anna"}')
    with pytest.raises(ConfigError, match="none of which is in"):
        call("shadow", str(other), "--store", str(folder), "--truth", str(tmp_path / "wrong.json"))


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_the_verdict_says_which_embedder_is_right_and_names_the_sites_own_people(tmp_path: Path) -> None:
    """One embedder sees the mean colour alone, which is right for bands of colours; the shipped one is for people."""
    folder, kept = tmp_path / "store", tmp_path / "shadow.json"
    truth = simulated(folder)
    numbers = {person: f"shop-{number}" for number, person in enumerate(sorted(set(truth.values())), 11)}
    for place in store.tracks(folder):
        track, _ = store.read(place)
        own = GlobalId(numbers[truth[str(place.relative_to(folder))]])
        store.relabel(place, msgspec.structs.replace(track, global_id=own))
    plain = tmp_path / "plain"
    wrap_embedder(channel_means(tmp_path / "plain.onnx"), plain)
    for options, outcome in ((["--truth", str(folder / TRUTH_FILE)], "better"), ([], "unknown")):
        printed = call("shadow", str(plain), "--store", str(folder), "--json", str(kept), *options)
        found = json.loads(kept.read_text())
        assert found["verdict"]["outcome"] == outcome, printed
        assert " ".join(found["verdict"]["text"].split()) in printed
        assert found["merges"]
        assert {person for change in found["merges"] for person in change["people"]} <= set(numbers.values())
        assert (f"models activate {plain}" in printed) == (outcome == "better")
    truths = ["--truth", str(folder / TRUTH_FILE)]
    printed = call("shadow", "default", "--embedder", str(plain), "--store", str(folder), "--json", str(kept), *truths)
    assert json.loads(kept.read_text())["verdict"]["outcome"] == "worse"
    assert "keep the present one" in printed
    assert "models activate" not in printed


def known(**people: list[int]) -> tuple[MatcherState, dict[int, np.ndarray[Any, Any]]]:
    """Return what a matcher knows after people went by one after another, and the look of each."""
    random = np.random.default_rng(0)
    looks = {track: random.normal(size=16).astype(np.float32) for tracks in people.values() for track in tracks}
    matcher = Matcher(Match(), "shop", "a" * 64, dim=16)
    for track in sorted(looks):
        for step in range(4):
            vector = (looks[track] / np.linalg.norm(looks[track])).astype(np.float16)
            at = 100.0 * track + step
            matcher.update([observation(track, at, vector.tobytes(), step)], at)
    return matcher.state(), looks


def observation(track: int, at: float, vector: bytes, sequence: int) -> Observation:
    return Observation(
        run="r", camera=CameraId("door"), track=TrackId(track), sequence=10 * track + sequence, seen_at=at,
        clock="rtcp", box=(1, 2, 9, 22), frame_size=(64, 48), score=0.9, quality=0.8, vector=vector, model="a" * 64,
    )  # fmt: skip


def replayed(track: int, person: str | None, count: int = 3) -> StoredReplay:
    stored = store.StoredTrack(
        camera=CameraId("door"), run="r", track=TrackId(track), times=[100.0 * track + n for n in range(count)],
        boxes=[(0, 0, 9, 20)] * count, qualities=[0.5] * count, clock="rtcp",
        global_id=GlobalId(person) if person else None, bundle="a" * 64,
    )  # fmt: skip
    vectors = np.random.default_rng(track).normal(size=(count, 8)).astype(np.float32)
    return StoredReplay(stored, vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def bundle_b() -> EmbedderBundle:
    return msgspec.structs.replace(catalog.embedder("default")[1], hash=BUNDLE_B, dim=8)


def test_who_has_no_crop_is_let_go_and_the_number_is_not_given_again() -> None:
    earlier, _ = known(a=[1], b=[2], c=[3])
    numbers = {person.number: person.stays[0].track for person in earlier.people}
    kept = [replayed(track, None) for track in numbers.values() if track != 2]
    state = reembed(earlier, kept, bundle_b(), Match(), "shop")
    gone = next(number for number, track in numbers.items() if track == 2)
    assert carried(earlier, state).lost == [gone]
    assert state.next_number == earlier.next_number
    assert state.model == BUNDLE_B
    assert {len(view.vector) for views in state.exemplars.values() for view in views} == {2 * 8}  # none of the old ones
    assert len(Matcher(Match(), "shop", BUNDLE_B, dim=8, state=state)) == 2


def test_the_matchers_word_on_whose_a_track_is_comes_before_the_stores() -> None:
    earlier, _ = known(a=[1], b=[2])
    owner = {int(person.stays[0].track): person.number for person in earlier.people}
    state = reembed(earlier, [replayed(1, f"shop-{owner[2]}")], bundle_b(), Match(), "shop")
    assert list(state.exemplars) == [owner[1]]


def test_where_no_state_is_left_people_are_read_from_the_store() -> None:
    tracks = [
        replayed(1, "shop-4"),
        replayed(2, "shop-4"),
        replayed(3, "shop-9"),
        replayed(4, "inn-11"),
        replayed(5, None),
    ]
    state = reembed(None, tracks, bundle_b(), Match(), "shop")
    assert [(person.number, len(person.stays)) for person in state.people] == [(4, 2), (9, 1)]
    assert state.next_number == 10
    assert state.next_serial == 6
    matcher = Matcher(Match(), "shop", BUNDLE_B, dim=8, state=state)
    assert len(matcher) == 2
    assert [person.number for person in matcher.state().people] == [4, 9]


def test_the_best_few_views_represent_a_person_seen_often() -> None:
    tracks = [replayed(track, "shop-1", count=1 + track) for track in range(1, 7)]
    state = reembed(None, tracks, bundle_b(), Match(exemplars=3), "shop")
    assert sorted(view.source for view in state.exemplars[1]) == [4, 5, 6]  # those of most crops


def test_an_embedder_must_be_there_to_be_activated(tmp_path: Path) -> None:
    cams, _ = site(tmp_path)
    shutil.rmtree(tmp_path / "nothing", ignore_errors=True)
    with pytest.raises(Exception, match="must be the folder of a bundle"):
        call("activate", "nothing", "--cameras", str(cams))
