"""A message about a typing error in cams.yaml never shows the password it hit."""

from pathlib import Path

import pytest

from reid_stream.config.cams_yaml import load
from reid_stream.errors import ConfigError


@pytest.mark.parametrize(
    "text",
    [
        "cameras:\n  - id:door password:hunter2\n",
        "cameras:\n  - id: door\n    url: rtsp://h/x\n  - 'id: till, password = hunter2'\n",
        "redis: password hunter2\ncameras: [{id: a, url: x.mp4}]\n",
        "site: 'x\n  password: hunter2'\ncameras: [{id: a, url: x.mp4}]\n",
        "site: 'pwd=hunter2'\ncameras: [{id: a, url: x.mp4}]\n",
        "cameras: [{id: 'rtsp://me:hunter2@h/x', url: x.mp4}]\n",
    ],
)
def test_a_slip_of_the_pen_shows_no_password(text: str, tmp_path: Path) -> None:
    path = tmp_path / "cams.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match="cams.yaml") as caught:
        load(path, {})
    assert "hunter2" not in str(caught.value)
