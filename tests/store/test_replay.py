"""A store is replayed through the matcher, with presence and conflicts."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from reid_stream import store
from reid_stream.cli import app
from reid_stream.offline.rematch import agreement
from reid_stream.records import CameraId, GlobalId, Observation, TrackEnded, TrackId
from reid_stream.store import StoredTrack
from reid_stream.store.replay import StoredReplay, batches
from tests.store.figures import figure
from tests.store.test_writer import picture

RUNNER = CliRunner()


def stored(
    track: int, camera: str, times: list[float], person: str | None = None, bundle: str = "b", left: float = 0
) -> StoredTrack:
    return StoredTrack(
        camera=CameraId(camera),
        run="r",
        track=TrackId(track),
        times=times,
        boxes=[(left + 10 * at, 0.0, left + 10 * at + 8, 20.0) for at in times],
        qualities=[0.5] * len(times),
        clock="rtcp",
        global_id=GlobalId(person) if person else None,
        bundle=bundle,
    )


def replayed(track: StoredTrack) -> StoredReplay:
    return StoredReplay(track, np.tile(np.array([[0.6, 0.8]], np.float32), (len(track.times), 1)))


def test_records_come_in_time_order_over_all_cameras_and_every_track_ends() -> None:
    tracks = [replayed(stored(1, "a", [1.0, 3.0])), replayed(stored(2, "b", [2.0]))]
    records = [record for _, batch in batches(tracks, "b") for record in batch]
    assert [record.seen_at for record in records] == [1.0, 2.0, 3.0, 3.0, 4.0]
    assert [type(record) for record in records].count(TrackEnded) == 2


def test_a_track_is_seen_beside_another_at_the_time_of_its_crop() -> None:
    tracks = [replayed(stored(1, "a", [1.0, 3.0])), replayed(stored(2, "a", [2.0], left=50))]
    at_two = [record for _, batch in batches(tracks, "b") for record in batch if record.seen_at == 2.0]
    beside = next(record for record in at_two if record.track == 1)
    assert isinstance(beside, Observation)
    assert beside.vector is None
    assert beside.box == (20.0, 0.0, 28.0, 20.0)  # halfway between 10 and 30


def test_records_close_in_time_reach_the_matcher_together() -> None:
    tracks = [replayed(stored(1, "a", [1.0])), replayed(stored(2, "b", [1.05])), replayed(stored(3, "c", [1.2]))]
    sizes = [len(batch) for _, batch in batches(tracks, "b")]
    assert sizes[:2] == [2, 1]


def test_agreement_is_that_of_pairs() -> None:
    before = {"1": "a", "2": "a", "3": "a", "4": "b"}
    assert agreement(before, before) == (1.0, 1.0)
    after = {"1": "x", "2": "x", "3": "y", "4": "y"}
    assert list(agreement(before, after)) == pytest.approx([1 / 2, 1 / 3])
    assert agreement({"1": None, "2": None}, {"1": None, "2": None}) == (1.0, 1.0)


def dressed(shade: int) -> bytes:
    """Return a JPEG of a person in dark or in bright clothes."""
    clothes = ((0, 0, 200), (20, 20, 20)) if shade < 128 else ((230, 230, 230), (200, 60, 30))
    return bytes(cv2.imencode(".jpg", figure(*clothes, np.random.default_rng(shade)))[1].tobytes())


def site(folder: Path, shades: dict[int, int]) -> None:
    """Two cameras, one after the other; `shades` by track: the same shade is the same person."""
    for track, shade in shades.items():
        times = [100.0 * track + second for second in range(3)]
        one = stored(track, "a" if track % 2 else "b", times, f"shop-{track}", bundle="another")
        store.write(folder, one, [dressed(shade)] * 3, None)


def test_a_store_is_matched_again_by_the_shipped_embedder(tmp_path: Path) -> None:
    site(tmp_path / "store", {1: 40, 2: 40, 3: 220})
    out = tmp_path / "who.json"
    result = RUNNER.invoke(app, ["reidentify", str(tmp_path / "store"), "--json", str(out), "--write"])
    assert result.exit_code == 0, result.output
    assert "3 tracks, 9 crops (9 embedded by" in result.output
    found = json.loads(out.read_text())["people"]
    assert len(found) == 3
    read = [store.read(path)[0] for path in store.tracks(tmp_path / "store")]
    people = {int(one.track): one.global_id for one in read}
    assert people[1] == people[2] != people[3]
    assert all(int(str(person).removeprefix("shop-")) > 3 for person in people.values())  # no ID comes twice


def test_a_store_is_matched_again_by_what_is_stated_of_the_cameras(tmp_path: Path) -> None:
    for track, camera in ((1, "a"), (2, "b")):  # one look, and at once on both
        times = [100.0 + second for second in range(4)]
        one = stored(track, camera, times, bundle="another")
        store.write(tmp_path / "store", one, [picture(40)] * 4, None)
    found = {}
    for overlaps in ("[[a, b]]", "[]"):
        cams = tmp_path / "cams.yaml"
        cams.write_text(
            f"site: shop\nredis: {{url: embedded}}\ntopology: {{overlaps: {overlaps}}}\n"
            "cameras: [{id: a, url: a.mp4}, {id: b, url: b.mp4}]\n"
        )
        result = RUNNER.invoke(
            app, ["reidentify", str(tmp_path / "store"), "--cameras", str(cams), "--json", str(tmp_path / "who.json")]
        )
        assert result.exit_code == 0, result.output
        people = json.loads((tmp_path / "who.json").read_text())["people"]
        found[overlaps] = len({person for person, _ in people.values()})
    assert found == {"[[a, b]]": 1, "[]": 2}


def test_an_empty_store_is_reported(tmp_path: Path) -> None:
    result = RUNNER.invoke(app, ["reidentify", str(tmp_path)])
    assert result.exit_code != 0
    assert "must hold" in str(result.exception)


def test_a_broken_track_is_named(tmp_path: Path) -> None:
    site(tmp_path, {1: 40})
    (place,) = store.tracks(tmp_path)
    (place / store.crop_name(2)).write_bytes(b"no picture")
    result = RUNNER.invoke(app, ["reidentify", str(tmp_path)])
    assert "must be an image" in str(result.exception)
