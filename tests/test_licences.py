"""The package's metadata names the licence of everything in it."""

import tomllib
from pathlib import Path

from reid_stream.bundles.bundle import load
from reid_stream.bundles.catalog import SHIPPED

ROOT = Path(__file__).parents[1]
SPDX = {"AGPL-3.0": "AGPL-3.0-only", "Research only": "LicenseRef-Research-Only"}


def test_every_shipped_bundle_has_its_licence_in_a_file_and_in_the_metadata() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    files = {file for pattern in project["license-files"] for file in ROOT.glob(pattern)}
    parts = set(project["license"].split(" AND "))
    assert "Apache-2.0" in parts
    for folder in [path.parent for path in SHIPPED.glob("*/bundle.json")]:
        assert folder / "LICENSE" in files
        assert SPDX[load(folder).licence.split(":")[0]] in parts
