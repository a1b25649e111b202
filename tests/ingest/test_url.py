"""Camera URLs: passwords of any shape reach the camera alone, and names show none."""

import pytest
from pydantic import SecretStr

from reid_stream.config.settings import Camera
from reid_stream.errors import StreamError
from reid_stream.ingest.url import address

SECRET = "hunter2"


def at(url: str) -> Camera:
    return Camera.model_validate({"id": "a", "url": url})


@pytest.mark.parametrize(
    ("url", "login"),
    [
        ("rtsp://admin:hunter2#x@10.0.0.5/s", "admin:hunter2%23x"),
        ("rtsp://admin:a?hunter2@10.0.0.5/s", "admin:a%3Fhunter2"),
        ("rtsp://admin:hunter2@x@10.0.0.5/s", "admin:hunter2%40x"),
        ("rtsp://admin:hunter2%zz@10.0.0.5/s", "admin:hunter2%25zz"),
        ("rtsp://admin:hunter2%23@10.0.0.5/s", "admin:hunter2%23"),
        ("rtsp://admin:a:b:hunter2@10.0.0.5/s", "admin:a%3Ab%3Ahunter2"),
        ("rtsp://:hunter2@10.0.0.5/s", ":hunter2"),
        ("rtsp://hunter2@10.0.0.5/s", "hunter2"),
    ],
)
def test_a_password_of_any_shape_ends_at_the_last_at_sign(url: str, login: str) -> None:
    where = address(at(url))
    assert where.name == "rtsp://10.0.0.5/s"
    assert where.secret == f"rtsp://{login}@10.0.0.5/s"


@pytest.mark.parametrize(
    "url",
    [
        "rtsp://admin:hunt/hunter2@10.0.0.5/s",
        "rtsp://admin:hunter2/@10.0.0.5/s",
        "rtsp://admin:a@hunter2#@10.0.0.5/s",
        "rtsp://admin:123/hunter2@10.0.0.5/s",
        "rtsp://root:1?hunter2@10.0.0.5/s",
        "rtsp://user1:12#hunter2@10.0.0.5/s",
        "rtsp://joe:12/hunter2@10.0.0.5/s",
        "rtsp://joe:12/hunter2@cam",
        "rtsp://joe.smith:12/hunter2@cam/s",
        "rtsp://joe:8554/hunter2@cam.local:554/s",
        "rtsp://jo/e:hunter2@10.0.0.5/s",
        "rtsp://jo#e:hunter2@[fe80::1]/s",
        "rtsp://joe:/hunter2@10.0.0.5/s",
        "rtsp://joe@corp.com:hunter2/x@10.0.0.5/s",
        "rtsp://admin:12@hunter2/x@10.0.0.5/s",
    ],
)
def test_a_password_that_cannot_be_separated_from_the_host_is_refused_with_advice(url: str) -> None:
    with pytest.raises(StreamError, match="put it into `username` and `password`") as refused:
        address(at(url))
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("rtsp://10.0.0.5/user=admin_password=hunter2_channel=1.sdp", "rtsp://10.0.0.5/user=admin_password=***"),
        ("rtsp://10.0.0.5/user=a&password=hunter2&channel=1", "rtsp://10.0.0.5/user=a&password=***"),
        ("rtsp://10.0.0.5:554/0/admin:hunter2/main", "rtsp://10.0.0.5:554/0/admin:***/main"),
        ("rtsp://10.0.0.5/ch1/av_stream;passwd=hunter2", "rtsp://10.0.0.5/ch1/av_stream;passwd=***"),
        ("http://10.0.0.5/videostream.cgi?user=a&pwd=hunter2", "http://10.0.0.5/videostream.cgi"),
        ("http://10.0.0.5/snap.jpg?u=a&p=hunter2#x", "http://10.0.0.5/snap.jpg"),
        ("rtsps://10.0.0.5:7441/hunter2token?enableSrtp", "rtsps://10.0.0.5:7441/***"),
        ("rtsp://10.0.0.5:7447/hunter2token", "rtsp://10.0.0.5:7447/***"),
        ("rtsp://HOST/live@main", "rtsp://HOST/***@main"),
        ("rtsp://admin:hunter2@[fe80::1]:554/s", "rtsp://[fe80::1]:554/s"),
        ("rtsp://10.0.0.5/admin/hunter2/ch0", "rtsp://10.0.0.5/admin/***/ch0"),
        ("rtsp://10.0.0.5/token/hunter2", "rtsp://10.0.0.5/token/***"),
        ("rtsp://10.0.0.5/loginuse=admin_loginpas=hunter2", "rtsp://10.0.0.5/loginuse=admin_loginpas=***"),
        ("rtsp://10.0.0.5/user%3Dadmin_password%3Dhunter2", "rtsp://10.0.0.5/user=admin_password=***"),
        ("rtsp://10.0.0.5/live/0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9", "rtsp://10.0.0.5/live/***"),
        ("rtsp://10.0.0.5/live/api_key/hunter2", "rtsp://10.0.0.5/live/api_key/***"),
        ("rtsp://10.0.0.5/auth_token/hunter2/x", "rtsp://10.0.0.5/auth_token/***/x"),
        ("rtsp://10.0.0.5/access-token/hunter2", "rtsp://10.0.0.5/access-token/***"),
        ("rtsp://10.0.0.5/administrator/hunter2", "rtsp://10.0.0.5/administrator/***"),
        ("rtsp://10.0.0.5/%61dmin/hunter2", "rtsp://10.0.0.5/%61dmin/***"),
        ("rtsp://10.0.0.5/live/admin,hunter2", "rtsp://10.0.0.5/live/admin,***"),
        ("rtsp://10.0.0.5/admin&hunter2", "rtsp://10.0.0.5/admin&***"),
        ("rtsp://10.0.0.5/live/token-hunter2", "rtsp://10.0.0.5/live/token-***"),
        ("rtsp://10.0.0.5/ch1_pass_hunter2", "rtsp://10.0.0.5/ch1_pass_***"),
        ("http://10.0.0.5/v;jsessionid=hunter2", "http://10.0.0.5/v;jsessionid=***"),
        ("rtsp://10.0.0.5/live/mima=hunter2", "rtsp://10.0.0.5/live/mima=***"),
        ("rtsp://10.0.0.5/clave/hunter2", "rtsp://10.0.0.5/clave/***"),
        ("rtmp://10.0.0.5/app/hunter2?vhost=x", "rtmp://10.0.0.5/app/***"),
        ("rtmp://10.0.0.5/app", "rtmp://10.0.0.5/app"),
        ("rtsp://10.0.0.5/monkey/keyhole/passage", "rtsp://10.0.0.5/monkey/***/***"),
        ("rtsp://10.0.0.5/pass_word=hunter2", "rtsp://10.0.0.5/pass_word=***"),
        ("rtsp://10.0.0.5/verifycode=hunter2", "rtsp://10.0.0.5/verifycode=***"),
        ("rtsp://10.0.0.5/x9z1=hunter2", "rtsp://10.0.0.5/x9z1=***"),
        ("rtsp://10.0.0.5/admin_hunter2/ch0", "rtsp://10.0.0.5/admin_***/ch0"),
        ("rtsp://10.0.0.5/live/user1/hunter2", "rtsp://10.0.0.5/live/user1/***"),
        ("rtsp://10.0.0.5/pin/hunter2", "rtsp://10.0.0.5/pin/***"),
        ("rtsp://10.0.0.5/live%2Ftoken%2Fhunter2", "rtsp://10.0.0.5/live/token/***"),
        ("rtsp://10.0.0.5/admin%253Ahunter2/live", "rtsp://10.0.0.5/admin:***/live"),
        ("rtsp://10.0.0.5/eyJhbGciOiJIUzI1NiJ9.hunter2.x", "rtsp://10.0.0.5/***"),
        ("rtsp://10.0.0.5/live/YWRtaW46aHVudGVyMg", "rtsp://10.0.0.5/live/***"),
        ("rtsp:/admin:hunter2@10.0.0.5/s", "***@10.0.0.5/s"),
        ("rtsp://10.0.0.5/Streaming/Channels/101", "rtsp://10.0.0.5/Streaming/Channels/101"),
    ],
)
def test_a_name_shows_nothing_that_may_be_a_secret(url: str, name: str) -> None:
    where = address(at(url))
    assert where.name == name
    assert SECRET not in repr(where)


@pytest.mark.parametrize(
    "path",
    [
        "cam/realmonitor",
        "h264Preview_01_main",
        "Streaming/channels/102/httpPreview",
        "axis-media/media.amp",
        "avstream/channel=1/stream=0.sdp",
        "profile1/media.smp",
        "unicast/c1/s0/live",
        "trackID=1",
        "MediaInput/h264/stream_1",
    ],
)
def test_a_name_shows_the_paths_of_common_cameras(path: str) -> None:
    assert address(at(f"rtsp://10.0.0.5/{path}")).name == f"rtsp://10.0.0.5/{path}"


@pytest.mark.parametrize(
    "rest",
    ["cam1:9000/live@main/x", "cam1/live@main.sdp", "go2rtc:1984/api?src=rtsp://u:p@10.0.0.5/s", "c:80/?a=b@c.de"],
)
def test_an_at_sign_behind_the_host_is_no_login(rest: str) -> None:
    where = address(at(f"http://{rest}"))
    assert (where.login, where.through(9).removeprefix("http://127.0.0.1:9")) == ("", rest[rest.index("/") :])


def test_hosts_and_paths_outside_of_ascii() -> None:
    where = address(at("http://u:p@[fe80::1%25eth0]:81/größe 1?a=b c"))
    assert (where.endpoint.host, where.host_header) == ("fe80::1%eth0", "[fe80::1]:81")  # type: ignore[union-attr]
    assert where.through(9) == "http://u:p@127.0.0.1:9/gr%C3%B6%C3%9Fe%201?a=b%20c"
    assert address(at("http://kämera.local:81/s")).host_header == "xn--kmera-gra.local:81"


def test_an_at_sign_in_the_path_is_no_login() -> None:
    camera = at("rtsp://HOST/live@main").model_copy(update={"username": "u", "password": SecretStr("p@/#")})
    assert address(camera).secret == "rtsp://u:p%40%2F%23@HOST/live@main"
