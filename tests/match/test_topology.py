"""Transit times between cameras, learned and stated."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reid_stream.config.settings import TopologySettings as Settings
from reid_stream.match.topology import HALF_LIFE_S, MAX_LLR, MIN_LLR, NEVER, Topology, TopologyState
from reid_stream.match.tracklets import Stay
from reid_stream.records import CameraId, TrackId

NOW = 1_000_000.0


def stay(camera: str, first_at: float, last_at: float, serial: int = 1) -> Stay:
    return Stay(serial, "run", CameraId(camera), TrackId(serial), first_at, last_at)


def after(camera: str, earlier: Stay, gap: float) -> Stay:
    return stay(camera, earlier.last_at + gap, earlier.last_at + gap + 5, earlier.serial + 1)


def learned(matches: int = 40, gap: float = 6.0) -> Topology:
    """People go from a to b in `gap` seconds; others were last seen anywhere, any time ago."""
    topology = Topology(Settings())
    for number in range(matches):
        one = stay("a", NOW, NOW + 10)
        others = [stay("abc"[i % 3], NOW - 5 - 2.0**i, NOW + 15 - 2.0**i) for i in range(12)]
        topology.learn(one, after("b", one, gap), others, NOW + number)
    return topology


def test_a_topology_without_observations_gives_no_evidence() -> None:
    topology, one = Topology(Settings()), stay("a", 0, 10)
    gaps = (-5.0, 0.5, 3.0, 50.0, 5000.0)
    assert [topology.log_ratio(one, after("b", one, gap)) for gap in gaps] == pytest.approx([0.0] * 5)


def test_a_few_matches_say_little() -> None:
    one = stay("a", 0, 10)
    few, many = (learned(n).log_ratio(one, after("b", one, 6)) for n in (2, 60))
    assert 0 < few < 1 < many <= MAX_LLR


def test_a_path_never_taken_is_unlikely_and_not_impossible() -> None:
    topology, one = learned(), stay("a", 0, 10)
    taken = topology.log_ratio(one, after("b", one, 6))
    assert MIN_LLR <= topology.log_ratio(one, after("c", one, 6)) < taken - 1
    assert MIN_LLR <= topology.log_ratio(one, after("b", one, 200)) < -1


def test_cameras_that_never_show_a_person_at_once_do_not_overlap() -> None:
    topology, one = Topology(Settings()), stay("a", 0, 10)
    for number in range(40):
        topology.learn(one, after("b", one, 6), [stay("b", 0, 30)] * 5 + [stay("a", 0, 30)] * 5, NOW + number)
    assert topology.log_ratio(one, stay("b", 2, 9, 2)) < -1


def test_overlap_is_learned_like_any_other_passage() -> None:
    topology, one, other = Topology(Settings()), stay("a", 0, 10), stay("b", 1, 9, 2)
    for number in range(40):
        topology.learn(one, other, [stay("a", -100.0 * i, -100.0 * i + 5) for i in range(5)], NOW + number)
    assert topology.log_ratio(one, other) > 1


def test_the_order_of_the_two_stays_does_not_matter() -> None:
    topology, one = learned(), stay("a", 0, 10)
    assert topology.log_ratio(one, after("b", one, 6)) == topology.log_ratio(after("b", one, 6), one)


def test_old_matches_fade() -> None:
    topology, one = learned(), stay("a", 0, 10)
    before = topology.counts(CameraId("a"), CameraId("b"))[0].sum()
    later = NOW + HALF_LIFE_S
    topology.learn(one, after("c", one, 6), [], later)
    assert topology.counts(CameraId("a"), CameraId("b"))[0].sum() == pytest.approx(before / 2, rel=0.01)


def test_stated_transit_times_count_before_anything_is_learned() -> None:
    topology = Topology(Settings.model_validate({"transit_s": {"a->b": [5, 10, 20]}}))
    one = stay("a", 0, 10)
    assert topology.log_ratio(one, after("b", one, 10)) > 0.5 > 0 > topology.log_ratio(one, after("b", one, 400))
    assert topology.log_ratio(one, after("c", one, 10)) <= 0


def test_what_is_stated_never_to_happen_is_ruled_out() -> None:
    topology, one = Topology(Settings.model_validate({"never": [["c", "a"]]})), stay("a", 0, 10)
    assert topology.log_ratio(one, after("c", one, 6)) == NEVER
    assert topology.excludes(one, stay("c", 3, 9))


def test_with_overlaps_stated_no_person_is_on_two_other_cameras_at_once() -> None:
    topology, one = Topology(Settings.model_validate({"overlaps": [["a", "b"]]})), stay("a", 0, 10)
    assert not topology.excludes(one, stay("b", 3, 9))
    assert topology.excludes(one, stay("c", 3, 9))
    assert not topology.excludes(one, stay("c", 9.5, 20))  # half a second may be a clock's error
    assert not topology.excludes(one, stay("a", 3, 9))  # on one camera, boxes decide


def test_a_topology_that_must_not_learn_does_not() -> None:
    topology, one = Topology(Settings(learn=False)), stay("a", 0, 10)
    topology.learn(one, after("b", one, 6), [stay("c", 0, 5)], NOW)
    assert topology.state().links == {}


def test_a_topology_continues_from_its_state() -> None:
    one, other = learned(), Topology(Settings())
    other.restore(msgspec.json.decode(msgspec.json.encode(one.state()), type=TopologyState))
    for pair in (("a", "b"), ("b", "a"), ("c", "b"), ("a", "a")):
        a, b = (CameraId(name) for name in pair)
        assert other.ratios(a, b) == pytest.approx(one.ratios(a, b))


def test_a_person_between_two_others_cameras_gains_nothing_by_being_both() -> None:
    topology, one = learned(), stay("a", 0, 10)
    two = after("b", one, 6)
    assert topology.transit_llr([one], [two]) == pytest.approx(topology.log_ratio(one, two))
    assert topology.transit_llr([one], []) == 0


@given(
    gaps=st.lists(st.tuples(st.sampled_from("abc"), st.floats(-20, 1e5), st.booleans()), max_size=40),
    asked=st.tuples(st.sampled_from("abcd"), st.sampled_from("abcd"), st.floats(-50, 1e6)),
)
@settings(max_examples=50, deadline=None)
def test_no_history_makes_a_passage_certain_or_impossible(
    gaps: list[tuple[str, float, bool]], asked: tuple[str, str, float]
) -> None:
    topology, one = Topology(Settings()), stay("a", 0, 30)
    for number, (camera, gap, is_match) in enumerate(gaps):
        other = after(camera, one, gap)
        topology.learn(one if is_match else None, other, [] if is_match else [one], NOW + number)
    earlier = stay(asked[0], 0, 30)
    assert MIN_LLR <= topology.log_ratio(earlier, after(asked[1], earlier, asked[2])) <= MAX_LLR
