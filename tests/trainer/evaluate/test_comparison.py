"""Runs are measured as the daemon would serve them, grouped over seeds, and never twice."""

import json
from pathlib import Path

import pytest

from trainer.errors import DataError, TrainerError
from trainer.evaluate import comparison, plots
from trainer.evaluate.comparison import RunMeasurement, compare, table
from trainer.train.ablation import TABLES, ablate, variants
from trainer.train.recipe import recipe

SMALL = (
    "data.sets=['synthetic:12']", "data.validation_ids=4", "data.height=32", "data.width=16", "model.backbone=res2net",
    "model.layers=[1, 1, 1, 1]", "model.width=0.125", "model.dim=16", "sampler.persons=4", "sampler.images=2",
    "sampler.pairs=4", "optimiser.epochs=null", "optimiser.nominal_epochs=256", "optimiser.steps=3",
    "ranking.triplets=2", "ranking.pool=60", "run.precision=fp32", "run.accelerator=cpu", "run.threads=1",
)  # fmt: skip


def measured(name: str, mean_ap: float) -> RunMeasurement:
    figures = dict.fromkeys(comparison.FIGURES, 0.5) | {"mAP": mean_ap}
    row = name.rpartition("-s")[0]
    return RunMeasurement(name, row, "paper at budget 0.1", 640, 2.0, 1.5, 3.25, "hash", {"market1501": figures})


def test_seeds_of_a_row_are_averaged_with_their_spread() -> None:
    text = table([measured("paper-s1", 0.2), measured("paper-s2", 0.26), measured("strong-s1", 0.4)], ["market1501"])
    assert "| paper | 2 | 0.500 ± 0.000 | 0.230 ± 0.030 |" in text
    assert "| strong | 1 | 0.500 | 0.400 |" in text
    assert "Trained: paper at budget 0.1." in text


def test_a_paper_s_own_figures_stand_beside_ours() -> None:
    text = table([measured("erase-0.4-s1", 0.2)], ["market1501"], {"erase-0.4": (0.9047, 0.7613)})
    assert text.splitlines()[2].endswith("| 0.9047 / 0.7613 |")


def test_the_paper_s_tables_are_complete() -> None:
    erasing = TABLES["erasing"]
    assert [variant.published for variant in erasing if variant.name in ("erase-0.0", "erase-0.5", "erase-1.0")] == [
        (0.8824, 0.7114), (0.9002, 0.7639), (0.8919, 0.7414),
    ]  # fmt: skip
    assert [recipe(v.recipe, v.changes).augment.erase for v in erasing] == pytest.approx([n / 10 for n in range(11)])
    assert [recipe(v.recipe, v.changes).model.backbone for v in TABLES["backbones"]] == [
        "resnet50", "res2net50_26w_4s", "densenet121", "res2net101_26w_4s",
    ]  # fmt: skip
    for variant in TABLES["recipes"]:
        changed = recipe(variant.recipe, variant.changes)
        assert not variant.changes or changed != recipe(variant.recipe)


def test_unknown_tables_and_rows_are_refused() -> None:
    with pytest.raises(
        TrainerError, match="--table must be one of erasing, backbones, recipes, regions, distillation, got 'erosion'"
    ):
        variants("erosion")
    with pytest.raises(TrainerError, match=r"--only must name rows of backbones: resnet50, .*; got resnet51"):
        variants("backbones", ("resnet51",))


@pytest.mark.timeout(240)
def test_rows_are_trained_once_measured_once_and_drawn(tmp_path: Path) -> None:
    rows, lines = variants("recipes", ("paper", "done_right")), list[str]()
    runs = ablate(rows, tmp_path, None, 0.001, (1,), SMALL, lines.append)
    assert [run.name for run in runs] == ["paper-s1", "done_right-s1"]
    again = list[str]()
    assert ablate(rows, tmp_path, None, 0.001, (1,), SMALL, again.append) == runs
    assert all("has ended, skipped" in line for line in again)
    people = tmp_path / "people"
    _write_people(people)
    found = compare(runs, [f"folder:{people}"], None, "f32", lines.append)
    assert [run.row for run in found] == ["paper", "done_right"]
    assert all(0 <= run.figures[f"folder:{people}"]["mAP"] <= 1 for run in found)
    assert all(run.images == 3 * 8 for run in found)
    assert found[0].budget == "paper at budget 0.001: 3 steps, 32x16 px"
    assert (runs[0] / "bundle" / "bundle.json").is_file()
    silent = list[str]()
    assert compare(runs, [f"folder:{people}"], None, "f32", silent.append) == found
    assert silent == []
    plots.comparison(found, [f"folder:{people}"], tmp_path / "comparison.png")
    assert (tmp_path / "comparison.png").stat().st_size > 1000


def test_a_run_that_has_not_ended_and_a_set_it_learned_from_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainerError, match=r"compare needs runs of .* that have ended, .* lacks report.json"):
        compare([tmp_path], ["market1501"], None, "f32")
    runs = ablate(variants("recipes", ("paper",)), tmp_path, None, 0.001, (1,), SMALL, lambda _: None)
    report = json.loads((runs[0] / "report.json").read_text())
    assert report["settings"]["run"]["recipe"] == "paper"
    with pytest.raises(DataError, match="learned from synthetic"):
        compare(runs, ["synthetic"], None, "f32")


def test_schedules_are_drawn(tmp_path: Path) -> None:
    for name in ("paper", "done_right", "strong"):
        plots.schedule(recipe(name), tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").stat().st_size > 1000


def _write_people(folder: Path) -> None:
    from trainer.data.sets import read

    folder.mkdir()
    for crop in read("synthetic:6"):
        (folder / crop.name).write_bytes(crop.data)
