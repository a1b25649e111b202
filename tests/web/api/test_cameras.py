"""Cameras are added, changed, tested and removed through the API, by admins, within the networks of cameras only."""

import base64
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from pydantic import SecretStr

from benchmarks.rtsp.clips import draw_clip, serve_clips, why_not
from reid_stream.config import cams_yaml
from reid_stream.config.settings import Web
from reid_stream.errors import ConfigError
from reid_stream.web.camera_address import check_address
from tests.ingest.test_onvif import answer, ask_at, responder
from tests.web.site import Shop, shop

API = "/api/v1/cameras"
TOKEN = "a-token-of-some-length"
NETWORKS = ("10.0.0.0/8", "127.0.0.0/8")


@pytest.fixture(scope="module")
def cams(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cams") / "cams.yaml"
    path.write_text(
        "cameras:\n  # by the entrance\n  - {id: door, url: rtsp://10.0.0.5/door, username: u, password: hunter22}\n"
    )
    return path


@pytest.fixture(scope="module")
def admin(tmp_path_factory: pytest.TempPathFactory, cams: Path) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("admin")
    with shop(folder, Web(token=SecretStr(TOKEN), token_role="admin", camera_networks=NETWORKS), cams) as made:
        yield made


AUTH = {"Authorization": f"Bearer {TOKEN}"}


def test_a_camera_is_added_changed_and_removed_and_comments_stay(admin: Shop, cams: Path) -> None:
    body = {"id": "yard", "url": "rtsp://10.0.0.7/yard", "username": "u", "password": "hunter23", "max_fps": 5}
    added = admin.ask_patiently("POST", API, body, **AUTH)
    assert (added.status, added.json["camera"], added.json["max_fps"]) == (201, "yard", 5)
    assert admin.ask_patiently("POST", API, body, **AUTH).status == 409
    changed = admin.ask_patiently("PATCH", f"{API}/yard", {"max_fps": None, "region": [[0, 0], [1, 0], [1, 1]]}, **AUTH)
    assert (changed.status, changed.json["max_fps"], changed.json["region"]) == (200, 10, [[0, 0], [1, 0], [1, 1]])
    shown = admin.ask_patiently("GET", f"{API}/yard/settings", None, **AUTH)
    assert (shown.json["has_password"], b"hunter" in shown.body) == (True, False)
    camera = cams_yaml.load(cams).cameras[1]
    assert camera.password is not None
    assert camera.password.get_secret_value() == "hunter23"
    assert admin.ask_patiently("DELETE", f"{API}/yard", None, **AUTH).status == 204
    assert admin.ask_patiently("DELETE", f"{API}/yard", None, **AUTH).status == 404
    assert "# by the entrance" in cams.read_text()


def test_zones_and_lines_are_kept_in_the_file_with_its_comments(admin: Shop, cams: Path) -> None:
    square = [[0.1, 0.5], [0.5, 0.5], [0.5, 0.9]]
    body = {"zones": {"queue": square}, "lines": {"gate": [[0.7, 0.3], [0.75, 0.9]]}}
    saved = admin.ask_patiently("PATCH", f"{API}/door", body, **AUTH)
    assert (saved.status, saved.json["zones"], saved.json["lines"]) == (200, body["zones"], body["lines"])
    door = cams_yaml.load(cams).cameras[0]
    assert [list(map(list, door.zones["queue"])), list(map(list, door.lines["gate"]))] == [
        square,
        body["lines"]["gate"],
    ]
    assert "# by the entrance" in cams.read_text()
    assert "queue: [[0.1, 0.5], [0.5, 0.5], [0.5, 0.9]]" in cams.read_text()
    removed = admin.ask_patiently("PATCH", f"{API}/door", {"zones": {}, "lines": {}}, **AUTH)
    assert (removed.json["zones"], removed.json["lines"]) == ({}, {})


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        ({"url": "rtsp://169.254.169.254/latest"}, 422, "web.camera_networks"),
        ({"url": "http://[::ffff:169.254.169.254]/"}, 422, "web.camera_networks"),
        ({"url": "http://8.8.8.8/x"}, 422, "web.camera_networks"),
        ({"url": "file:///etc/passwd"}, 422, "url"),
        ({"url": "/etc/passwd"}, 422, "url"),
        ({"url": "rtsp://10.0.0.5/${PATH}"}, 422, "must be printable text"),
        ({"username": "a\u0085b"}, 422, "must be printable text"),
        ({"password": "a\u2028b\r"}, 422, "must be printable text"),
        ({"password_file": "/etc/shadow"}, 422, "password_file"),
        ({"max_fps": -3}, 422, "cameras[0].max_fps: must be greater than 0"),
    ],
)
def test_what_would_reach_other_services_files_or_variables_is_refused(
    admin: Shop, cams: Path, body: dict[str, object], status: int, text: str
) -> None:
    before = cams.read_text()
    answer = admin.ask_patiently("PATCH", f"{API}/door", body, **AUTH)
    assert (answer.status, text in answer.body.decode()) == (status, True), answer.body
    tested = admin.ask_patiently("POST", f"{API}/test", {"id": "x", "url": "rtsp://10.0.0.5/x", **body}, **AUTH)
    assert tested.status == 422, tested.body
    assert cams.read_text() == before


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"zones": {"queue": [[0, 0], [1, 1]]}}, "a polygon needs at least 3 points"),
        ({"zones": {"queue": [[0, 0]] * 101}}, "at most 100 items"),
        ({"lines": {"gate": [[0, 0], [float("nan"), 1]]}}, "finite"),
        ({"lines": {"gate": [[0, 0], [0, 0]]}}, "two different points"),
    ],
)
def test_zones_and_lines_that_are_none_are_refused(admin: Shop, cams: Path, body: object, text: str) -> None:
    before = cams.read_text()
    answer = admin.ask_patiently("PATCH", f"{API}/door", body, **AUTH)
    assert (answer.status, text in answer.body.decode()) == (422, True), answer.body
    assert cams.read_text() == before


@pytest.mark.slow
@pytest.mark.parametrize("where", ["10.6.6.6/x", "10.0.0.5:5540/door", "u:p@10.6.6.6/x"])
def test_a_stored_password_goes_to_no_other_host_or_port(admin: Shop, cams: Path, where: str) -> None:
    assert admin.ask_patiently("PATCH", f"{API}/door", {"password": "hunter22"}, **AUTH).status == 200
    before = cams.read_text()
    for key in ("url", "detect_url"):
        for method, path in (("PATCH", f"{API}/door"), ("POST", f"{API}/door/test")):
            answer = admin.ask_patiently(method, path, {key: f"rtsp://{where}"}, **AUTH)
            assert (answer.status, b"password: must be given again" in answer.body) == (422, True), answer.body
    assert cams.read_text() == before
    assert admin.ask_patiently("PATCH", f"{API}/door", {"url": "rtsp://10.0.0.5/other"}, **AUTH).status == 200
    assert admin.ask_patiently("PATCH", f"{API}/door", {"url": "rtsp://10.0.0.5/door"}, **AUTH).status == 200
    moved = admin.ask_patiently(
        "PATCH", f"{API}/door", {"url": f"rtsp://{where.rpartition('@')[2]}", "password": "hunter24"}, **AUTH
    )
    assert moved.status == 200, moved.body
    back = admin.ask_patiently("PATCH", f"{API}/door", {"url": "rtsp://10.0.0.5/door", "password": "hunter22"}, **AUTH)
    assert back.status == 200, back.body


@pytest.mark.slow
@pytest.mark.skipif(why_not() is not None, reason=str(why_not()))
def test_an_address_is_tested_before_it_is_saved(admin: Shop, cams: Path, tmp_path: Path) -> None:
    before = cams.read_text()
    with serve_clips({"a": str(draw_clip(tmp_path / "a.mp4", seconds=20))}) as server:
        works = admin.ask_patiently("POST", f"{API}/test", {"id": "x", "url": server.url("a")}, **AUTH)
        assert (works.json["works"], works.json["codec"], works.json["frame_size"]) == (True, "h264", [320, 240])
        picture = cv2.imdecode(np.frombuffer(base64.b64decode(works.json["picture"]), np.uint8), cv2.IMREAD_COLOR)
        assert picture is not None
        assert picture.shape == (240, 320, 3)
        assert picture.std() > 10
        moved = admin.ask_patiently("POST", f"{API}/door/test", {"url": server.url("a"), "password": "another"}, **AUTH)
        assert (moved.json["works"], moved.json["picture"] is not None) == (True, True)
        fails = admin.ask_patiently("POST", f"{API}/test", {"id": "x", "url": "rtsp://127.0.0.1:9/x"}, **AUTH)
        assert (fails.json["works"], fails.json["cause"]) == (False, "unreachable")
    assert cams.read_text() == before


def test_onvif_cameras_of_the_networks_are_found(admin: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    hosts = ("10.0.0.5", "10.0.0.77", "8.8.8.8")
    addresses = [f"http://{host}/onvif/device_service" for host in hosts]
    with responder(lambda message: [answer(message, address) for address in addresses]) as port:
        ask_at(monkeypatch, port)
        found = admin.ask_patiently("POST", f"{API}/discover", {}, **AUTH)
    assert [(one["address"], one["is_known"]) for one in found.json] == [
        ("rtsp://10.0.0.5", True),
        ("rtsp://10.0.0.77", False),
    ]


@pytest.mark.slow
@pytest.mark.skipif(why_not() is not None, reason=str(why_not()))
def test_of_a_host_alone_the_path_is_found(admin: Shop, tmp_path: Path) -> None:
    with serve_clips({"stream1": str(draw_clip(tmp_path / "a.mp4", seconds=20))}) as server:
        base = server.url("stream1").removesuffix("/stream1")
        found = admin.ask_patiently("POST", f"{API}/test", {"id": "x", "url": base}, **AUTH).json
    assert (found["works"], found["url"]) == (True, f"{base}/stream1")


def test_operators_and_viewers_may_not(tmp_path: Path, cams: Path) -> None:
    with shop(tmp_path, Web(token=SecretStr(TOKEN), token_role="operator", camera_networks=NETWORKS), cams) as made:
        for method, path, body in (
            ("GET", f"{API}/door/settings", None),
            ("POST", API, {"id": "x", "url": "rtsp://10.0.0.9/x"}),
            ("POST", f"{API}/test", {"id": "x", "url": "rtsp://10.0.0.9/x"}),
            ("POST", f"{API}/door/test", {}),
            ("POST", f"{API}/discover", {}),
            ("GET", "/add-camera", None),
            ("PATCH", f"{API}/door", {"max_fps": 1}),
            ("PATCH", f"{API}/door", {"zones": {}}),
            ("DELETE", f"{API}/door", None),
        ):
            assert made.ask(method, path, body, **AUTH).status == 403, (method, path)


def test_a_site_without_a_file_has_nothing_to_change(web: Shop) -> None:
    answer = web.ask("PATCH", f"{API}/door", {"max_fps": 1})
    assert (answer.status, b"no cams.yaml" in answer.body) == (409, True)


def test_a_name_must_have_only_addresses_of_the_networks() -> None:
    check_address("rtsp://user:pa@localhost/x", ["127.0.0.0/8", "::1/128"])
    with pytest.raises(ConfigError, match=r"in one of web.camera_networks \(10.0.0.0/8\)"):
        check_address("rtsp://localhost/x", ["10.0.0.0/8"])
    with pytest.raises(ConfigError, match="must name a host"):
        check_address("rtsp:///x", ["10.0.0.0/8"])
    with pytest.raises(ConfigError, match="must have an address"):
        check_address("rtsp://no-such-host.invalid/x", ["10.0.0.0/8"])
