"""An export agrees with its checkpoint, or is refused."""

from pathlib import Path
from typing import cast

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from reid_stream.bundles.bundle import load_embedder
from reid_stream.bundles.bundle import save as save_bundle
from tests.trainer.checkpoints import small_settings, write_checkpoint
from trainer.errors import CheckpointError, TrainerError
from trainer.evaluate.network import open_network
from trainer.evaluate.ranked_lists import GREEN, RED, ranking, sheet
from trainer.evaluate.retrieval import RetrievalLabels
from trainer.export.bundle import MIN_COSINE, Precision, check_agreement, compress, export, to_onnx
from trainer.model.siamese import Siamese, load_branch


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network with random weights, as `fit` would have kept it."""
    torch.manual_seed(0)
    settings = small_settings()
    siamese = Siamese(settings.model, (5,))
    return write_checkpoint(tmp_path_factory.mktemp("run") / "best.pt", settings, siamese, domains=["market1501"])


@pytest.mark.parametrize("precision", ["f32", "f16", "int8-weights"])
def test_a_bundle_gives_the_checkpoints_vectors(checkpoint: Path, tmp_path: Path, precision: Precision) -> None:
    bundle, agreement = export(checkpoint, tmp_path / "small", precision)
    assert load_embedder(tmp_path / "small") == bundle
    assert agreement["cosine"] >= MIN_COSINE[precision]
    images = np.random.default_rng(0).integers(0, 256, (5, 64, 32, 3)).astype(np.uint8)
    served = open_network(tmp_path / "small", "f32").embed(images, False)
    trained = open_network(checkpoint).embed(images, False)
    assert (served * trained).sum(axis=1).min() > 0.99
    assert "Research only" in (tmp_path / "small" / "MODEL_CARD.md").read_text()


def test_int8_weights_are_the_same_at_every_start(checkpoint: Path, tmp_path: Path) -> None:
    export(checkpoint, tmp_path / "small", "int8-weights")
    images = np.random.default_rng(0).integers(0, 256, (5, 64, 32, 3)).astype(np.uint8)
    first, *others = (open_network(tmp_path / "small", "f32").embed(images, False) for _ in range(4))
    for vectors in others:
        assert (first * vectors).sum(axis=1).min() > 0.9999


def test_the_network_takes_any_batch_in_one_file_of_a_recent_opset(checkpoint: Path) -> None:
    loaded = load_branch(checkpoint)
    model = onnx.load_from_string(to_onnx(loaded.branch, loaded.spec))
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param
    assert model.opset_import[0].version >= 17
    assert not any(tensor.external_data for tensor in model.graph.initializer)


def test_stored_bits_halve_and_halve_again(checkpoint: Path) -> None:
    loaded = load_branch(checkpoint)
    full = to_onnx(loaded.branch, loaded.spec)
    half, quarter = len(compress(full, "f16")), len(compress(full, "int8-weights"))
    assert half < 0.65 * len(full)
    assert quarter < 0.8 * half


def test_a_network_that_disagrees_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    loaded, other = load_branch(checkpoint), load_branch(checkpoint)
    bundle, _ = export(checkpoint, tmp_path / "small", "f32")
    with torch.no_grad():
        cast("nn.Linear", other.branch.projection).weight.mul_(-1)
    content = to_onnx(other.branch, loaded.spec)
    with pytest.raises(TrainerError, match="disagrees with its checkpoint: cosine must be at least"):
        check_agreement(loaded.branch, content, bundle, loaded.spec, "f32", None)


def test_what_is_no_network_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainerError, match="a network must be a checkpoint"):
        open_network(tmp_path)


def test_right_answers_have_green_frames_and_wrong_ones_red() -> None:
    labels = RetrievalLabels(np.array([1]), np.array([0]), np.array([1, 2, 1, -1]), np.array([0, 1, 1, 1]))
    order, right = ranking(np.array([0.0, 0.2, 0.3, 0.1], np.float32), labels, 0)
    assert (order, right) == ([1, 2], [False, True])
    crop = np.zeros((64, 32, 3), np.uint8)
    picture = sheet([(crop, [crop, crop], right)])
    colours = {tuple(pixel) for pixel in picture.reshape(-1, 3).tolist()}
    assert {GREEN, RED} <= colours


@pytest.mark.parametrize("precision", ["f16", "int8-weights"])
@pytest.mark.parametrize("instance_norm", [False, True])
def test_training_can_go_on_from_a_bundle(tmp_path: Path, precision: Precision, instance_norm: bool) -> None:
    torch.manual_seed(1)
    settings = small_settings(instance_norm=instance_norm)
    siamese = Siamese(settings.model, (5,))
    siamese.branch.train()(torch.randn(8, 3, 64, 32))  # so that normalisation has seen something
    file = write_checkpoint(tmp_path / "best.pt", settings, siamese, domains=["market1501"], curve=[])
    export(file, tmp_path / "bundle", precision)
    again, before = load_branch(tmp_path / "bundle"), load_branch(file)
    images = torch.rand(4, 3, 64, 32)
    with torch.inference_mode():
        cosine = torch.nn.functional.cosine_similarity(again.branch(images), before.branch(images))
    assert float(cosine.min()) > MIN_COSINE[precision]
    assert torch.allclose(again.verifier.v.float(), before.verifier.v, atol=1e-3)
    assert again.settings.model == before.settings.model
    assert again.state.step == 3


def test_a_bundle_without_named_weights_is_no_start(tmp_path: Path, checkpoint: Path) -> None:
    export(checkpoint, tmp_path / "bundle", "f32")
    model = onnx.load(tmp_path / "bundle" / "model.onnx")
    del model.metadata_props[:]
    bundle = load_embedder(tmp_path / "bundle")
    save_bundle(bundle, model.SerializeToString(), tmp_path / "bundle")
    with pytest.raises(CheckpointError, match="export its checkpoint again"):
        load_branch(tmp_path / "bundle")
