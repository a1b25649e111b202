"""Checkpoints of ultralytics and folders of OpenVINO become bundles, or are refused in one line."""

import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from reid_stream.bundles.bundle import load_detector
from reid_stream.bundles.checkpoint import wrappable
from reid_stream.commands.models import app
from reid_stream.errors import ModelError

CHECKPOINT = Path(os.environ.get("REID_STREAM_DATA", "nowhere")) / "detector" / "yolo11n_dequant.pt"


@pytest.mark.slow
@pytest.mark.skipif(not CHECKPOINT.is_file(), reason="needs $REID_STREAM_DATA")
@pytest.mark.filterwarnings("ignore")  # of torch's exporter
def test_a_checkpoint_of_ultralytics_is_exported_and_wrapped(tmp_path: Path) -> None:
    pytest.importorskip("ultralytics")
    pytest.importorskip("onnx")
    done = CliRunner().invoke(
        app, ["wrap", str(CHECKPOINT), str(tmp_path / "out"), "--kind", "detector", "--licence", "AGPL-3.0"]
    )
    assert done.exit_code == 0, done.output
    found = load_detector(tmp_path / "out")
    assert found.classes[found.person] == "person"
    assert found.source == "yolo11n_dequant.pt"


def test_an_openvino_folder_is_wrapped_by_the_file_it_was_made_of(tmp_path: Path) -> None:
    folder = tmp_path / "net_openvino_model"
    folder.mkdir()
    (folder / "net.xml").write_text("<net/>")
    assert wrappable(folder, tmp_path, kind="detector", size=None, trust_pickle=False) == folder / "net.xml"
    (tmp_path / "net.onnx").write_bytes(b"x")
    for model in (folder, folder / "net.xml"):
        assert wrappable(model, tmp_path, kind="detector", size=None, trust_pickle=False) == tmp_path / "net.onnx"
        assert wrappable(model, tmp_path, kind="embedder", size=None, trust_pickle=False) == folder / "net.xml"


def test_what_is_no_network_is_refused_in_one_line(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ModelError, match="must hold one OpenVINO network"):
        wrappable(empty, tmp_path, kind="detector", size=None, trust_pickle=False)
    with pytest.raises(ModelError, match="an embedder must be an ONNX or OpenVINO file"):
        wrappable(tmp_path / "a.pt", tmp_path, kind="embedder", size=None, trust_pickle=False)


def test_a_pickle_that_runs_code_is_not_run(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("ultralytics")
    trace = tmp_path / "ran"
    torch.save({"model": _RunsCode(trace)}, tmp_path / "weights.pt")
    (tmp_path / "work").mkdir()
    with pytest.raises(ModelError, match=r"weights\.pt must hold nothing but.*--trust-pickle"):
        wrappable(tmp_path / "weights.pt", tmp_path / "work", kind="detector", size=None, trust_pickle=False)
    assert not trace.exists()


class _RunsCode:
    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.trace),)
