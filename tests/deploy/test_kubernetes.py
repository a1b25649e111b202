"""The Kubernetes manifests and systemd units are what their programs take; the files in them are settings of ours."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
from ruamel.yaml import YAML

from reid_stream.config import cams_yaml
from reid_stream.config.identify_settings import IdentifySettings

DEPLOY = Path(__file__).parents[2] / "deploy"
BASE = DEPLOY / "kubernetes/base"
VERSION = "1.30"
"""Oldest supported Kubernetes."""


def manifests(text: str) -> list[dict[str, Any]]:
    """Return the documents of a YAML stream."""
    return [dict(document) for document in YAML(typ="safe", pure=True).load_all(text) if document]


def rendered(folder: str) -> list[dict[str, Any]]:
    """Return what Kustomize makes of a folder."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl renders the manifests")
    done = subprocess.run(
        ["kubectl", "kustomize", DEPLOY / "kubernetes" / folder], capture_output=True, text=True, check=True
    )
    return manifests(done.stdout)


def valid(documents: list[dict[str, Any]]) -> set[str]:
    """Check documents against the schemas of Kubernetes, unknown fields included; return their kinds."""
    for document in documents:
        kubernetes_validate.validate(document, VERSION, strict=True)
    return {document["kind"] for document in documents}


def test_each_manifest_fits_the_schemas_of_kubernetes() -> None:
    files = sorted(BASE.glob("*.yaml"))
    found = [one for file in files for one in manifests(file.read_text())]
    documents = [one for one in found if one.get("kind") not in {None, "Kustomization"}]
    assert valid(documents) == {
        "Namespace", "Service", "StatefulSet", "Deployment", "NetworkPolicy", "PodDisruptionBudget",
    }  # fmt: skip


def test_a_manifest_with_a_wrong_field_is_refused() -> None:
    (wrong, *_) = manifests((BASE / "disruption.yaml").read_text())
    wrong["spec"] = {**wrong["spec"], "minAvailble": 1}
    with pytest.raises(kubernetes_validate.ValidationError):
        valid([wrong])


@pytest.mark.parametrize("folder", ["base", "gpu"])
def test_what_kustomize_renders_is_valid_private_and_complete(folder: str) -> None:
    documents = rendered(folder)
    assert valid(documents) >= {"ConfigMap", "Secret", "StatefulSet", "Deployment"}
    named = {(one["kind"], one["metadata"]["name"]) for one in documents}
    for one in documents:
        if one["kind"] not in {"StatefulSet", "Deployment"}:
            continue
        pod = one["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        assert pod["securityContext"]["runAsNonRoot"]
        assert container["securityContext"]["readOnlyRootFilesystem"]
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        for source in container["envFrom"]:
            assert ("Secret", source["secretRef"]["name"]) in named
        for volume in pod["volumes"]:
            assert "configMap" not in volume or ("ConfigMap", volume["configMap"]["name"]) in named
        gpus = container["resources"]["limits"].get("nvidia.com/gpu")
        assert gpus == ("1" if folder == "gpu" and one["kind"] == "Deployment" else None)


def test_the_files_of_the_config_maps_are_settings() -> None:
    environ = {"REDIS_PASSWORD": "x", "CAMERA_PASSWORD": "y"}
    site = cams_yaml.load(BASE / "site.yaml", environ, IdentifySettings)
    part = cams_yaml.load(BASE / "library.yaml", environ)
    assert site.site == part.site
    assert not site.cameras
    assert not site.redis.is_embedded


@pytest.mark.parametrize("name", ["reid-stream", "reid-stream@perceive", "reid-stream@identify"])
def test_systemd_takes_the_units(name: str, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze checks the units")
    plain, at, _ = name.partition("@")
    text = (DEPLOY / f"{plain}{at}.service").read_text()
    # The programs must be there, which they are only where it is installed.
    unit = tmp_path / f"{name}.service"
    unit.write_text(re.sub("/opt/reid-stream/bin/[a-z-]+", sys.executable, text))
    done = subprocess.run(
        ["systemd-analyze", "verify", unit],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "LC_ALL": "C"},
    )
    # Keys of newer versions are ignored by older ones.
    newer = ("RestartSteps", "RestartMaxDelaySec")
    ours = [line for line in done.stderr.splitlines() if str(tmp_path) in line]
    assert (done.returncode, [line for line in ours if not any(key in line for key in newer)]) == (0, [])
