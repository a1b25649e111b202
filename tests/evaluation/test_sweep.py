"""Settings are tried one value after the other; wrong ones are refused before the first."""

from pathlib import Path

import pytest

from reid_stream.config.settings import Match, Settings
from reid_stream.errors import ConfigError
from reid_stream.evaluation.plots import draw_sweep
from reid_stream.evaluation.recording import Recording
from reid_stream.evaluation.sweep import Sweep, changed, parse, points
from tests.evaluation.test_budget import with_truth
from tests.worlds import World

SETTINGS = Settings.model_validate({"cameras": [{"id": "cam0", "url": "a.mp4"}], "match": {"similarity": 0.6}})


def test_a_sweep_is_read() -> None:
    assert parse("match.similarity=0.1, 0.2,none") == Sweep("match", "similarity", ("0.1", "0.2", "none"))
    assert parse("track.lost_s=1,2").is_replayed is False


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("match.similarity", "must be SETTING=VALUE"),
        ("match.similarity=", "must be SETTING=VALUE"),
        ("redis.port=1,2", "a setting of match, detect, track, embed, got 'redis.port=1,2'"),
        ("match.similar=0.1", "must name a key of match: similarity, .*, got 'similar'"),
    ],
)
def test_what_is_no_sweep_is_reported(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse(text)


def test_values_are_those_of_cams_yaml() -> None:
    assert changed(SETTINGS, parse("match.similarity=none"), "none").match.similarity is None
    assert changed(SETTINGS, parse("track.algorithm=botsort"), "botsort").track.algorithm == "botsort"
    with pytest.raises(ConfigError, match=r"match.similarity: input should be less than or equal to 1, got 1.5"):
        changed(SETTINGS, parse("match.similarity=1.5"), "1.5")


def test_what_is_matched_is_recorded_once_and_what_is_tracked_once_a_value() -> None:
    made, asked = with_truth(World(people=3, cameras=2, seed=3)), []

    def record(settings: Settings) -> Recording:
        asked.append(settings)
        return made

    found = list(points(parse("match.similarity=0.6,1.0"), SETTINGS, record))
    assert [(point.value, point.is_default) for point in found] == [("0.6", True), ("1.0", False)]
    loose, strict = (point.figures.in_the_end for point in found)
    assert (loose.people.missed_links, loose.people.identities) == (0, 3)
    assert strict.people.missed_links == strict.people.links == 3
    assert asked == [SETTINGS]
    list(points(parse("track.lost_s=1,3"), SETTINGS, record))
    assert [settings.track.lost_s for settings in asked[1:]] == [1, 3]
    assert {settings.match for settings in asked} == {Match(similarity=0.6)}


def test_a_wrong_value_is_reported_before_anything_is_tried() -> None:
    with pytest.raises(ConfigError, match="greater than 0, got -1"):
        next(points(parse("match.false_match_rate=0.1,-1"), SETTINGS, lambda _: pytest.fail("nothing is recorded")))


@pytest.mark.parametrize("values", ["0.1,0.6,1.0", "0.6,none"])
def test_the_trade_off_is_drawn(tmp_path: Path, values: str) -> None:
    pytest.importorskip("matplotlib", reason="the `eval` extra draws")
    made = with_truth(World(people=3, cameras=2, seed=3))
    found = list(points(parse(f"match.similarity={values}"), SETTINGS, lambda _: made))
    draw_sweep("match.similarity", found, tmp_path / "sweep.png", "simulated")
    assert (tmp_path / "sweep.png").read_bytes().startswith(b"\x89PNG")
