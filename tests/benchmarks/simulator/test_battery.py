"""The battery: people of one half only, cameras that differ, and figures that agree with the evaluation's."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.simulator import battery, battery_report
from benchmarks.simulator.battery import BatteryWorld, PreparedWorld
from benchmarks.simulator.battery_lanes import without_silence
from benchmarks.simulator.camera_views import seen_by
from benchmarks.simulator.crops import PersonCrop
from benchmarks.simulator.looks import Looks
from benchmarks.simulator.replay import MatcherSpec
from benchmarks.simulator.scenario import Scenario
from benchmarks.simulator.world import simulate
from reid_stream.config.settings import Match
from tests.benchmarks.simulator.people import calm, looks

DATA = os.environ.get("REID_STREAM_DATA")


def crop(person: str, camera: str, seed: int) -> PersonCrop:
    noise = np.random.default_rng(seed).integers(0, 256, (16, 8, 3), dtype=np.uint8)
    image = cv2.resize(noise, (64, 128), interpolation=cv2.INTER_CUBIC)
    return PersonCrop(person, camera, cv2.imencode(".png", image)[1].tobytes())


def test_a_battery_has_twelve_worlds_or_more_over_three_groups_in_both_halves() -> None:
    assert len(battery.WORLDS) >= 12
    for half in battery.HALVES:
        assert {world.group for world in battery.WORLDS if world.half == half} == set(battery.GROUPS)
    assert len({(world.group, world.name, world.half) for world in battery.WORLDS}) == len(battery.WORLDS)
    assert len({world.seed for world in battery.WORLDS}) == len(battery.WORLDS)


def test_all_scenarios_of_the_battery_are_valid() -> None:
    for world in battery.WORLDS:
        Scenario.model_validate(world.changes)


@pytest.mark.slow
@pytest.mark.skipif(DATA is None, reason="REID_STREAM_DATA is not set")
@pytest.mark.parametrize("group", battery.GROUPS)
def test_no_person_is_in_both_halves(group: battery.Group) -> None:
    assert DATA is not None
    one, other = ({crop.person for crop in battery.people_of(group, half, Path(DATA))} for half in battery.HALVES)
    assert len(one) >= 30
    assert len(other) >= 30
    assert not one & other


def test_cameras_of_a_world_show_the_views_in_turn_with_their_own_variants() -> None:
    crops = [crop("1", "1", 1), crop("1", "1", 2), crop("1", "2", 3), crop("2", "1", 4)]
    shown = seen_by(crops, cameras=3, strength=1.0, variants=2, most=1, seed=5)
    assert [(each.person, each.camera) for each in shown] == [
        *[("1", "00")] * 2, *[("2", "00")] * 2, *[("1", "01")] * 2, *[("1", "02")] * 2, *[("2", "02")] * 2,
    ]  # fmt: skip
    assert len({each.data for each in shown}) == len(shown)
    again = seen_by(crops, cameras=3, strength=1.0, variants=2, most=1, seed=5)
    assert [each.data for each in again] == [each.data for each in shown]


def test_cameras_differ_more_in_colour_the_stronger() -> None:
    crops = [crop("1", "1", number) for number in range(3)]

    def spread(strength: float) -> float:
        shown = seen_by(crops, cameras=6, strength=strength, variants=1, most=3, seed=1)
        pictures = [np.asarray(cv2.imdecode(np.frombuffer(each.data, np.uint8), 1)) for each in shown]
        means = [picture.mean(axis=(0, 1)) for picture in pictures]
        colours = np.asarray([mean / mean.sum() for mean in means]).reshape(6, 3, 3)
        return float(colours.mean(axis=1).std(axis=0).mean())

    assert spread(1.0) > 3 * spread(0.0)


def test_a_crop_that_is_no_image_is_named() -> None:
    with pytest.raises(ValueError, match="person 7 on camera 1"):
        seen_by([PersonCrop("7", "1", b"none")], cameras=1, strength=0.3, variants=1, most=1, seed=0)


def test_a_slow_camera_gives_fewer_frames_and_the_others_all_of_theirs() -> None:
    people = looks(12)
    whole = simulate(calm(fps=20), people, 3)
    slow = simulate(calm(fps=20, camera_fps=(20, 5)), people, 3)
    for camera, share in ((0, 1.0), (1, 0.25), (2, 1.0)):
        frames = [len(np.unique(world.rows.frame[world.rows.camera == camera])) for world in (whole, slow)]
        assert frames[1] / frames[0] == pytest.approx(share, abs=0.02)


def test_a_camera_cannot_be_faster_than_its_world() -> None:
    with pytest.raises(ValueError, match="camera_fps"):
        Scenario.model_validate({"fps": 5, "camera_fps": (10,)})


def test_people_in_uniform_look_more_alike_than_others() -> None:
    people = looks(20, noise=0.1)
    plain, uniform = (simulate(calm(people=20, uniform_share=share), people, 1).looks for share in (0.0, 0.5))

    def alike(found: Looks) -> float:
        means = np.stack([found.vectors[found.rows(person)].astype(np.float32).mean(axis=0) for person in range(20)])
        means /= np.linalg.norm(means, axis=1, keepdims=True)
        return float(np.quantile((means @ means.T)[np.triu_indices(20, 1)], 0.9))

    assert alike(uniform) > alike(plain) + 0.2


def test_who_returns_after_ten_minutes_does_so_then() -> None:
    world = simulate(calm(people=12, return_share=1.0, return_after_s=600, arrivals_per_hour=36_000), looks(12), 2)
    late = world.visits.enters_at[world.visits.enters_at > 400]
    assert len(late)
    assert late.min() >= 450


def test_a_world_that_is_easy_is_solved_and_its_figures_agree() -> None:
    world = simulate(calm(), looks(12, noise=0.1), 4)
    spec = BatteryWorld("easy", "market", "development", 4)
    found = battery.run(PreparedWorld(spec, world, world), MatcherSpec(Match(similarity=0.7)))
    assert found.idf1 > 0.9
    assert found.oracle == pytest.approx(1.0)
    assert found.share == pytest.approx(found.idf1)
    assert found.true_tracks == pytest.approx(found.idf1)
    assert found.single >= found.single_tracks - 1e-9


@pytest.mark.slow
def test_both_halves_and_their_distance_are_reported() -> None:
    world = simulate(calm(), looks(12, noise=0.1), 4)
    spec = BatteryWorld("easy", "market", "development", 4)
    linked, apart = (
        battery.run(PreparedWorld(spec, world, world), MatcherSpec(Match(similarity=value))) for value in (0.7, 0.999)
    )
    groups = battery_report.score_groups({"development": [linked], "reported": [linked, apart]})
    for title, name in (("battery IDF1", "idf1"), ("battery share of the oracle", "share")):
        values = groups[title]
        assert values["development"] == pytest.approx(getattr(linked, name))
        assert values["distance"] == pytest.approx(values["development"] - values["reported"])
        assert values["distance"] > 0.05


def test_swim_lanes_leave_out_long_silences_alone() -> None:
    when = np.asarray([0, 5, 10, 10 + 5 * 59, 10_000, 10_005])
    found = without_silence(when, when, 5.0).tolist()
    assert found[:4] == when[:4].tolist()
    assert found[4] - found[3] == 5 * 10
    assert found[5] - found[4] == 5
