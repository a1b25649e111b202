"""Swim lanes: their content and their drawing."""

import sys
from pathlib import Path

import numpy as np
import pytest

from reid_stream.errors import ConfigError
from reid_stream.evaluation.align import align
from reid_stream.evaluation.lanes import Lanes, lanes
from reid_stream.evaluation.plots import check, colour, draw_lanes
from reid_stream.evaluation.visits import visits
from tests.evaluation.rows import FPS, TIMELINES, Row, boxes

TRUTH: list[Row] = [
    ("door", 7, 1, 100, 0),
    ("door", 8, 21, 60, 100),
    ("door", 9, 81, 120, 100),
    ("till", 8, 101, 160, 0),
]
PUBLISHED: list[Row] = [
    ("door", "s-1", 6, 100, 0),
    ("door", "s-2", 31, 60, 100),
    ("door", "s-1", 81, 120, 100),
    ("till", "s-2", 111, 130, 0),
    ("till", "s-3", 131, 160, 0),
    ("till", "s-9", 1, 10, 400),
]


def laid(published: list[Row] = PUBLISHED) -> Lanes:
    # Two people under one ID at once would be refused; the third person's starts when the first is gone.
    published = [("door", "s-4", 81, 120, 100) if row == PUBLISHED[2] else row for row in published]
    aligned = align(boxes(TRUTH), boxes(published))
    return lanes(TIMELINES, aligned, aligned, visits(aligned, FPS))


def test_visits_share_a_lane_when_they_leave_room() -> None:
    door, till = laid().panels
    assert [bar.lane for bar in door.bars] == [0, 1, 1]
    assert [bar.start_s for bar in door.bars] == pytest.approx([0, 2, 8])
    assert [bar.end_s for bar in door.bars] == pytest.approx([10, 6, 12])
    assert (door.lanes, till.lanes) == (2, 1)


def test_a_bar_shows_the_published_identity_and_when_it_changed() -> None:
    found = laid()
    (bar,) = found.panels[1].bars
    assert found.people[bar.person] == "8"
    assert [(stretch.name, stretch.person) for stretch in bar.in_the_end] == [("s-2", bar.person), ("s-3", None)]
    assert [(each.start_s, each.end_s) for each in bar.in_the_end] == [pytest.approx((11, 13)), pytest.approx((13, 16))]
    assert bar.switches_s == pytest.approx((13.0,))


def test_false_boxes_are_counted_by_the_second() -> None:
    found = laid()
    assert found.panels[1].false_boxes[:2].tolist() == [1.0, 0.0]
    assert not found.panels[0].false_boxes.any()


def test_colours_of_a_crowd_differ() -> None:
    colours = np.asarray([colour(person) for person in range(40)])
    gaps = np.linalg.norm(colours[:, None] - colours[None], axis=2) + 9 * np.eye(40)
    assert gaps.min() > 0.15
    assert [colour(0), colour(1)] == [colour(0), colour(1)] != [colour(1), colour(0)]


@pytest.mark.parametrize("name", ["lanes.png", "lanes.svg"])
def test_lanes_are_drawn(tmp_path: Path, name: str) -> None:
    pytest.importorskip("matplotlib", reason="the `eval` extra draws")
    draw_lanes(laid(), tmp_path / "plots" / name, "two cameras")
    drawn = (tmp_path / "plots" / name).read_bytes()
    assert drawn.startswith(b"\x89PNG" if name.endswith("png") else b"<?xml")
    assert len(drawn) > 10_000


def test_what_cannot_be_drawn_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib", reason="the `eval` extra draws")
    check(tmp_path / "lanes.pdf")
    with pytest.raises(ConfigError, match=r"must be a \.png"):
        check(tmp_path / "lanes.xyz")
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="must be a file that can be written"):
        draw_lanes(laid(), tmp_path / "file" / "lanes.png")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ConfigError, match=r"install `reid-stream\[eval\]`"):
        draw_lanes(laid(), tmp_path / "lanes.png")
