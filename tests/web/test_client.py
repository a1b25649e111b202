"""A typed client that is generated from the OpenAPI document works against the real server (`make client`)."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.web.site import Shop

PYTHON = os.environ.get("REID_STREAM_CLIENT")
"""Python of the environment that has the generator, see the Makefile: it needs other versions than the daemon."""
pytestmark = [pytest.mark.slow, pytest.mark.skipif(PYTHON is None, reason="extra: a client's generator (make client)")]


def test_people_journeys_cameras_and_problems_are_typed(web: Shop, tmp_path: Path) -> None:
    assert PYTHON is not None
    document, config = tmp_path / "openapi.json", tmp_path / "config.yaml"
    document.write_bytes(web.get("/api/v1/openapi.json").body)
    config.write_text("package_name_override: reid_stream_client\npost_hooks: []\n")
    client = tmp_path / "reid_stream_client"
    generate: list[str | Path] = [
        "generate",
        "--path",
        document,
        "--config",
        config,
        "--output-path",
        client,
        "--meta",
        "none",
    ]
    generator = Path(PYTHON).with_name("openapi-python-client")
    made = subprocess.run([generator, *generate], capture_output=True, text=True, timeout=90, check=False)
    assert made.returncode == 0, made.stdout + made.stderr
    # Pictures in and out are no types of a client; all else must be generated.
    lost = [line for line in made.stdout.splitlines() if "will not be generated" in line]
    assert [line for line in lost if "/api/v1/search" not in line] == []
    session = Path(__file__).with_name("client_session.py")
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path)}
    used = subprocess.run(
        [PYTHON, session, web.url], capture_output=True, text=True, timeout=90, env=environment, check=False
    )
    assert used.returncode == 0, used.stderr
    assert json.loads(used.stdout) == {
        "people": ["shop-3", "shop-1"],
        "total": 3,
        "journey": ["door", "till"],
        "missing": [404, "no person is called shop-99"],
        "cameras": ["door", "till"],
    }
