"""Known networks are downloaded, checked and wrapped; a local HTTP server stands in for the publisher's."""

import functools
import http.server
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from reid_stream.bundles import catalog
from reid_stream.bundles.bundle import EmbedderBundle, load
from reid_stream.bundles.download import add
from reid_stream.bundles.known_networks import NETWORKS, PERMISSIVE, known_network
from reid_stream.bundles.licences import commercial_use
from reid_stream.cli import app
from reid_stream.config.settings import Settings
from reid_stream.errors import ConfigError, ModelError

DATA = os.environ.get("REID_STREAM_DATA")
needs_data = pytest.mark.skipif(DATA is None, reason="needs REID_STREAM_DATA")
PLACES = ("reid/intel", "reid", "detector")


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "served"
    folder.mkdir()
    for place in PLACES:
        for file in (Path(str(DATA)) / place).iterdir():
            if file.is_file():
                (folder / file.name).symlink_to(file)
    return folder


@pytest.fixture
def server(files: Path) -> Iterator[str]:
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(files))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as serving:
        thread = threading.Thread(target=serving.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{serving.server_address[1]}"
        serving.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def own_shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("REID_STREAM_MODELS", raising=False)
    monkeypatch.delenv("REID_STREAM_MODELS_URL", raising=False)
    return tmp_path / "home" / "reid-stream" / "models"


@pytest.mark.slow
@needs_data
@pytest.mark.timeout(240)
@pytest.mark.parametrize("alias", ["retail-0287", "osnet", "yolox"])
def test_a_known_network_is_added_with_its_licence_and_found_by_name(alias: str, server: str, own_shelf: Path) -> None:
    done = CliRunner().invoke(app, ["models", "add", alias, "--url", server])
    assert done.exit_code == 0, done.output
    network = known_network(alias)
    assert f"licence: {network.licence}" in done.output.replace("\n", " ")
    assert "checksum right" in done.output
    folder = own_shelf / network.name
    made = load(folder)
    assert (made.kind, made.licence, made.source) == (network.kind, network.licence, server)
    if isinstance(made, EmbedderBundle):
        assert made.calibration == network.calibration
        assert "a match needs cosine" in done.output.replace("\n", " ")
        assert "default curve" not in done.output
    assert catalog.find(network.name, network.kind) == folder
    assert catalog.find("default", network.kind).parent == catalog.SHIPPED  # what was added never becomes the default
    assert [path.name for path in own_shelf.iterdir()] == [network.name]  # nothing left over
    again = CliRunner().invoke(app, ["models", "add", alias, "--url", server])
    assert again.exit_code == 0, again.output


@pytest.mark.slow
@needs_data
@pytest.mark.timeout(240)
def test_permissive_takes_what_was_added_and_names_what_to_add(server: str, own_shelf: Path) -> None:
    settings = Settings.model_validate({"models": "permissive", "cameras": [{"id": "a", "url": "rtsp://h/a"}]})
    assert (settings.models.detector, settings.models.embedder) == ("permissive", "permissive")
    with pytest.raises(ModelError, match="permissive needs one of yolox_nano, .* models add yolox_nano"):
        catalog.detector(settings.models.detector)
    for alias in ("yolox", "retail-0277"):
        add(known_network(alias), server, None, print)
    assert catalog.detector("permissive")[1].decoder == "yolox"
    assert catalog.embedder("permissive")[1].name == "person-reidentification-retail-0277"
    add(known_network("retail-0287"), server, None, print)
    assert catalog.embedder("permissive")[1].name == "person-reidentification-retail-0287"


@needs_data
def test_another_content_is_refused_and_nothing_is_left(server: str, files: Path, own_shelf: Path) -> None:
    (files / "yolox_nano.onnx").unlink()
    shutil.copy(files / "osnet_x0_25_msmt17.onnx", files / "yolox_nano.onnx")
    done = CliRunner().invoke(app, ["models", "add", "yolox", "--url", server])
    assert done.exit_code != 0
    with pytest.raises(ModelError, match=r"must have the sha256 .* got 61b2604171ef.*nothing was added"):
        add(known_network("yolox"), server, None, print)
    assert list(own_shelf.iterdir()) == []


@needs_data
def test_a_file_that_is_not_there_and_a_server_that_is_not_there_are_named(
    server: str, files: Path, tmp_path: Path
) -> None:
    (files / "yolox_nano.onnx").unlink()
    with pytest.raises(ModelError, match=r"must be downloadable, .*/yolox_nano.onnx: 404"):
        add(known_network("yolox"), server, tmp_path / "shelf", print)
    with pytest.raises(ModelError, match=r"must be downloadable, http://127.0.0.1:9/.*give --url"):
        add(known_network("yolox"), "http://127.0.0.1:9", tmp_path / "shelf", print)


def test_a_network_without_a_known_address_needs_one() -> None:
    with pytest.raises(ConfigError, match="--url must name the folder of osnet_x0_25_msmt17.onnx"):
        add(known_network("osnet"), None, None, print)
    with pytest.raises(ConfigError, match=r"must name one of .*yolox_nano/yolox, got 'resnet'"):
        known_network("resnet")


def test_every_permissive_network_is_known_and_allows_commercial_use() -> None:
    known = {network.name: network for network in NETWORKS}
    for kind, names in PERMISSIVE.items():
        for name in names:
            assert known[name].kind == kind
            assert commercial_use(known[name].licence).use == "yes"
            assert known[name].url is not None
    assert all(len(sha) == 64 for network in NETWORKS for file in network.files for sha in file.sha256)


@pytest.mark.parametrize(
    ("licence", "use"),
    [
        ("Apache-2.0", "yes"), ("MIT", "yes"), ("BSD-3-Clause", "yes"), ("AGPL-3.0", "conditions"),
        ("GPL-3.0-only", "conditions"), ("Research only: learned from public person data sets", "no"),
        ("CC BY-NC-SA 3.0", "no"), ("unknown", "unknown"), ("", "unknown"), ("limited", "unknown"),
        ("research only: learned from MSMT17 (the code is MIT)", "no"),
    ],
)  # fmt: skip
def test_licences_are_read_plainly(licence: str, use: str) -> None:
    assert commercial_use(licence).use == use


def test_the_shipped_bundles_say_what_binds() -> None:
    assert commercial_use(catalog.embedder("default")[1].licence).use == "no"
    assert commercial_use(catalog.detector("default")[1].licence).use == "conditions"
