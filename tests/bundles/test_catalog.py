"""The places where bundles are found, and the error when there is none."""

from pathlib import Path

import pytest

from reid_stream.bundles import catalog
from reid_stream.errors import ModelError


def folder(root: Path, name: str, kind: str) -> Path:
    made = root / name
    made.mkdir()
    (made / "bundle.json").write_text(f'{{"kind": "{kind}"}}', encoding="utf-8")
    return made


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(catalog.VARIABLE, str(tmp_path))
    return tmp_path


def test_default_is_the_folder_named_after_its_kind(own: Path) -> None:
    folder(own, "other", "embedder")
    made = folder(own, "embedder", "embedder")
    assert catalog.find("default", "embedder") == made


def test_default_is_the_only_bundle_of_its_kind(own: Path) -> None:
    made = folder(own, "osnet", "embedder")
    folder(own, "yolo", "detector")
    assert catalog.find("default", "embedder") == made


def test_two_of_a_kind_are_named_rather_than_guessed_among(own: Path) -> None:
    folder(own, "a", "embedder")
    folder(own, "b", "embedder")
    with pytest.raises(ModelError, match="a, b; name one"):
        catalog.find("default", "embedder")


def test_a_path_is_taken_as_it_is(own: Path, tmp_path: Path) -> None:
    made = folder(tmp_path, "mine", "embedder")
    assert catalog.find(str(made), "embedder") == made


def test_an_unknown_name_lists_what_there_is(own: Path) -> None:
    folder(own, "osnet", "embedder")
    with pytest.raises(ModelError, match="must be the folder of a bundle or one of .*osnet.*, found 'osnext'"):
        catalog.find("osnext", "embedder")


def test_without_any_model_the_message_has_the_command_that_gets_one(
    own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog, "SHIPPED", own / "nothing")
    with pytest.raises(ModelError, match="reid-stream models wrap MODEL.onnx"):
        catalog.find("default", "detector")
