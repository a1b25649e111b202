"""Measurements of the matcher: every figure is there, and the gallery has the requested size."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from benchmarks.__main__ import app
from benchmarks.simulator.looks import drawn
from benchmarks.speed.matcher import measure_one
from reid_stream.bundles import catalog


@pytest.mark.slow
def test_a_full_gallery_stays_full_and_is_timed_against_its_product() -> None:
    row = measure_one(catalog.embedder("default")[1], 200, 2, 25)
    assert (row.identities, row.exemplars, row.updates) == (200, 2, 25)
    assert 0 < row.p50_ms <= row.p95_ms <= row.p99_ms <= row.worst_ms
    assert row.share_of_matmul == pytest.approx(row.matmul_ms / row.p50_ms)
    assert row.floor_bytes_per_identity == 2 * 2 * row.dim


@pytest.mark.slow
def test_a_day_is_reported_hour_by_hour(tmp_path: Path) -> None:
    kept, drawing = tmp_path / "day.json", tmp_path / "day.png"
    options = ["--cameras", "3", "--hours", "2", "--people-per-hour", "12", "--retention-s", "1200"]
    done = CliRunner().invoke(app, ["speed", "day", *options, "--json", str(kept), "--plot", str(drawing)])
    assert done.exit_code == 0, done.output
    found = json.loads(kept.read_text())
    assert [one["hour"] for one in found["hours"]] == [1, 2]
    assert sum(one["updates"] for one in found["hours"]) > 50
    assert all(one["known"] < 24 for one in found["hours"])  # retention has let people go
    assert drawing.read_bytes().startswith(b"\x89PNG")


def test_people_made_up_from_nothing_are_as_alike_as_real_ones() -> None:
    people = drawn(200, 6, 4, 512, np.random.default_rng(1), "bundle")
    vectors = people.vectors.astype(np.float32).reshape(200, 24, 512)
    cosines = np.einsum("pad,qbd->paqb", vectors[:60, ::6], vectors[:60, ::6])
    same = np.eye(60, dtype=bool)[:, None, :, None].repeat(4, 1).repeat(4, 3)
    assert np.median(cosines[~same]) == pytest.approx(0.02, abs=0.03)
    assert np.quantile(cosines[~same], 0.99) == pytest.approx(0.38, abs=0.06)
    within = vectors @ vectors.transpose(0, 2, 1)
    assert np.median(within[:, *np.triu_indices(24, 1)]) == pytest.approx(0.52, abs=0.05)
