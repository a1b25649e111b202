"""Peers run in their own environment, found from any folder, and are scored by their boxes."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.accuracy.sets import FootageSet
from benchmarks.peers import compare
from reid_stream.errors import ConfigError
from reid_stream.evaluation.align import Boxes

TRUTH = "".join(
    f"{frame},{person},{100 * person + frame},50,40,100,1,1,1\n" for frame in range(1, 9) for person in (1, 2)
)


@pytest.fixture
def footage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FootageSet:
    monkeypatch.chdir(tmp_path)
    Path("truth.txt").write_text(TRUTH)
    return FootageSet("mot/made-up", {"cam": tmp_path / "clip.mp4"}, {"cam": tmp_path / "truth.txt"})


def python(script: str) -> Path:
    """Return a stand-in for the peers' interpreter, by a path that is not absolute."""
    file = Path("env/python")
    file.parent.mkdir()
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    return file


def test_a_peers_boxes_are_scored_beside_its_speed(footage: FootageSet, tmp_path: Path) -> None:
    lines = (
        f"""cp {tmp_path}/truth.txt "$(dirname "$2")/cam.txt"; echo '{{"name": "cam", "frames": 8, "seconds": 2.0}}'"""
    )
    peer = compare._peer("BoxMOT", "boxmot", footage, python(lines), tmp_path / "a.pt", tmp_path / "b.onnx")
    assert peer.frames_per_s == 4.0
    assert (peer.hota, peer.idf1) == pytest.approx((1.0, 1.0))
    assert (peer.people_hota, peer.people_idf1) == (peer.hota, peer.idf1)


def test_who_comes_back_is_judged_both_ways(tmp_path: Path) -> None:
    """Numbers 15 and 8 are one man: a program that gives him two IDs is right by the published truth alone."""
    pets = FootageSet("mot/PETS09-S2L1", {}, {})
    frames, corners = np.arange(1, 9), np.tile([10.0, 10.0, 50.0, 110.0], (8, 1))
    truth = {"cam": Boxes(frames, (15,) * 4 + (8,) * 4, corners)}
    first, again = (
        compare._judged("x", pets, 8, 1.0, truth, {"cam": Boxes(frames, people, corners)})
        for people in (("a",) * 4 + ("b",) * 4, ("a",) * 8)
    )
    assert (first.idf1, again.people_idf1) == pytest.approx((1.0, 1.0))
    assert (again.idf1, first.people_idf1) == pytest.approx((0.5, 0.5))


def test_a_peer_that_fails_gives_its_reason(footage: FootageSet, tmp_path: Path) -> None:
    fails = python("echo 'no module boxmot' >&2; exit 3")
    with pytest.raises(ConfigError, match=r"ended with 3:\nno module boxmot"):
        compare._peer("BoxMOT", "boxmot", footage, fails, tmp_path / "a.pt", tmp_path / "b.onnx")


def test_without_an_environment_the_error_has_the_command_that_makes_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="`make peers` makes it"):
        compare.run([], python=tmp_path / "python", weights=None, reid=None, progress=print)
