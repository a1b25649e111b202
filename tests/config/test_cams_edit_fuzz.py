"""Any text that is set through the API is stored as it is, and changes nothing else of cams.yaml; or is refused."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reid_stream.config import cams_edit, cams_yaml
from reid_stream.errors import ConfigError

PIECES = st.one_of(
    st.sampled_from(
        ["\n", "\r", "\x85", "\u2028", "\ufeff", "\0", "\t", " ", "#", ": ", "- ", "{", "}", "[", "]", ",", "&a", "*a",
         "!!python/object", "%YAML 1.1", "|", ">", "'", '"', "\\", "null", "yes", "0x1f", "1e3", ".inf", "2020-01-01",
         "<<", "@", "`", "---", "...", "$", "$$"]
    ),
    st.characters(),
)  # fmt: skip


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.lists(PIECES, min_size=1, max_size=6).map("".join))
def test_a_password_is_stored_as_it_is_or_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "cams.yaml"
    path.write_text("site: shop\ncameras:\n  - {id: door, url: rtsp://10.0.0.5/door}\n")
    before = path.read_text()
    new = {"id": "yard", "url": "rtsp://10.0.0.7/yard", "username": "u", "password": text}
    try:
        cams_edit.add_camera(path, new)
    except ConfigError:
        assert path.read_text() == before
        return
    found = cams_yaml.load(path)
    assert [camera.id for camera in found.cameras] == ["door", "yard"]
    assert found.site == "shop"
    assert found.cameras[1].password is not None
    assert found.cameras[1].password.get_secret_value() == text


@pytest.mark.parametrize("text", ["a\x85b", "a\u2028b", "a\rb", "a\x1b]0;b\x07", "\ud800"])
def test_text_that_is_no_printable_line_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="must be printable text of one line"):
        cams_edit.check_plain({"username": text})
