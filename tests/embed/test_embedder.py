"""The embedder and its crops: unit vectors, equal to those of the training's preprocessing."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reid_stream.config.settings import Embed, Models
from reid_stream.embed.embedder import Embedder, pixels_of
from reid_stream.embed.preprocess import InputSpec, normalise, prepare
from reid_stream.embed.selector import cut
from reid_stream.engines.load import load_engine
from reid_stream.engines.protocol import PixelEngine, to_numbers
from reid_stream.errors import ModelError
from tests.engines.networks import channel_means

SPEC = InputSpec(height=32, width=16)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def _engine(folder: Path, spec: InputSpec = SPEC) -> PixelEngine:
    path = channel_means(folder / "m.onnx", height=32, width=16)
    return load_engine(path, Models(precision="f32"), pixels=pixels_of(spec))


def _crops(count: int) -> list[np.ndarray]:
    random = np.random.default_rng(3)
    return [random.integers(0, 256, (*random.integers(5, 90, 2), 3), dtype=np.uint8) for _ in range(count)]


@pytest.mark.parametrize("colour", ["rgb", "bgr"])
def test_vectors_are_those_of_trainings_preprocessing(tmp_path: Path, colour: str) -> None:
    spec = InputSpec(height=32, width=16, colour="rgb" if colour == "rgb" else "bgr")
    engine, crops = _engine(tmp_path, spec), _crops(7)
    expected = engine(prepare(crops, spec))
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    vectors = Embedder(engine, spec, 4, Embed(max_batch=3))(crops)
    np.testing.assert_allclose(vectors, expected, atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert vectors.dtype == np.float32


@pytest.mark.parametrize("colour", ["rgb", "bgr"])
def test_what_engines_do_to_pixels_is_what_preprocess_does(colour: str) -> None:
    spec = InputSpec(height=8, width=8, colour="rgb" if colour == "rgb" else "bgr")
    images = np.random.default_rng(1).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    np.testing.assert_allclose(to_numbers(images, pixels_of(spec)), normalise(images, spec), atol=1e-6)


def test_no_crops_give_no_vectors(tmp_path: Path) -> None:
    assert Embedder(_engine(tmp_path), SPEC, 4, Embed())([]).shape == (0, 4)


def test_a_network_of_another_width_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"must answer \(b, 512\).*answers \(None, 4\)"):
        Embedder(_engine(tmp_path), SPEC, 512, Embed())


def test_a_network_of_another_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="must take 128x256"):
        Embedder(_engine(tmp_path), InputSpec(height=256, width=128), 4, Embed())


def test_a_vector_without_length_is_refused(tmp_path: Path) -> None:
    spec = InputSpec(height=32, width=16, mean=(0, 0, 0), std=(1, 1, 1))
    with pytest.raises(ModelError, match="finite and not zero"):
        Embedder(_engine(tmp_path, spec), spec, 4, Embed())([np.zeros((9, 9, 3), dtype=np.uint8)])


@given(st.lists(st.floats(-500, 500), min_size=4, max_size=4))
def test_a_cut_is_never_empty_and_never_beyond_the_image(box: list[float]) -> None:
    crop = cut(np.zeros((60, 80, 3), dtype=np.uint8), np.array(box, dtype=np.float32))
    assert 1 <= crop.shape[0] <= 60
    assert 1 <= crop.shape[1] <= 80
