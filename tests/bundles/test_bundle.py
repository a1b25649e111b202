"""A bundle is loaded whole or refused with the reason; any ONNX network can become one.

tests/samples/embedder-tiny is a bundle of schema 1 with random weights: a change of format breaks its loading.
"""

import json
import os
import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest

from reid_stream.bundles.bundle import (
    Calibration,
    DetectorBundle,
    EmbedderBundle,
    Floats,
    check_probe,
    fingerprint,
    load,
    load_detector,
    load_embedder,
    probe_input,
    save,
)
from reid_stream.bundles.calibration import log_odds, prior_shift, probability
from reid_stream.bundles.foreign_network import run_once
from reid_stream.bundles.wrap import wrap
from reid_stream.errors import ModelError

SAMPLE = Path(__file__).parents[1] / "samples" / "embedder-tiny"
DATA = Path(os.environ.get("REID_STREAM_DATA", "absent"))
needs_data = pytest.mark.skipif(not (DATA / "reid").is_dir(), reason="needs $REID_STREAM_DATA with reid/ and detector/")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the sample that a test may break."""
    return Path(shutil.copytree(SAMPLE, tmp_path / "bundle"))


def edit(folder: Path, **changes: object) -> None:
    file = folder / "bundle.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def run_sample(folder: Path, bundle: EmbedderBundle) -> Floats:
    import openvino

    return run_once(openvino.Core().read_model(folder / "model.onnx"), probe_input(bundle), folder)


def test_the_sample_loads_and_answers_its_probe() -> None:
    bundle = load_embedder(SAMPLE)
    assert (bundle.kind, bundle.dim, bundle.schema) == ("embedder", 8, 1)
    assert check_probe(bundle, run_sample(SAMPLE, bundle)) < 1e-4


def test_what_is_saved_is_what_is_loaded(folder: Path) -> None:
    bundle = load_embedder(folder)
    platt = Calibration(kind="platt", parameters={"slope": 2, "intercept": -1})
    saved = save(msgspec.structs.replace(bundle, calibration=platt), (folder / "model.onnx").read_bytes(), folder)
    assert load(folder) == saved
    assert saved.hash != bundle.hash


def test_figures_and_names_do_not_change_the_hash(folder: Path) -> None:
    bundle, model = load_embedder(folder), (folder / "model.onnx").read_bytes()
    renamed = msgspec.structs.replace(bundle, name="other", metrics={"mAP": 0.5}, licence="other")
    assert fingerprint(renamed, model) == bundle.hash


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"a folder with bundle\.json and model\.onnx.*No such file"):
        load(tmp_path / "nowhere")


def test_a_missing_network_is_named(folder: Path) -> None:
    (folder / "model.onnx").unlink()
    with pytest.raises(ModelError, match=r"carries its network.*model\.onnx"):
        load(folder)


@pytest.mark.parametrize("name", ["model.onnx", "bundle.json"])
def test_an_empty_file_is_refused(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"")
    with pytest.raises(ModelError, match="0 bytes"):
        load(folder)


def test_a_half_copied_network_is_refused(folder: Path) -> None:
    model = folder / "model.onnx"
    model.write_bytes(model.read_bytes()[:100])
    with pytest.raises(ModelError, match="found 100; it is truncated"):
        load(folder)


def test_an_altered_network_is_refused(folder: Path) -> None:
    model = folder / "model.onnx"
    content = bytearray(model.read_bytes())
    content[200] ^= 1
    model.write_bytes(bytes(content))
    with pytest.raises(ModelError, match="was altered"):
        load(folder)


def test_an_altered_threshold_is_refused(folder: Path) -> None:
    verifier = json.loads((folder / "bundle.json").read_text())["verifier"]
    edit(folder, verifier=verifier | {"b": 99.0})
    with pytest.raises(ModelError, match="was altered"):
        load(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": 2}, "must have schema 1, found 2"),
        ({"dim": 4}, "verifier.d must have 4 numbers, got 8"),
        ({"dim": 4096}, r"<= 512.*\$\.dim"),
        ({"colour": "rgb"}, "unknown field `colour`"),
        ({"calibration": {"kind": "platt", "parameters": {"slope": 1.0}}}, r"must be \['intercept', 'slope'\]"),
        ({"calibration": {"kind": "isotonic", "parameters": {"margin": [0, 1], "probability": [1, 0]}}}, "not fall"),
    ],
)
def test_a_wrong_field_is_named(folder: Path, changes: dict[str, object], message: str) -> None:
    edit(folder, **changes)
    with pytest.raises(ModelError, match=message):
        load(folder)


def test_half_a_bundle_json_is_refused(folder: Path) -> None:
    file = folder / "bundle.json"
    file.write_text(file.read_text()[:300])
    with pytest.raises(ModelError, match="must be JSON"):
        load(folder)


def test_the_wrong_kind_is_refused() -> None:
    with pytest.raises(ModelError, match="kind detector, found embedder"):
        load_detector(SAMPLE)


def test_a_wrong_answer_to_the_probe_is_refused() -> None:
    bundle = load_embedder(SAMPLE)
    answer = run_sample(SAMPLE, bundle)
    with pytest.raises(ModelError, match="must give"):
        check_probe(bundle, answer[:, :4])
    for wrong in (-answer, answer * np.nan):
        with pytest.raises(ModelError, match="must lie within"):
            check_probe(bundle, wrong)


def test_probabilities_follow_platt_isotonic_and_the_prior() -> None:
    platt = Calibration(kind="platt", parameters={"slope": 2.0, "intercept": 1.0})
    assert log_odds(platt, 0.5) == pytest.approx(2.0)
    steps = Calibration(kind="isotonic", parameters={"margin": [0.0, 1.0], "probability": [0.2, 0.6]})
    np.testing.assert_allclose(probability(steps, [-5, 0.5, 5]), [0.2, 0.4, 0.6])
    # Bayes: odds 3:1 at even priors become 3:99 where one pair in a hundred is a match.
    even = Calibration(kind="none", parameters={})
    assert probability(even, np.log(3), prior=0.01) == pytest.approx(3 / 102)
    assert prior_shift(0.2, 0.2) == 0


@pytest.mark.parametrize("content", [b"", b"no network"])
def test_wrapping_a_file_that_is_no_network_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(ModelError, match="a network must"):
        wrap(tmp_path / "model.onnx", tmp_path / "out", kind="embedder")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@needs_data
@pytest.mark.parametrize(
    ("file", "kind", "decoder"),
    [
        ("detector/yolo11n_dequant.onnx", "detector", "yolo"),
        ("detector/yolox_nano.onnx", "detector", "yolox"),
        ("reid/osnet_x0_25_msmt17.onnx", "embedder", None),
    ],
)
def test_known_networks_are_wrapped_without_being_described(
    tmp_path: Path, file: str, kind: str, decoder: str | None
) -> None:
    made = wrap(DATA / file, tmp_path, kind=kind)
    assert load(tmp_path) == made
    assert getattr(made, "decoder", None) == decoder
    if isinstance(made, DetectorBundle):
        assert made.classes[made.person] == "person"


@pytest.mark.parametrize("name", ["model.onnx", "bundle.json"])
@pytest.mark.timeout(30)
def test_a_pipe_a_device_or_a_file_without_end_is_refused_unread(folder: Path, name: str) -> None:
    file = folder / name
    size = file.stat().st_size
    os.truncate(file, 1 << 40)  # a hole: takes no room on the disk
    with pytest.raises(ModelError, match=r"must have (at most )?[0-9,]+ bytes, found 1,099,511,627,776"):
        load(folder)
    os.truncate(file, size)
    load(folder)
    file.unlink()
    file.symlink_to("/dev/zero")
    with pytest.raises(ModelError, match="no regular file"):
        load(folder)
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(ModelError, match="no regular file"):
        load(folder)
    file.unlink()
    file.symlink_to(file)
    with pytest.raises(ModelError, match=f"{name}: "):
        load(folder)


def test_json_of_lists_in_lists_is_refused(folder: Path) -> None:
    (folder / "bundle.json").write_bytes(b'{"new":' + b"[" * 100_000)
    with pytest.raises(ModelError, match="must be JSON"):
        load(folder)
