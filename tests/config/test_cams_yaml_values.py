"""Values of cams.yaml: variables, secret files, paths, URLs; and settings that come from no file."""

from pathlib import Path

import pytest

from reid_stream.config.cams_yaml import load
from reid_stream.config.sources import load_settings
from reid_stream.errors import ConfigError
from tests.config.test_cams_yaml import CAMERAS, message_of, write


def test_variables_and_secret_files_are_filled_in(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("p@ss/w:rd \nsecond line\n")
    loaded = load(
        write(
            tmp_path,
            "redis: {url: '${REDIS:-redis://localhost}', password: '$${literal}'}\n"
            "observe: {port: '${PORT}'}\n"
            "cameras:\n  - {id: a, url: 'rtsp://${HOST}/s', username: u, password_file: secret}\n",
        ),
        {"PORT": "9000", "HOST": "10.0.0.9", "REDIS": ""},
    )
    assert loaded.observe.port == 9000
    assert loaded.redis.url.get_secret_value() == "redis://localhost"
    assert loaded.redis.password is not None
    assert loaded.redis.password.get_secret_value() == "${literal}"
    camera = loaded.cameras[0]
    assert camera.url.get_secret_value() == "rtsp://10.0.0.9/s"
    assert camera.password is not None
    assert camera.password.get_secret_value() == "p@ss/w:rd"
    assert "p@ss" not in repr(loaded)


def test_a_value_from_the_environment_is_not_shown_in_a_fault(tmp_path: Path) -> None:
    message = message_of(tmp_path, CAMERAS + "    max_fps: ${RATE}\n", {"RATE": "geheim"})
    assert "found '${RATE}' with its variables filled in" in message
    assert "geheim" not in message


def test_relative_paths_start_from_the_folder_of_the_file(tmp_path: Path) -> None:
    loaded = load(
        write(
            tmp_path,
            "models: {detector: ./detector, embedder: by-name}\nredis: {directory: state}\n"
            "store: {folder: crops}\ncameras:\n"
            "  - {id: a, url: clip.avi}\n  - {id: b, url: 'file:sub/clip.avi'}\n  - {id: c, url: file:///x/clip.avi}\n"
            "  - {id: d, url: /dev/video0}\n  - {id: e, url: 'https://h/x', ca_file: own.pem}\n",
        ),
        {},
    )
    assert [camera.url.get_secret_value() for camera in loaded.cameras] == [
        str(tmp_path / "clip.avi"),
        str(tmp_path / "sub/clip.avi"),
        "/x/clip.avi",
        "/dev/video0",
        "https://h/x",
    ]
    assert loaded.cameras[-1].ca_file == tmp_path / "own.pem"
    assert loaded.models.detector == str(tmp_path / "detector")
    assert loaded.models.embedder == "by-name"
    assert loaded.redis.directory == tmp_path / "state"
    assert loaded.store.folder == tmp_path / "crops"


@pytest.mark.parametrize(
    "url",
    [
        "HOST/door",
        "10.0.0.5/door",
        "10.0.0.5",
        "door-cam:554/live",
        "cam.local/stream",
        "viewer:geheim@10.0.0.5/s",
        "localhost/x.mp4",
        "HOST/user=a_password=geheim_channel=1.sdp",
        "HOST/video.cgi?token=geheim",
        "[fe80::1]:554/s",
    ],
)
def test_a_host_without_a_scheme_is_not_taken_for_a_file(url: str, tmp_path: Path) -> None:
    message = message_of(tmp_path, f"cameras:\n  - id: a\n    url: '{url}'\n")
    assert "line 3: cameras[0].url: must begin with a scheme" in message
    assert "rtsp://HOST/PATH" in message
    assert "geheim" not in message


@pytest.mark.parametrize("url", ["door.mp4", "clips/door.mp4", "./HOST/door", "/srv/door", "clips/%04d.jpg", "~/door"])
def test_a_path_is_a_file_though_it_is_not_there_yet(url: str, tmp_path: Path) -> None:
    loaded = load(write(tmp_path, f"cameras:\n  - id: a\n    url: '{url}'\n"), {})
    assert loaded.cameras[0].url.get_secret_value().startswith("/")


def test_a_file_that_is_there_may_look_like_a_host(tmp_path: Path) -> None:
    (tmp_path / "10.0.0.5").mkdir()
    (tmp_path / "10.0.0.5" / "door").write_bytes(b"x")
    loaded = load(write(tmp_path, "cameras:\n  - {id: a, url: 10.0.0.5/door}\n"), {})
    assert loaded.cameras[0].url.get_secret_value() == str(tmp_path / "10.0.0.5" / "door")


def test_files_and_urls_make_a_site_without_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other").mkdir()
    for name in ("Front door (1).mp4", "other/street.mp4", "street.mp4"):
        (tmp_path / name).write_bytes(b"\0\1\2")
    sources = ["Front door (1).mp4", "street.mp4", "other/street.mp4", "rtsp://u:geheim@10.0.0.5:554/s", "/dev/video0"]
    loaded = load_settings([*sources, "rtsp://10.0.0.5/t", "rtsp://h/user=a_password=geheim@x"])
    assert [camera.id for camera in loaded.cameras] == [
        "Front-door-1", "street", "street-2", "10.0.0.5", "video0", "10.0.0.5-2", "h",
    ]  # fmt: skip
    assert loaded.cameras[1].url.get_secret_value() == str(tmp_path / "street.mp4")
    assert loaded.redis.is_embedded
    assert loaded.site == "site"


@pytest.mark.parametrize(
    ("sources", "part"),
    [
        (["gone.mp4"], "found nothing at gone.mp4"),
        (["."], "found a folder at ."),
        (["10.0.0.5/door"], "must begin with a scheme"),
        (["ftp://h/x"], "--cameras, cameras[0].url: must be a kind of source that can be read, found ftp://"),
        (["cams.yaml", "a.mp4"], "found both: cams.yaml among 2"),
        (["gone.yaml"], "gone.yaml: must be a readable file"),
        (["notes.txt"], "notes.txt, line 1: must be a mapping of keys"),
    ],
)
def test_sources_that_cannot_be_are_refused_in_words(
    sources: list[str], part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cams.yaml").write_text(CAMERAS)
    (tmp_path / "a.mp4").write_bytes(b"\0")
    (tmp_path / "notes.txt").write_text("a note\n")
    with pytest.raises(ConfigError) as caught:
        load_settings(sources)
    assert part in str(caught.value)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("url: 'rtsp://h/a', detect_url: clip.avi", "must be rtsp://, rtsps://, http:// or https://, found a path"),
        ("url: 'rtsp://h/a', detect_url: 'srt://h/a'", "found srt://"),
        ("url: clip.avi, detect_url: 'rtsp://h/b'", "detect_url is for cameras on the network only"),
        ("url: 'rtsp://h/a', detect_url: 'rtsp://h/a'", "must be another stream than url"),
        ("url: 'rtsp://h/a', detect_url: 'rtsp:///b'", "must name a host"),
        ("url: 'rtsp://h/a', username: u, password: p, detect_url: 'rtsp://v:SECRET@h/b'", "credentials must be in"),
    ],
)
def test_a_substream_is_another_stream_on_the_network(tmp_path: Path, keys: str, message: str) -> None:
    found = message_of(tmp_path, f"cameras:\n  - {{id: a, {keys}}}\n")
    assert "cameras[0].detect_url" in found
    assert message in found
    assert "SECRET" not in found


def test_tls_keys_may_be_for_the_substream_alone(tmp_path: Path) -> None:
    text = "cameras:\n  - {id: a, url: 'rtsp://h/a', detect_url: 'rtsps://h/b', tls: unverified}\n"
    (camera,) = load(write(tmp_path, text), {}).cameras
    assert camera.detect_url is not None
    assert camera.detect_url.get_secret_value() == "rtsps://h/b"
