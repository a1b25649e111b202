"""MagnifierNet: layers and losses by hand, and a network that learns, is exported and served."""

import json
import math
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from reid_stream.embed.preprocess import prepare
from reid_stream.explain import Explainer
from trainer.config import ModelSettings, TrainSettings
from trainer.data.batch import TrainBatch
from trainer.errors import TrainerError
from trainer.evaluate.network import open_network
from trainer.export.bundle import MIN_COSINE, export
from trainer.model.magnifier import (
    REGIONS,
    AdversarialBranch,
    FusionBranch,
    GatedSequence,
    MagnifierBranch,
    SegmentationHead,
    one_hot,
    stripes,
)
from trainer.model.magnifier_losses import (
    MagnifierLosses,
    balanced_cross_entropy,
    drawn_regions,
    kept_of,
    resized,
    semantic_diversity,
)
from trainer.model.siamese import Siamese, build_branch, load_branch
from trainer.train.loop import train
from trainer.train.recipe import recipe

GOLDEN = Path(__file__).parents[2] / "golden" / "losses_magnifier.json"
TINY = ModelSettings(backbone="resnet50", descriptor="magnifier", width=0.125)
QUICK = (
    "data.sets=[synthetic:10]", "data.validation_ids=3", "data.height=64", "data.width=32", "model.width=0.125",
    "sampler.persons=4", "sampler.images=2", "run.precision=fp32", "run.threads=1", "run.accelerator=cpu",
    "run.log_every=5", "run.checkpoint_every=50", "run.validate_every=50", "optimiser.ema=0.9",
)  # fmt: skip


def batch(images: Tensor, persons: list[int], regions: Tensor | None = None, progress: float = 1.0) -> TrainBatch:
    return TrainBatch(
        images, torch.tensor(persons), torch.zeros(len(persons), dtype=torch.long), progress, None, regions
    )


def test_the_descriptor_is_2048_and_1024_and_1024() -> None:
    with torch.device("meta"):
        branch = MagnifierBranch(ModelSettings(backbone="resnet50", descriptor="magnifier"))
    assert branch.dim == 4096
    assert branch.backbone.num_features == 2048
    assert branch.adversarial is not None
    assert branch.adversarial.reduce.out_features == 1024
    without = MagnifierBranch(TINY.model_copy(update={"fusion": False, "adversarial": False}))
    assert without.dim == 256


def test_the_parts_of_the_vector_are_the_branches() -> None:
    branch = MagnifierBranch(TINY).eval()
    images = torch.randn(3, 3, 64, 32)
    features = branch.features(images)
    fine, last = branch.maps(images)
    assert fine.shape == (3, 128, 4, 2)
    assert last.shape == (3, 256, 4, 2)
    assert torch.allclose(features.before[:, :256], last.mean(dim=(2, 3)), atol=1e-6)
    assert branch.adversarial is not None
    expected = branch.adversarial.maps(fine).amax(dim=(2, 3)) @ branch.adversarial.reduce.weight.T
    assert torch.allclose(features.before[:, 256:384], expected, atol=1e-5)
    assert torch.allclose(branch(images), features.after)
    assert features.after.shape == (3, 512)


def test_one_image_alone_is_as_good_as_many() -> None:
    branch = MagnifierBranch(TINY.model_copy(update={"regions": "labels"})).eval()
    images = torch.randn(3, 3, 64, 32)
    assert torch.allclose(branch(images[:1]), branch(images)[:1], atol=1e-5)


def test_stripes_overlap_add_up_to_one_and_have_no_background() -> None:
    soft = stripes(28, 2)[0]
    assert soft.shape == (8, 28, 2)
    assert torch.allclose(soft.sum(dim=0), torch.ones(28, 2))
    assert not soft[0].any()
    assert soft[1, 0, 0] == 1
    assert soft[7, -1, 0] == 1
    middle = 4 * 1 + 1.5  # of the second stripe, rows 4 to 7, each row 1/4 of a stripe
    assert soft[2, int(middle), 0] == pytest.approx(1 - 0.5 / 4)
    assert ((soft > 0).sum(dim=0) <= 2).all()


def test_erasing_takes_two_regions_above_and_one_below() -> None:
    drawn = {drawn_regions() for _ in range(300)}
    assert len(drawn) == 6 * 3  # 2 of {1, 2, 3, 4}, 1 of {5, 6, 7}
    for regions in drawn:
        assert sum(region in (1, 2, 3, 4) for region in regions) == 2
        assert sum(region in (5, 6, 7) for region in regions) == 1
    labels = torch.tensor([[[0, 1], [2, 5]]])
    assert kept_of(one_hot(labels), (1, 2, 6)).tolist() == [[[[1, 0], [0, 1]]]]


def test_what_is_erased_is_not_seen_by_the_maximum() -> None:
    branch: nn.Module = AdversarialBranch(8)
    with torch.no_grad():
        branch.get_parameter("reduce.weight").copy_(torch.eye(8))
    maps = torch.zeros(1, 8, 2, 1)
    maps[0, 3, 0, 0], maps[0, 3, 1, 0] = 5.0, 2.0
    assert branch(maps)[0, 3] == 5
    assert branch(maps, torch.tensor([0.0, 1.0]).view(1, 1, 2, 1))[0, 3] == 2
    assert branch(maps, torch.tensor([0.5, 0.5]).view(1, 1, 2, 1))[0, 3] == 2.5  # soft stripes dim


def test_the_sequence_is_an_lstm() -> None:
    torch.manual_seed(0)
    ours, theirs = GatedSequence(6), nn.LSTM(6, 6, batch_first=True)
    own = ours.state_dict()
    names = {"weight_ih_l0": "input.weight", "weight_hh_l0": "hidden.weight", "bias_ih_l0": "input.bias",
             "bias_hh_l0": "hidden.bias"}  # fmt: skip
    theirs.load_state_dict({theirs_name: own[ours_name] for theirs_name, ours_name in names.items()})
    steps = torch.randn(4, 5, 6)
    assert torch.allclose(ours(steps, torch.ones(4, 5)), theirs(steps)[1][0][0], atol=1e-6)


def test_a_missing_step_leaves_the_sequence_as_it_was() -> None:
    cell, steps = GatedSequence(4), torch.randn(2, 3, 4)
    present = torch.tensor([[1.0, 0.0, 1.0], [1.0, 1.0, 1.0]])
    found = cell(steps, present)
    assert torch.allclose(found[0], cell(steps[:1, [0, 2]], torch.ones(1, 2))[0], atol=1e-6)
    assert torch.allclose(found[1], cell(steps[1:], torch.ones(1, 3))[0], atol=1e-6)


def test_one_step_of_the_sequence_by_hand() -> None:
    cell = GatedSequence(1)
    with torch.no_grad():
        cell.input.weight.copy_(torch.tensor([[1.0], [0.0], [2.0], [0.0]]))
        for parameter in (cell.input.bias, cell.hidden.weight, cell.hidden.bias):
            parameter.zero_()
    memory = 1 / (1 + math.exp(-1)) * math.tanh(2)
    assert cell(torch.ones(1, 1, 1), torch.ones(1, 1)).item() == pytest.approx(0.5 * math.tanh(memory))


def test_a_region_without_a_pixel_adds_nothing() -> None:
    branch = FusionBranch(8)
    maps = torch.rand(2, 8, 4, 2)
    labels = torch.ones(2, 4, 2, dtype=torch.long)
    labels[1, 2:] = 4
    fused, parts, present = branch(maps, one_hot(labels))
    assert present.tolist() == [[0, 1, 0, 0, 0, 0, 0, 0], [0, 1, 0, 0, 1, 0, 0, 0]]
    assert torch.allclose(parts[0, 1], maps[0].amax(dim=(1, 2)))
    assert torch.allclose(parts[1, 4], maps[1, :, 2:].amax(dim=(1, 2)))
    assert torch.allclose(fused[0], branch.lstm(parts[:1, 1:2], torch.ones(1, 1))[0], atol=1e-6)


def test_segmentation_is_at_twice_the_size_and_its_regions_are_served_on_the_maps() -> None:
    assert SegmentationHead(64)(torch.randn(2, 64, 4, 2)).shape == (2, REGIONS, 8, 4)
    branch = MagnifierBranch(TINY.model_copy(update={"regions": "parser"})).eval()
    logits = torch.zeros(1, REGIONS, 8, 4)
    logits[:, 3, :4], logits[:, 6, 4:] = 1.0, 1.0
    masks = branch.masks(torch.zeros(1, 128, 4, 2), logits)
    assert masks.argmax(dim=1).tolist() == [[[3, 3], [3, 3], [6, 6], [6, 6]]]
    assert (masks.sum(dim=1) == 1).all()


def test_labels_are_never_blended() -> None:
    labels = torch.tensor([[[0, 0, 7, 7], [0, 0, 7, 7]]])
    assert set(resized(labels, torch.Size([5, 9])).flatten().tolist()) == {0, 7}
    assert resized(labels, torch.Size([1, 2])).tolist() == [[[0, 7]]]


def test_each_class_counts_the_same_in_the_segmentation_loss() -> None:
    logits = torch.zeros(1, REGIONS, 1, 4)
    logits[0, 2, 0, 3] = 2.0
    labels = torch.tensor([[[0, 0, 0, 2]]])
    rare = math.log(math.exp(2) + 7) - 2
    assert balanced_cross_entropy(logits, labels).item() == pytest.approx((math.log(8) + rare) / 2)


def test_diversity_is_the_mean_cosine_of_pairs_of_regions() -> None:
    parts = torch.tensor([[[1.0, 0.0], [0.6, 0.8], [0.0, 2.0]], [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]])
    everywhere = torch.ones(2, 3)
    by_hand = ((0.6 + 0) / 2 + (0 + 1) / 2 + (0.8 + 0) / 2) / 3
    assert semantic_diversity(parts, everywhere).item() == pytest.approx(by_hand)
    without = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0]])  # the first image has no third region
    assert semantic_diversity(parts, without).item() == pytest.approx(((0.6 + 0) / 2 + 1 + 0) / 3)
    assert semantic_diversity(torch.tensor([[[1.0, 0.0], [-1.0, 0.0]]]), torch.ones(1, 2)).item() == 0
    assert semantic_diversity(parts, torch.zeros(2, 3)).item() == 0


def test_the_terms_are_those_of_the_paper() -> None:
    torch.manual_seed(0)
    model = Siamese(TINY.model_copy(update={"regions": "labels"}), (4,))
    images = torch.randn(8, 3, 64, 32)
    labels = torch.randint(0, 8, (8, 64, 32))
    own, persons = model.own, [0, 0, 1, 1, 2, 2, 3, 3]
    assert isinstance(own, MagnifierLosses)
    early = own(model(images), batch(images, persons, labels, progress=0.5))
    assert set(early) == {"global", "sab", "sfb", "parts", "segmentation"}
    late = own(model(images), batch(images, persons, labels, progress=0.95))
    assert set(late) == {*early, "diversity"}
    assert 0 < late["diversity"].item() <= 0.01
    torch.autograd.backward(torch.stack(list(late.values())).sum())
    silent = [name for name, parameter in model.branch.named_parameters()
              if parameter.requires_grad and parameter.grad is None]  # fmt: skip
    assert not silent


@pytest.mark.parametrize(
    ("adversarial", "fusion", "terms"),
    [
        (False, False, {"global"}),
        (True, False, {"global", "sab_stripes"}),
        (False, True, {"global", "sfb_stripes", "parts"}),
    ],
)
def test_each_branch_can_be_left_out(adversarial: bool, fusion: bool, terms: set[str]) -> None:
    model = Siamese(TINY.model_copy(update={"adversarial": adversarial, "fusion": fusion}), (2,))
    images = torch.randn(4, 3, 64, 32)
    assert model.own is not None
    assert set(model.own(model(images), batch(images, [0, 0, 1, 1], progress=0.5))) == terms
    assert model.branch.dim == 256 + 128 * (adversarial + fusion) == model.branch.eval()(images).shape[1]


def test_classifiers_that_know_nothing_give_the_losses_of_chance() -> None:
    model = Siamese(TINY, (4,)).train()
    own = model.own
    assert isinstance(own, MagnifierLosses)
    with torch.no_grad():
        for head in (own.whole, own.adversarial, own.fusion, *own.parts):
            assert isinstance(head, nn.Linear)
            head.weight.zero_()
    images = torch.randn(4, 3, 64, 32)
    persons = torch.tensor([0, 1, 2, 3])  # no person twice: no triplet
    terms = own(model(images), batch(images, persons.tolist()))
    assert set(terms) == {"global", "sab_stripes", "sfb_stripes", "parts", "diversity"}
    assert terms["global"].item() == pytest.approx(math.log(4))
    assert terms["sfb_stripes"].item() == pytest.approx(math.log(4))
    left = [1 - float(stripes(4, 2)[0, list(regions)].sum(dim=0).mean())
            for regions in ((1, 2, 5), (1, 2, 6), (3, 4, 7), (2, 3, 6), (1, 4, 5))]  # fmt: skip
    assert math.log(4) * 0.5 < terms["sab_stripes"].item() < math.log(4) / (1 + math.exp(-1))
    assert all(0.4 < share < 0.75 for share in left)
    sizes = torch.sigmoid(stripes(4, 2)[0, 1:].mean(dim=(1, 2)))  # of the seven that are there
    seen = (stripes(4, 2)[0, 1:].amax(dim=(1, 2)) > 0).float()
    assert terms["parts"].item() == pytest.approx(0.0125 * math.log(4) * float((sizes * seen).sum()))


def test_the_triplet_is_batch_hard_on_plain_distances() -> None:
    own = Siamese(TINY, (2,)).own
    assert isinstance(own, MagnifierLosses)
    vectors = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0], [4.0, 2.0]])
    # anchors: +1 -2, +1 -sqrt(5), +4 -2, +4 -sqrt(13); margin 0.3
    by_hand = (0 + 0 + 2.3 + (4 - math.sqrt(13) + 0.3)) / 4
    assert own.triplet(vectors, torch.tensor([0, 0, 1, 1])).item() == pytest.approx(by_hand, rel=1e-5)
    assert own.triplet(vectors[:2], torch.tensor([0, 0])).item() == 0  # no negative


def test_the_losses_own_no_weight_of_the_branch() -> None:
    model = Siamese(TINY, (3,))
    names = list(model.state_dict())
    assert not [name for name in names if name.startswith("own._branch")]
    assert len({id(parameter) for parameter in model.parameters()}) == len(list(model.parameters()))


def test_labels_must_be_there_where_regions_are_learnt() -> None:
    model = Siamese(TINY.model_copy(update={"regions": "pose"}), (2,))
    images = torch.randn(4, 3, 64, 32)
    assert model.own is not None
    with pytest.raises(TrainerError, match="needs labels of the images; see data.regions"):
        model.own(model(images), batch(images, [0, 0, 1, 1]))
    with pytest.raises(TrainerError, match="data.regions must name what model.regions reads"):
        recipe("magnifier", ("model.regions=pose",))
    with pytest.raises(TrainerError, match="belong to model.descriptor magnifier"):
        recipe("strong", ("data.regions=here", "model.regions=labels"))
    with pytest.raises(TrainerError, match="needs a network of stages, got densenet121"):
        build_branch(TINY.model_copy(update={"backbone": "densenet121"}))


def test_the_recipe_is_that_of_the_code() -> None:
    settings = recipe("magnifier")
    assert (settings.data.height, settings.data.width) == (384, 192)
    assert (settings.model.backbone, settings.model.last_stride) == ("resnet50", 1)
    assert (settings.model.segmentation_weight, settings.model.parts_weight) == (2.0, 0.0125)
    assert (settings.model.diversity_weight, settings.model.diversity_start) == (0.01, 0.93)
    assert (settings.sampler.persons, settings.sampler.images) == (16, 4)
    assert (settings.optimiser.lr, settings.optimiser.weight_decay) == (3.5e-4, 5e-4)
    assert settings.augment.erase == 0.5


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short run that learns its regions from label maps: the bands of the made-up people."""
    from trainer.data.synthetic import read_synthetic

    folder = tmp_path_factory.mktemp("magnifier")
    (folder / "maps").mkdir()
    for crop in read_synthetic(10):
        rows = np.repeat(np.arange(8, dtype=np.uint8), 8)
        cv2.imwrite(str(folder / "maps" / crop.name), np.tile(rows[:, None], (1, 32)))
    where = ("model.regions=labels", f"data.regions={folder / 'maps'}")
    train(recipe("magnifier", (*QUICK, *where, "optimiser.epochs=5"), 0.01), folder / "run")
    return folder / "run"


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_run_learns_its_regions(learnt: Path) -> None:
    lines = [json.loads(line) for line in (learnt / "losses.jsonl").read_text().splitlines()]
    assert lines[-1]["segmentation"] < 0.9 * lines[0]["segmentation"]
    loaded = load_branch(learnt)
    assert loaded.settings.model.regions == "labels"  # the checkpoint records which teacher it had
    assert loaded.dim == 512
    assert loaded.branch(torch.zeros(1, 3, 64, 32)).shape == (1, 512)


@pytest.mark.timeout(240)
def test_the_first_losses_are_the_golden_ones(tmp_path: Path) -> None:
    train(recipe("magnifier", (*QUICK, "optimiser.epochs=1", "run.seed=3"), 0.01), tmp_path)
    found = [json.loads(line)["loss"] for line in (tmp_path / "losses.jsonl").read_text().splitlines()]
    if os.environ.get("REID_STREAM_WRITE_GOLDEN"):
        GOLDEN.write_text(json.dumps(found, indent=1) + "\n")
    assert found == pytest.approx(json.loads(GOLDEN.read_text()), rel=0.02)  # other CPUs round differently


def test_settings_of_a_run_hold_the_regions() -> None:
    assert TrainSettings().model.regions == "stripes"


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_it_is_exported_served_explained_and_gone_on_from(learnt: Path, tmp_path: Path) -> None:
    bundle, agreement = export(learnt, tmp_path / "bundle", "f16")
    assert bundle.dim <= 512
    assert "descriptor magnifier over labels" in bundle.source
    assert agreement["cosine"] >= MIN_COSINE["f16"]
    images = np.random.default_rng(0).integers(0, 256, (3, 64, 32, 3)).astype(np.uint8)
    served = open_network(tmp_path / "bundle", "f32", 1).embed(images, False)
    trained = open_network(learnt, threads=1).embed(images, False)
    assert (served * trained).sum(axis=1).min() > MIN_COSINE["f16"]
    alone = open_network(tmp_path / "bundle", "f32", 1).embed(images[:1], False)
    assert (alone[0] * served[0]).sum() > 0.9999
    again = load_branch(tmp_path / "bundle")
    assert isinstance(again.branch, MagnifierBranch)
    assert again.settings.model.regions == "labels"
    assert again.settings.data.regions == Path("maps")  # not where it lies on this machine
    with torch.inference_mode():
        vectors = torch.nn.functional.normalize(again.branch(torch.from_numpy(prepare(list(images), again.spec))))
    assert (vectors.numpy() * trained).sum(axis=1).min() > MIN_COSINE["f16"]
    explainer = Explainer(tmp_path / "bundle", threads=1)
    assert len(explainer.attention.map_names) == 3  # the last map, and one of either other branch
    assert all(heat.max() == 1 for one in explainer(images[0], images[1]).alike for heat in one.heats)
