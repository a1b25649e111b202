"""The founding papers' numbers, and how a budget scales them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from trainer.config import AugmentSettings, ModelSettings, OptimiserSettings, load
from trainer.data.augment import erase, erase_area_at
from trainer.data.crops import Images
from trainer.data.pair_sampler import PairSampler
from trainer.errors import DataError, TrainerError
from trainer.model.backbones import Backbone
from trainer.model.siamese import Siamese
from trainer.train.ablation import ablate, variants
from trainer.train.loop import in_steps
from trainer.train.optimiser import build_optimiser, learning_rate, rate_at
from trainer.train.recipe import FOLDER, names, parse_budget, recipe, run_length

MARKET_TRAIN = 12936


def people(persons: int, cameras: int = 2, shots: int = 3) -> Images:
    table = np.array([(p, c) for p in range(persons) for c in range(cameras) for _ in range(shots)], dtype=np.int64)
    return Images(
        np.zeros((len(table), 1, 1, 3), np.uint8), table[:, 0], table[:, 1], np.zeros(len(table), np.int64),
        ("",) * len(table), tuple(map(str, range(persons))), tuple(map(str, range(cameras))), ("made up",),
    )  # fmt: skip


def test_the_paper_s_learning_rate_is_the_paper_s() -> None:
    plan = recipe("paper").optimiser
    assert (plan.kind, plan.epochs) == ("sgd", 256)

    def at(epoch: float) -> float:
        return learning_rate(plan, epoch / 256)

    # Section 3.2: 0.05, divided by 10 every 40 epochs; the warm-up grows from a tenth over the first five.
    assert [at(epoch) for epoch in (5, 39.9, 40, 79, 80, 120, 160, 200, 240, 255)] == pytest.approx(
        [0.05, 0.05, 5e-3, 5e-3, 5e-4, 5e-5, 5e-6, 5e-7, 5e-8, 5e-8]
    )
    assert [at(epoch) for epoch in (0, 2.5)] == pytest.approx([0.005, 0.0275])
    literal = plan.model_copy(update={"warmup_kind": "constant"})
    assert [learning_rate(literal, epoch / 256) for epoch in (0, 4.9, 5)] == pytest.approx([0.005, 0.005, 0.05])


def test_the_paper_sees_every_image_256_times_as_the_first_of_a_pair() -> None:
    settings = recipe("paper")
    assert in_steps(settings, MARKET_TRAIN).steps == 256 * MARKET_TRAIN / 32 == 103_488
    assert settings.batch_size == 64
    assert (settings.loss.identification, settings.loss.verification) == (0.5, 1.0)


@pytest.mark.parametrize(
    ("backbone", "million", "features"),
    [("res2net50_26w_4s", 23.65, 2048), ("resnet50", 23.51, 2048), ("densenet121", 6.95, 1024)],
)
def test_backbones_have_the_parameters_of_timm(backbone: str, million: float, features: int) -> None:
    with torch.device("meta"):
        net = Backbone(ModelSettings.model_validate({"backbone": backbone}))
    assert sum(p.numel() for p in net.parameters()) == pytest.approx(million * 1e6, rel=0.002)
    assert net.num_features == features


@pytest.mark.parametrize("backbone", ["resnet50", "densenet121", "res2net50_14w_8s"])
@pytest.mark.parametrize(("stride", "size"), [(1, (4, 2)), (2, (2, 1))])
def test_every_backbone_can_keep_its_last_stride(backbone: str, stride: int, size: tuple[int, int]) -> None:
    settings = ModelSettings.model_validate({"backbone": backbone, "width": 0.125, "last_stride": stride})
    assert Backbone(settings).eval()(torch.zeros(1, 3, 64, 32)).shape[2:] == size


def test_the_paper_s_network_has_4096_numbers_and_its_heads_the_paper_s_size() -> None:
    with torch.device("meta"):
        siamese = Siamese(recipe("paper").model, (751,))
    assert siamese.branch.dim == 4096
    assert sum(p.numel() for p in siamese.heads.parameters()) == 3_076_847
    assert sum(p.numel() for p in siamese.verifier.parameters()) == 8_194


def test_the_backbone_may_learn_at_a_rate_of_its_own() -> None:
    model = Siamese(ModelSettings(layers=(1, 1, 1, 1), width=0.125, dim=8), (3,))
    groups = build_optimiser(model, OptimiserSettings(kind="sgd", backbone_lr=0.1)).param_groups
    slow = {id(p) for group in groups if group["factor"] == 0.1 for p in group["params"]}
    assert slow == {id(p) for p in model.branch.backbone.parameters() if p.requires_grad}
    every = [p for group in groups for p in group["params"]]
    assert len(every) == len([p for p in model.parameters() if p.requires_grad])


def test_pairs_are_half_of_one_person_across_cameras_and_every_image_is_first_once_an_epoch() -> None:
    images = people(8)
    sampler = PairSampler(images, pairs=16, negatives=(1, 1), seed=3)
    batches = [sampler.batch(step) for step in range(3)]  # 48 images: an epoch
    assert sorted(np.concatenate([rows[:16] for rows in batches]).tolist()) == list(range(48))
    for rows in batches:
        first, second = rows[:16], rows[16:]
        same = images.persons[first] == images.persons[second]
        assert same.sum() == 8
        assert (images.cameras[first][same] != images.cameras[second][same]).all()
    assert np.array_equal(batches[1], PairSampler(images, 16, (1, 1), 3).batch(1))
    growing = PairSampler(images, pairs=20, negatives=(1, 4), seed=3)
    for progress, expected in ((0.0, 10), (1.0, 4)):
        rows = growing.batch(0, progress)
        assert (images.persons[rows[:20]] == images.persons[rows[20:]]).sum() == expected


def test_pairs_need_two_persons_and_as_many_images() -> None:
    with pytest.raises(DataError, match="at least 2 persons, got 1"):
        PairSampler(people(1), 2, (1, 1), 0)
    with pytest.raises(DataError, match=r"sampler.pairs must be at most the 12 images of the data, got 32"):
        PairSampler(people(2), 32, (1, 1), 0)


def test_erasing_is_the_paper_s_share_and_area_filled_with_noise() -> None:
    plan = recipe("paper").augment
    assert (plan.erase, plan.erase_area, plan.erase_fill) == (0.4, (0.02, 0.4), "noise")
    images = torch.full((400, 3, 64, 32), 0.5)
    found = erase(images, plan.erase, plan.erase_area, torch.Generator().manual_seed(1), noise=True)
    touched = (found != 0.5).any(dim=1)  # (b, h, w)
    share = touched.flatten(1).float().mean(dim=1)
    assert (share > 0).float().mean().item() == pytest.approx(0.4, abs=0.08)
    assert share[share > 0].min() > 0.015
    assert share.max() < 0.42
    inside = found[0 if share[0] > 0 else int(torch.nonzero(share)[0])]
    assert len(set(inside.flatten().tolist())) > 20  # noise, not one colour


def test_cut_out_grows_along_the_curriculum() -> None:
    plan = recipe("done_right").augment
    assert [erase_area_at(plan, share)[1] for share in (0.0, 0.5, 1.0)] == pytest.approx([0.1, 0.25, 0.4])
    assert erase_area_at(AugmentSettings(erase_area=(0.02, 0.3)), 0.0) == (0.02, 0.3)


def test_done_right_identifies_first_and_halves_its_rate_every_512_of_4096_changes() -> None:
    settings = recipe("done_right")
    assert (settings.ranking.pool, settings.ranking.every, settings.ranking.margin) == (5000, 16, 0.1)
    assert (settings.model.pool, settings.model.dim, settings.data.undistorted) == ("max", 2048, True)
    steps = settings.optimiser.steps
    rates = [rate_at(settings, (4096 + change) / steps) for change in (0, 511, 512, 1024, 4095)]
    assert rates == pytest.approx([1e-3, 1e-3, 5e-4, 2.5e-4, 1e-3 / 2**7])


def test_a_budget_scales_length_pool_and_resolution_and_reports_it() -> None:
    small = recipe("paper", budget=0.01)
    assert (small.optimiser.epochs, small.data.height, small.data.width) == (2.56, 128, 64)
    assert learning_rate(small.optimiser, 40 / 256) == pytest.approx(5e-3)  # the same shape, faster
    assert run_length(small) == "paper at budget 0.01: 2.56 of 256 epochs, 128x64 px"
    ranked = recipe("done_right", ("optimiser.steps=30",), budget=0.1)
    assert (ranked.ranking.pool, ranked.optimiser.steps, ranked.data.height) == (500, 30, 208)
    assert recipe("done_right", budget=0.0001).data.height == 104
    assert recipe("strong", budget=0.5).data.height == 256


def test_unknown_recipes_and_budgets_are_refused() -> None:
    with pytest.raises(TrainerError, match=r"--recipe must be one of distilled.*paper.*or site, got 'papre'"):
        recipe("papre")
    for budget in (0.0, 1.5, -1.0):
        with pytest.raises(TrainerError, match="--budget must be above 0 and at most 1"):
            recipe("paper", budget=budget)


@pytest.mark.parametrize("name", names())
def test_every_recipe_is_valid_at_every_budget(name: str) -> None:
    assert load(FOLDER / f"{name}.yaml") == recipe(name, ("run.recipe=null",))
    for budget in (0.3, 0.001, 0.00001):
        assert recipe(name, budget=budget).run.budget == budget


def test_losses_over_a_whole_batch_are_refused_where_images_pass_one_after_another() -> None:
    with pytest.raises(TrainerError, match=r"data.undistorted and ranking.start below 1 need loss.verification 0"):
        recipe("done_right", ("loss.verification=1",))
    with pytest.raises(TrainerError, match=r"optimiser.schedule epochs needs optimiser.epochs"):
        recipe("strong", ("optimiser.schedule=epochs",))


def test_instance_norm_needs_blocks() -> None:
    with pytest.raises(TrainerError, match=r"model.instance_norm must be false for densenet121"):
        Backbone(ModelSettings(backbone="densenet121", instance_norm=True, width=0.125))
    net = Backbone(ModelSettings(backbone="resnet50", instance_norm=True, width=0.125))
    assert any(isinstance(module, nn.InstanceNorm2d) for module in net.modules())


def test_recipes_lie_in_the_package() -> None:
    assert {"paper", "done_right", "strong"} <= set(names())
    assert (FOLDER / "site.yaml").is_file()
    assert Path(FOLDER).parent.name == "train"


@pytest.mark.parametrize("text", ["0", "1.5", "-1", "20x", "m", "", "1e400", "nan", "0m"])
def test_a_budget_is_a_share_or_a_time(text: str) -> None:
    with pytest.raises(TrainerError, match=r"must be a share in \(0, 1\] or a time such as 90s, 20m or 2h"):
        parse_budget(text)


@pytest.mark.parametrize("table", ["distillation", "regions"])
def test_every_row_of_a_table_changes_the_recipe_alone(table: str) -> None:
    common = {
        "distillation": ("distill.teachers=[{path: a.xml}]", "distill.unlabelled=[crops]"),
        "regions": ("data.regions=pose.tflite",),
    }[table]
    rows = [recipe(row.recipe, (*common, *row.changes)) for row in variants(table)]
    assert len({row.model_dump_json() for row in rows}) == len(rows)
    assert rows[0] == recipe(variants(table)[0].recipe, (*common, *variants(table)[0].changes))


@pytest.mark.parametrize(("table", "needed"), [("distillation", "distill.teachers"), ("regions", "data.regions")])
def test_a_table_that_needs_a_network_says_so(table: str, needed: str, tmp_path: Path) -> None:
    with pytest.raises(TrainerError, match=needed):
        ablate(variants(table), tmp_path, None, 1.0, (1,), ("optimiser.steps=1",), print)
    assert not any(tmp_path.iterdir())


def test_the_shipped_leg_is_the_recipe_with_more_blocks_and_a_time() -> None:
    kept = load(Path(__file__).parents[3] / "configs" / "train-distilled.yaml")
    changes = ("model.layers=[3, 4, 6, 3]", "optimiser.lr=7.0e-4", "optimiser.warmup=0.03", "run.validate_every=600")
    assert kept == recipe("distilled", (*changes, "optimiser.budget_minutes=328"))
