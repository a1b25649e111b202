"""Why two crops match: exact sums, and a page that shows their largest terms."""

import os
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest

from reid_stream.bundles.bundle import Verifier, load_embedder, save
from reid_stream.errors import ConfigError, ModelError
from reid_stream.explain import Explainer, draw, write
from reid_stream.explain.pair import terms
from reid_stream.explain.picture import overlay

TINY = Path(__file__).parents[1] / "samples" / "embedder-tiny"
WARM = ((255, 190, 40), (226, 48, 6))


@pytest.fixture(scope="module")
def explainer() -> Explainer:
    return Explainer(TINY, threads=1)


def person(jacket: tuple[int, int, int], seed: int = 0) -> np.ndarray:
    crop = np.random.default_rng(seed).normal(128, 12, (128, 64, 3))
    crop[28:70, 14:50] += np.array(jacket) - 128
    crop[70:120, 18:46] -= 90
    return crop.clip(0, 255).astype(np.uint8)


def test_the_terms_are_the_cosine_and_the_margin_taken_apart() -> None:
    random = np.random.default_rng(0)
    first, second = (vector / np.linalg.norm(vector) for vector in random.normal(size=(2, 16)))
    head = Verifier(d=random.uniform(0, 2, 16).tolist(), b=3.0, train_prior=0.5)
    products, costs = terms(first, second, head)
    assert products.sum() == pytest.approx(first @ second)
    folded = np.array(head.d) * first, np.array(head.d) * second
    assert head.b + costs.sum() == pytest.approx(3 - np.square(folded[0] - folded[1]).sum())
    assert (costs <= 0).all()


def test_the_largest_terms_are_listed_first_with_their_place(explainer: Explainer) -> None:
    found = explainer(person((200, 30, 40)), person((190, 40, 40), seed=1))
    for row, sign in ((found.alike, 1), (found.unlike, -1)):
        values = [one.term * sign for one in row]
        assert len(row) == 5
        assert values == sorted(values, reverse=True)
        assert values[-1] > 0
    for one in found.alike:
        assert one.values[0] * one.values[1] == pytest.approx(one.term)
        assert all(heat.shape == (128, 64) and heat.max() == 1 for heat in one.heats)
    assert found.margin <= explainer.bundle.verifier.b
    assert 0 < found.same <= 1


def test_a_crop_beside_itself_is_alike_in_everything(explainer: Explainer) -> None:
    crop = person((30, 200, 40))
    found = explainer(crop, crop)
    assert found.cosine == pytest.approx(1, abs=1e-5)
    assert found.margin == pytest.approx(explainer.bundle.verifier.b, abs=1e-3)
    assert all(one.term == pytest.approx(0, abs=1e-6) for one in found.unlike)


def test_what_is_looked_at_moves_with_the_jacket(explainer: Explainer) -> None:
    """The strongest dimensions of a crop, with its mirror image, look at the mirrored places."""
    crop = person((200, 30, 40))
    crop[:, 32:] = crop[:, 32:] // 2  # so that left and right differ
    mirrored = np.ascontiguousarray(crop[:, ::-1])
    found = explainer(crop, mirrored)
    heats = [(one.heats[0], one.heats[1]) for one in found.alike]
    same = np.mean([np.corrcoef(one.ravel(), other.ravel())[0, 1] for one, other in heats])
    turned = np.mean([np.corrcoef(one.ravel(), other[:, ::-1].ravel())[0, 1] for one, other in heats])
    assert turned > same


def test_the_page_is_an_image_of_both_rows(explainer: Explainer, tmp_path: Path) -> None:
    found = explainer(person((200, 30, 40)), np.repeat(person((20, 30, 200)), 2, axis=0))  # a crop of another size
    write(draw(found, ("here.jpg", "a/very/long/name/of/a/crop/there.jpg"), "truth: unknown"), tmp_path / "a" / "b.png")
    page = cv2.imread(str(tmp_path / "a" / "b.png"))
    assert page is not None
    assert page.shape[1] > 1900
    hues = cv2.cvtColor(page, cv2.COLOR_BGR2HSV)
    half = len(page) // 2
    orange = (hues[..., 0] < 12) & (hues[..., 1] > 200)
    blue = (abs(hues[..., 0].astype(int) - 118) < 8) & (hues[..., 1] > 200)
    assert orange[:half, 700:].sum() > 10 * orange[half:, 700:].sum()
    assert blue[half:].sum() > 1000
    with pytest.raises(ConfigError, match="an image must be writable"):
        write(draw(found), tmp_path / "a" / "b.png" / "c.png")


def test_colour_is_left_only_where_there_is_heat() -> None:
    crop = np.full((40, 20, 3), (10, 60, 200), np.uint8)
    heat = np.zeros((40, 20), np.float32)
    heat[:20] = 1
    shown = overlay(crop, heat, WARM).astype(int)
    assert np.ptp(shown[30:], axis=2).max() == 0  # grey
    assert (shown[5:15, 5:15, 2] - shown[5:15, 5:15, 1] > 60).all()  # still blue
    assert (shown[19, 5] == WARM[1]).all()  # the outline


def test_what_cannot_be_explained_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="a bundle is a folder with"):
        Explainer(tmp_path)
    bundle = load_embedder(TINY)
    shorter = msgspec.structs.replace(
        bundle, dim=4, verifier=Verifier(d=[1.0] * 4, b=1.0, train_prior=0.5),
        probe=msgspec.structs.replace(bundle.probe, output=bundle.probe.output[:4]),
    )  # fmt: skip
    save(shorter, (TINY / "model.onnx").read_bytes(), tmp_path / "wrong")
    with pytest.raises(ModelError, match=r"must give 4 finite numbers, not all 0, for a crop, got 8 of length"):
        Explainer(tmp_path / "wrong", threads=1)(person((9, 9, 9)), person((9, 9, 9)))


def test_a_network_that_was_not_trained_here_is_explained_too() -> None:
    from reid_stream.explain.attention import Attention

    data = os.environ.get("REID_STREAM_DATA")
    if data is None:
        pytest.skip("REID_STREAM_DATA must name the folder with reid/osnet_x0_25_msmt17.onnx")
    attention = Attention(Path(data) / "reid" / "osnet_x0_25_msmt17.onnx", 256, 128, threads=1)
    looked = attention(np.random.default_rng(0).normal(size=(2, 3, 256, 128)).astype(np.float32))
    assert looked.maps[0].shape == (2, 128, 16, 8)
    weights, maps = looked.weights[0], looked.maps[0]
    # Average pooling and a product: the maps, weighed and summed, are the change of the vector along themselves.
    dimension = int(looked.vectors[0].argmax())
    assert np.isfinite(weights).all()
    assert looked.heat(0, dimension, (256, 128)).max() == 1
    assert float(np.einsum("chw,c->", maps[0], weights[0, :, dimension])) > 0
