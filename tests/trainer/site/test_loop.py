"""A network learns from a site's store, and is exported only if it is better on held-out people."""

import dataclasses
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from reid_stream import store
from reid_stream.bundles.bundle import load_embedder
from reid_stream.records import CameraId, GlobalId, TrackId
from reid_stream.store import StoredTrack
from tests.trainer.checkpoints import small_settings, write_checkpoint
from trainer.data.sets import read
from trainer.data.synthetic import read_synthetic
from trainer.errors import CheckpointError, DataError, TrainerError
from trainer.model.siamese import Siamese, load_branch
from trainer.site import loop
from trainer.site import state as states
from trainer.site.bundle import export_calibrated
from trainer.site.data import read_labelled, read_labels, read_site
from trainer.site.gate import Gate, figures, hold_out, read_judged
from trainer.site.loop import fit_site, read_reviewed, recipe_settings

PEOPLE = 14


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network that knows nothing, as `fit` would have kept it."""
    torch.manual_seed(0)
    settings = small_settings(width=0.125)
    return write_checkpoint(tmp_path_factory.mktemp("run") / "best.pt", settings, Siamese(settings.model, (5,)))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store in which every synthetic person has one track a camera, named as the daemon would."""
    folder = tmp_path_factory.mktemp("site") / "store"
    seen: dict[tuple[str, str], list[bytes]] = {}
    for crop in read_synthetic(PEOPLE):
        seen.setdefault((crop.person, crop.camera), []).append(crop.data)
    for number, ((person, camera), crops) in enumerate(sorted(seen.items()), 1):
        track = StoredTrack(
            camera=CameraId(f"cam{camera}"), run="r", track=TrackId(number),
            times=[1000.0 * number + second for second in range(len(crops))], boxes=[(0, 0, 32, 64)] * len(crops),
            qualities=[0.9] * len(crops), clock="rtcp", global_id=GlobalId(f"site-{person}"), bundle="b",
        )  # fmt: skip
        store.write(folder, track, crops, None)
    return folder


def reviewed(folder: Path, count: int) -> frozenset[str]:
    names = sorted({str(store.read(place)[0].global_id) for place in store.tracks(folder)})
    return frozenset(names[:count])


SHORT = ("optimiser.steps=3", "run.validate_every=3", "run.checkpoint_every=3", "sampler.persons=2", "run.threads=1")


@pytest.mark.timeout(240)
def test_a_round_learns_clusters_and_keeps_held_out_people_out(base: Path, site: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    outcome = fit_site(
        recipe_settings(base, SHORT), site, base, tmp_path / "run", reviewed(site, 8), rounds=1, log=lines.append
    )
    labels = read_labels(tmp_path / "run" / "round-1.labels.json")
    people = set(labels.tracks.values())
    assert len(labels.held_out) == 4  # half of the reviewed ones
    assert set(labels.held_out) < people
    crops = list(read_labelled(tmp_path / "run" / "round-1.labels.json"))
    assert {crop.person for crop in crops} == people
    assert outcome.gate.truth == "reviewed"
    assert outcome.gate.people == 4
    assert outcome.reviewed == 8
    assert Path(outcome.best) == (tmp_path / "run" / "round-1" / "last.pt" if outcome.gate.is_open else base)
    assert (outcome.bundle is not None) == outcome.gate.is_open == (tmp_path / "run" / "bundle").exists()
    load_branch(Path(outcome.best))
    kept = json.loads((tmp_path / "run" / "site.json").read_text())
    assert kept["gate"] == msgspec.to_builtins(outcome.gate)
    assert any("on held-out people" in line for line in lines)
    with pytest.raises(TrainerError, match="new folder"):
        fit_site(recipe_settings(base, SHORT), site, base, tmp_path / "run")


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_killed_run_resumes_in_its_round_with_its_own_tracks_and_people(
    base: Path, site: Path, tmp_path: Path
) -> None:
    own = tmp_path / "store"
    shutil.copytree(site, own)
    changes = ("optimiser.steps=40", "run.validate_every=40", "run.checkpoint_every=2", "sampler.persons=2",
               "run.threads=1")  # fmt: skip
    options = [f"--set={change}" for change in changes]
    command = [sys.executable, "-m", "trainer", "fit", "--recipe", "site", "--store", str(own), "--bundle", str(base),
               "--out", str(tmp_path / "run"), "--rounds", "2", *options]  # fmt: skip
    (tmp_path / "ids.txt").write_text("\n".join(reviewed(site, 8)))
    command += ["--reviewed", str(tmp_path / "ids.txt")]
    with subprocess.Popen(command, cwd=Path(__file__).parents[3], stdout=subprocess.DEVNULL) as process:
        until = time.monotonic() + 150
        last = tmp_path / "run" / "round-1" / "last.pt"
        while not last.exists() and process.poll() is None and time.monotonic() < until:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    assert last.exists()
    state, labels = states.load(tmp_path / "run"), (tmp_path / "run" / "round-1.labels.json").read_bytes()
    assert (len(state.done), state.pending is not None) == (0, True)
    with pytest.raises(TrainerError, match="new folder or --resume be given"):
        fit_site(recipe_settings(base, changes), own, base, tmp_path / "run", reviewed(site, 8), rounds=2)
    with pytest.raises(CheckpointError, match="changed: --reviewed, --rounds 2 -> 1"):
        fit_site(recipe_settings(base, changes), own, base, tmp_path / "run", rounds=1, resume=True)
    shutil.copytree(next(iter(store.tracks(own))), own / "cam1" / "20990101" / "r-999")  # the daemon writes meanwhile
    lines: list[str] = []
    outcome = fit_site(
        recipe_settings(base, changes), own, base, tmp_path / "run", reviewed(site, 8), rounds=2, log=lines.append,
        resume=True,
    )  # fmt: skip
    assert len(outcome.rounds) == 2
    assert (tmp_path / "run" / "round-1.labels.json").read_bytes() == labels
    assert states.load(tmp_path / "run").held == state.held
    assert not any("r-999" in name for name in read_labels(tmp_path / "run" / "round-2.labels.json").tracks)
    steps = [
        json.loads(line)["step"]
        for line in (tmp_path / "run" / "round-1" / "losses.jsonl").read_text().split("\n")[:-1]
    ]
    assert steps == list(range(1, 41))


def test_the_time_before_the_first_round_counts_against_the_budget_of_a_resumed_run(
    base: Path, site: Path, tmp_path: Path
) -> None:
    people = reviewed(site, 8)
    with pytest.raises(TrainerError, match="at least sampler.persons"):
        fit_site(recipe_settings(base, (*SHORT, "sampler.persons=500")), site, base, tmp_path / "run", people)
    assert states.load(tmp_path / "run").seconds > 0


def test_a_short_budget_takes_the_latest_tracks_and_those_of_reviewed_people(
    base: Path, site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "LEAST_TRACKS", 30)
    people, lines = reviewed(site, 8), list[str]()
    short = recipe_settings(base, (*SHORT, "sampler.persons=500"))
    with pytest.raises(TrainerError, match="at least sampler.persons"):
        fit_site(short, site, base, tmp_path / "run", people, log=lines.append, minutes=1e-6)
    every, taken = read_site(site), set(states.load(tmp_path / "run").tracks)
    assert f"the time budget is enough for the latest 30 of {len(every.names)} tracks" in lines
    known = {name for name, track in zip(every.names, every.tracks, strict=True) if str(track.global_id) in people}
    assert len(taken) == 30
    assert len(known & taken) == min(30, len(known))


def test_a_run_whose_tracks_the_store_has_lost_cannot_resume(base: Path, site: Path, tmp_path: Path) -> None:
    own = tmp_path / "store"
    shutil.copytree(site, own)
    names = [str(place.relative_to(own)) for place in store.tracks(own)]
    shutil.rmtree(own / names[3])
    with pytest.raises(DataError, match=f"1 are no longer in .*{names[3]}"):
        read_site(own, names=names)
    with pytest.raises(CheckpointError, match="--resume needs a site's run"):
        fit_site(recipe_settings(base, SHORT), site, base, tmp_path / "run", resume=True)


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_time_budget_ends_rounds_early_and_still_compares(base: Path, site: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    long = ("optimiser.steps=100000", "run.validate_every=100000", "run.checkpoint_every=100000", "sampler.persons=2",
            "run.threads=1")  # fmt: skip
    started = time.monotonic()
    outcome = fit_site(
        recipe_settings(base, long), site, base, tmp_path / "run", reviewed(site, 8), rounds=2, log=lines.append,
        minutes=0.1,
    )  # fmt: skip
    assert time.monotonic() - started < 100
    assert 1 <= len(outcome.rounds) <= 2
    assert any("on held-out people" in line for line in lines)


@pytest.mark.parametrize(
    ("before", "after", "is_open"),
    [((0.5, 0.3), (0.6, 0.3), True), ((0.5, 0.3), (0.6, 0.2), False), ((0.5, 0.3), (0.5, 0.4), False)],
)
def test_the_gate_opens_for_better_ranking_that_knows_strangers_as_well(
    before: tuple[float, float], after: tuple[float, float], is_open: bool
) -> None:
    named = [dict(zip(("mAP", "TPR@FPR0.001"), values, strict=True)) for values in (before, after)]
    assert Gate("reviewed", 4, 0, 20, named[0], named[1]).is_open == is_open


def test_held_out_people_are_judged_among_strangers(base: Path, site: Path) -> None:
    loaded, tracks = load_branch(base), read_site(site)
    held = hold_out(tracks, loaded, reviewed(site, 6), seed=0)
    strangers = [row for row in range(len(tracks.names)) if row not in held.labels and row not in held.rows][:6]
    judged = read_judged(tracks, dataclasses.replace(held, strangers=strangers), loaded)
    images = judged.images
    assert judged.known.sum() == len(held.people) == 3
    assert len(images.person_names) == 3 + len(strangers)
    right = np.eye(len(images.person_names), loaded.dim, dtype=np.float32)[images.persons]
    found = figures(loaded, right, judged)
    assert found == {"Rank-1": 1, "mAP": 1, "TPR@FPR0.001": 1}
    wrong = right.copy()
    wrong[images.cameras == 0] = np.roll(wrong[images.cameras == 0], 2, axis=1)  # all labels are wrong there
    assert figures(loaded, wrong, judged)["mAP"] < 0.7


def test_the_bundle_of_a_site_is_calibrated_on_its_held_out_people(base: Path, site: Path, tmp_path: Path) -> None:
    loaded, tracks = load_branch(base), read_site(site)
    held = hold_out(tracks, loaded, reviewed(site, 8), seed=0)
    lines: list[str] = []
    made = load_embedder(
        export_calibrated(base, tmp_path / "made", read_judged(tracks, held, loaded), held.truth, 1, lines.append)
    )
    assert made.calibration is not None
    assert made.calibration.kind == "platt"
    assert "held-out people (reviewed)" in made.calibration.fitted_on
    assert lines


def test_reviewed_people_that_the_store_does_not_know_are_named(base: Path, site: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="site-unknown are not in"):
        fit_site(recipe_settings(base, SHORT), site, base, tmp_path / "run", frozenset({"site-unknown"}))


def test_too_few_people_for_a_gate_are_reported(base: Path, site: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="at least 2 people"):
        fit_site(recipe_settings(base, SHORT), site, base, tmp_path / "run", reviewed(site, 2))


def test_the_latest_tracks_are_used_where_there_are_many(site: Path) -> None:
    every, some = read_site(site), read_site(site, 5)
    assert len(some.names) == 5
    assert some.spans[:, 1].min() > np.sort(every.spans[:, 1])[-6]
    assert list(some.names) == sorted(some.names)


def test_a_store_without_tracks_is_reported(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds none"):
        read_site(tmp_path)


@pytest.mark.parametrize(("content", "message"), [(None, "readable text file"), ("\n \n", "names none")])
def test_a_list_of_reviewed_people_must_name_some(content: str | None, message: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "ids.txt").write_text(content)
    with pytest.raises(DataError, match=message):
        read_reviewed(tmp_path / "ids.txt")


def test_a_labels_file_must_fit_its_store(site: Path, tmp_path: Path) -> None:
    path = tmp_path / "labels.json"
    path.write_text(json.dumps({"store": str(site), "tracks": {"nowhere/1/r-1": "anna"}, "held_out": []}))
    with pytest.raises(DataError, match="nowhere/1/r-1 is not in"):
        list(read(f"labelled:{path}"))
    path.write_text("{}")
    with pytest.raises(DataError, match="must hold store, tracks and held_out"):
        list(read(f"labelled:{path}"))
