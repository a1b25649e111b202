"""Engines: equal results for every library, batch size and entry; one clear error for an invalid network."""

from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from reid_stream.config.settings import Models
from reid_stream.engines.load import load_engine
from reid_stream.engines.protocol import Pixels, run_images, to_numbers
from reid_stream.errors import ModelError
from tests.engines.networks import channel_means

IMAGENET = Pixels(mean=(123.675, 116.28, 103.53), scale=(58.395, 57.12, 57.375), colour="bgr")
ENGINES: list[Literal["openvino", "onnx"]] = ["openvino", "onnx"]


def _pictures(count: int, height: int = 24, width: int = 16) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_a_batch_of_any_size_gives_what_its_images_give_alone(
    tmp_path: Path, name: Literal["openvino", "onnx"], count: int
) -> None:
    engine = load_engine(channel_means(tmp_path / "m.onnx"), Models(engine=name, precision="f32"))
    batch = to_numbers(_pictures(count), Pixels())
    alone = np.concatenate([engine(picture[None]) for picture in batch])
    np.testing.assert_allclose(engine(batch), alone, atol=1e-5)
    assert alone.shape == (count, 4)


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("pixels", [Pixels(), IMAGENET])
def test_images_and_numbers_give_the_same_answer(
    tmp_path: Path, name: Literal["openvino", "onnx"], pixels: Pixels
) -> None:
    path = channel_means(tmp_path / "m.onnx")
    engine = load_engine(path, Models(engine=name, precision="f32"), pixels=pixels)
    pictures = _pictures(5)
    np.testing.assert_allclose(engine.images(pictures), engine(to_numbers(pictures, pixels)), atol=1e-4)


def test_images_run_on_an_engine_that_was_built_for_other_pixels(tmp_path: Path) -> None:
    engine = load_engine(channel_means(tmp_path / "m.onnx"), Models(precision="f32"), pixels=Pixels())
    pictures = _pictures(2)
    expected = engine(to_numbers(pictures, IMAGENET))
    np.testing.assert_allclose(run_images(engine, pictures, IMAGENET), expected, atol=1e-5)


def test_the_libraries_agree(tmp_path: Path) -> None:
    path, batch = channel_means(tmp_path / "m.onnx"), to_numbers(_pictures(3), IMAGENET)
    one, other = (load_engine(path, Models(engine=name, precision="f32"))(batch) for name in ENGINES)
    np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("name", ENGINES)
def test_a_network_with_a_fixed_batch_takes_any(tmp_path: Path, name: Literal["openvino", "onnx"]) -> None:
    path = channel_means(tmp_path / "m.onnx", batch=1 if name == "openvino" else 2, height=24, width=16)
    engine = load_engine(path, Models(engine=name))
    assert engine.input_shape == (None, 3, 24, 16)
    assert engine(to_numbers(_pictures(3), Pixels())).shape == (3, 4)


@pytest.mark.parametrize("name", ENGINES)
def test_an_empty_batch_gives_an_empty_answer(tmp_path: Path, name: Literal["openvino", "onnx"]) -> None:
    engine = load_engine(channel_means(tmp_path / "m.onnx"), Models(engine=name))
    assert engine(np.empty((0, 3, 24, 16), dtype=np.float32)).shape == (0, 4)


def test_an_answer_outlives_the_next_call(tmp_path: Path) -> None:
    engine = load_engine(channel_means(tmp_path / "m.onnx"), Models(precision="f32"))
    first = engine(to_numbers(_pictures(2), Pixels()))
    before = first.copy()
    engine(to_numbers(_pictures(2) // 2, Pixels()))
    np.testing.assert_array_equal(first, before)


def test_many_image_sizes_do_not_pile_up(tmp_path: Path) -> None:
    from reid_stream.engines.openvino import _MAX_COMPILED, OpenVinoEngine

    engine = OpenVinoEngine(channel_means(tmp_path / "m.onnx"), Models())
    for side in range(8, 8 + _MAX_COMPILED + 5):
        engine(to_numbers(_pictures(1, side, side), Pixels()))
    assert len(engine._compiled) == _MAX_COMPILED


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    engine = load_engine(channel_means(tmp_path / "m.onnx"), Models(engine="openvino"))
    assert engine(to_numbers(_pictures(1), Pixels())).shape == (1, 4)


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("content", [b"", b"not a network", b"\x08\x09\x12\x04onnx" + bytes(200)])
def test_a_file_that_is_no_network_is_refused_by_name(
    tmp_path: Path, name: Literal["openvino", "onnx"], content: bytes
) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"broken\.onnx") as refusal:
        load_engine(path, Models(engine=name))
    assert "\n" not in str(refusal.value)


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"none\.onnx: No such file"):
        load_engine(tmp_path / "none.onnx", Models())


@pytest.mark.parametrize("name", ENGINES)
def test_a_network_that_takes_no_colour_images_is_refused(tmp_path: Path, name: Literal["openvino", "onnx"]) -> None:
    import onnx
    from onnx import helper

    path = channel_means(tmp_path / "m.onnx")
    model = onnx.load(path)
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, ["b", 5, "h", "w"]))
    del model.graph.value_info[:]
    onnx.save(model, path)
    with pytest.raises(ModelError, match=r"m\.onnx"):
        load_engine(path, Models(engine=name))


@pytest.mark.parametrize("name", ENGINES)
def test_a_batch_of_the_wrong_shape_is_refused(tmp_path: Path, name: Literal["openvino", "onnx"]) -> None:
    engine = load_engine(channel_means(tmp_path / "m.onnx", height=24, width=16), Models(engine=name), pixels=Pixels())
    with pytest.raises(ModelError, match=r"\(b, 3, 24, 16\) float32, got \(1, 3, 10, 10\)"):
        engine(np.zeros((1, 3, 10, 10), dtype=np.float32))
    with pytest.raises(ModelError, match=r"\(b, 24, 16, 3\) uint8, got \(1, 10, 10, 3\)"):
        engine.images(np.zeros((1, 10, 10, 3), dtype=np.uint8))
