"""What is fetched is pinned by hash or digest; what is installed is listed with its licence."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
REQUIREMENTS = sorted((ROOT / "requirements").glob("*.txt"))


def blocks(text: str) -> list[str]:
    """Return each requirement with its hashes as one line."""
    return [line for line in text.replace("\\\n", " ").splitlines() if line.strip()]


@pytest.mark.parametrize("file", REQUIREMENTS, ids=lambda file: file.name)
def test_every_requirement_is_pinned_to_one_version_with_hashes(file: Path) -> None:
    found = blocks(file.read_text())
    assert found
    for block in found:
        assert re.fullmatch(r"[A-Za-z0-9._-]+==\S+( ; .+?)?(\s+--hash=sha256:[0-9a-f]{64})+\s*", block), block[:120]


def test_the_runtime_pins_cover_every_dependency_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pinned = {re.split("==", line)[0] for line in blocks((ROOT / "requirements/base.txt").read_text())}
    names = [re.split(r"[^A-Za-z0-9._-]", name)[0] for name in project["dependencies"]]
    wanted = {re.sub(r"[._-]+", "-", name).lower() for name in names}
    # `headless` replaces it; see pyproject.toml.
    assert wanted - {"opencv-python"} <= pinned
    build = {re.split("==", line)[0] for line in blocks((ROOT / "requirements/build.txt").read_text())}
    assert {"uv", "hatchling", "editables"} <= build


def test_installs_check_the_hashes() -> None:
    checked = 0
    for name in ("Makefile", "deploy/Dockerfile"):
        text = "\n".join(line for line in (ROOT / name).read_text().splitlines() if not line.startswith("#"))
        for command in re.split(r"&&|;|\n|\|\|", text.replace("\\\n", " ")):
            # torch's CPU build has an index of its own; the project itself is a folder.
            if re.search(r"pip (sync|install)", command) and not {"--torch-backend", "$(TORCH_FROM)"} & set(
                command.split()
            ):
                assert "--require-hashes" in command or "--build-constraints" in command, command
                checked += 1
    assert checked >= 6


@pytest.mark.parametrize(
    ("image", "is_pinned"),
    [("python:3.12-slim", False), ("", False), ("python@sha256:0f1e", True), ("python:3.12-slim@sha256:0f1e", True)],
)
def test_an_image_is_built_only_on_a_base_that_is_given_by_its_digest(image: str, is_pinned: bool) -> None:
    lines = (ROOT / "deploy/Dockerfile").read_text().replace("\\\n", " ").splitlines()
    assert all("${PYTHON_IMAGE}" in line for line in lines if line.startswith("FROM"))
    check = next(line.removeprefix("RUN ") for line in lines if line.startswith("RUN case"))
    done = subprocess.run(["sh", "-c", check], env={"PYTHON_IMAGE": image}, capture_output=True, text=True, check=False)
    assert (done.returncode == 0) == is_pinned
    assert is_pinned or "pin-images.sh" in done.stderr


def test_compose_names_no_image_by_its_tag() -> None:
    services = YAML(typ="safe").load((ROOT / "deploy/compose.yaml").read_text())["services"]
    assert services["redis"]["image"].startswith("${REDIS_IMAGE:?")
    assert services["reid-stream"]["build"]["args"]["PYTHON_IMAGE"].startswith("${PYTHON_IMAGE:?")
    subprocess.run(["bash", "-n", str(ROOT / "deploy/pin-images.sh")], check=True)


@pytest.mark.slow
def test_the_bill_of_materials_is_valid_and_every_package_has_a_known_licence(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "deploy/sbom.py"), "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    text = (tmp_path / "sbom.cdx.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    bom = json.loads(text)
    names = {component["name"] for component in bom["components"]}
    assert {"redis", "av", "openvino", "person-yolo11n", "libx264"} <= names
    assert not {"pytest", "torch", "ruff"} & names
    assert bom["metadata"]["component"]["name"] == "reid-stream"
    licences = (tmp_path / "licences.md").read_text()
    assert "AGPL-3.0-only" in licences
    assert "GPL-2.0-or-later" in licences
