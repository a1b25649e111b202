"""Attacks with names, paths, images, floods and slowness on a real server; each must be refused."""

import http.client
import io
import re
import socket
import struct
import time
import zlib
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from reid_stream.config.settings import Web
from reid_stream.events import IdentityNamed
from reid_stream.records import GlobalId
from reid_stream.web import server
from reid_stream.web.accounts import put_user
from tests.web.site import RUN, T0, Answer, Shop, instructions, raw, shop

API = "/api/v1"
PASSWORD = "viewer-password"


# What is shown


def test_every_answer_forbids_foreign_and_inline_code(web: Shop) -> None:
    for answer in map(web.get, ("/people", f"{API}/people", "/nothing", "/static/console.js", f"{API}/people/x")):
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"


def test_pages_hold_no_inline_code_or_style_and_load_nothing_from_elsewhere(web: Shop) -> None:
    for path in ("/people", "/people/shop-1", "/cameras", "/search", "/review", "/events", "/topology", "/system"):
        page = web.get(path).body.decode()
        for bad in (" style=", " onclick=", "javascript:", "<style", "https://"):
            assert bad not in page, (path, bad)
        assert page.count("<script") == page.count("<script src=") + page.count("<script type=")


def test_names_are_text_whatever_they_hold(tmp_path: Path) -> None:
    attack = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"
    with shop(tmp_path) as made:
        made.publish([IdentityNamed(person=GlobalId("shop-1"), revision=2, label=attack, by=attack, named_at=T0 + 50)])
        for path in ("/people", "/people/shop-1", "/people/shop-2", "/events", "/cameras", "/corrections"):
            page = made.get(path).body.decode()
            assert "<script>alert" not in page
            assert "<img src=x" not in page
        assert made.get(f"{API}/people/shop-1").json["label"] == attack
        answer = made.get("/people?text=" + "%3Cscript%3Ealert(1)%3C/script%3E")
        assert b"<script>alert" not in answer.body


# Files, pictures, addresses


@pytest.mark.parametrize(
    "path",
    ["/static/../app.py", "/static/..%2fapp.py", "/static/%2e%2e/app.py", "/static//etc/passwd", "/static/..\\app.py",
     f"{API}/tracks/..%2f..%2f..%2fetc/x/1/crops/1", f"{API}/tracks/door/..%2f..%2f{RUN}/1/crops/1",
     f"{API}/tracks/door/%2e%2e/1/crops/1", f"{API}/tracks/door/{RUN}/1/crops/..%2f..%2ftrack.json",
     f"{API}/people/..%2f..%2fetc/picture"],
)  # fmt: skip
def test_no_path_leads_out_of_the_store_or_the_static_files(web: Shop, path: str) -> None:
    head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    assert raw(web, head.encode()).split()[1] in (b"404", b"422", b"400")


def png(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header claims this size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


def upload(made: Shop, body: bytes, kind: str = "image/png") -> Answer:
    answer = made.ask("POST", f"{API}/search", body, Content_Type=kind)
    for _ in range(60):
        if answer.status != 429:
            break
        time.sleep(1)
        answer = made.ask("POST", f"{API}/search", body, Content_Type=kind)
    return answer


def animation() -> bytes:
    frames = [Image.new("RGB", (64, 64), (40 * place, 0, 200)) for place in range(6)]
    out = io.BytesIO()
    frames[0].save(out, "WEBP", save_all=True, append_images=frames[1:])
    return out.getvalue()


@pytest.mark.parametrize(
    "body",
    [png(60_000, 60_000), png(100_000, 16), png(4, 4), png(64, 64), b"", b"\xff\xd8\xff\xe0 no picture", b"<svg/>",
     b"GIF89a" + bytes(100), b"http://169.254.169.254/latest/meta-data/", animation()],
    ids=["bomb", "ribbon", "speck", "cut off", "empty", "broken", "svg", "gif", "address", "animation"],
)  # fmt: skip
def test_no_upload_but_a_sound_image_is_decoded(web: Shop, body: bytes) -> None:
    began = time.monotonic()
    assert upload(web, body).status == 422
    assert time.monotonic() - began < 70


def test_an_upload_beyond_the_limit_is_refused_before_it_is_read(web: Shop) -> None:
    head = (
        f"POST {API}/search HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/png\r\n"
        f"Content-Length: {1 << 40}\r\nConnection: close\r\n\r\n"
    )
    assert raw(web, head.encode()).split()[1] == b"413"
    chunks = b"".join(b"100000\r\n" + bytes(1 << 20) + b"\r\n" for _ in range(9)) + b"0\r\n\r\n"
    head = (
        f"POST {API}/search HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/png\r\n"
        "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    )
    with suppress(ConnectionError):  # the server may hang up in the middle of it
        assert raw(web, head.encode() + chunks).split()[1] == b"413"
    assert web.ask("POST", f"{API}/instructions", b" " * (300 << 10)).status == 413


def test_no_request_makes_the_server_connect_anywhere(web: Shop) -> None:
    document = web.get(f"{API}/openapi.json").json
    names: list[str] = []

    def collect(node: Any) -> None:
        if isinstance(node, dict):
            names.extend(node.get("properties", {}))
            names.extend(one["name"] for one in node.get("parameters", []))
            for value in node.values():
                collect(value)
        elif isinstance(node, list):
            for value in node:
                collect(value)

    collect(
        {
            "paths": document["paths"],
            "bodies": {k: document["components"]["schemas"][k] for k in ("Correction", "Review", "Login")},
        }
    )
    assert not {"url", "uri", "host", "address", "callback"} & {name.lower() for name in names}


# Requests that a proxy in front would split elsewhere

_HIDDEN = (
    b"POST /api/v1/instructions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Content-Length: 60\r\n\r\n"
    b'{"do":"name","person":"shop-1","label":"smuggled","wait_s":0}'
)
_SMUGGLING = {
    "both lengths": b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG",
    "both lengths, the other way": b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
    "two lengths": b"Content-Length: 0\r\nContent-Length: 60\r\n\r\n",
    "a signed length": b"Content-Length: +0\r\n\r\n",
    "a space before the colon": b"Content-Length : 60\r\n\r\n",
    "two encodings": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "an unknown encoding": b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "a line feed alone": b"X: a\nContent-Length: 0\r\n\r\n",
    "line feeds alone": b"X: a\n\n",
    "a carriage return alone": b"X: a\rContent-Length: 60\r\n\r\n",
    "a chunk of hexadecimal notation": b"Transfer-Encoding: chunked\r\n\r\n0x0\r\n\r\n",
}


@pytest.mark.parametrize("how", _SMUGGLING)
def test_a_request_with_an_ambiguous_end_is_refused_with_all_behind_it(web: Shop, how: str) -> None:
    before = len(instructions(web))
    found = raw(web, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + _SMUGGLING[how] + _HIDDEN)
    assert re.findall(rb"HTTP/1.1 (\d+)", found) == [b"400"]
    assert len(instructions(web)) == before


def test_a_second_request_is_held_to_the_same_rules(web: Shop) -> None:
    whole = b"GET /static/icon.svg HTTP/1.1\r\nHost: localhost\r\n\r\n"
    found = raw(web, whole + b"GET / HTTP/1.1\r\nHost: localhost\r\nX: a\nY: b\r\n\r\n")
    assert re.findall(rb"HTTP/1.1 (\d+)", found) == [b"200", b"400"]


# Floods and slow clients


def test_guessing_passwords_is_slowed_down(tmp_path: Path) -> None:
    put_user(tmp_path / "users.json", "vera", "viewer", PASSWORD)
    with shop(tmp_path / "shop", Web(users_file=tmp_path / "users.json")) as made:
        answers = [
            made.ask("POST", f"{API}/session", {"name": "vera", "password": "guess-number-x"}) for _ in range(10)
        ]
        assert [answer.status for answer in answers].count(401) <= 7
        assert answers[-1].status == 429
        assert int(answers[-1].headers["retry-after"]) >= 1


def test_a_client_that_sends_its_head_in_drips_is_cut_off(web: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "HEAD_S", 0.5)
    with socket.create_connection(("127.0.0.1", web.port), 10) as slow:
        slow.sendall(b"GET /people HTTP/1.1\r\nHost: 127.0")
        assert slow.recv(1024) == b""
    assert web.get(f"{API}/people").status == 200


def test_event_streams_are_bounded_per_address_and_given_back(web: Shop) -> None:
    head = f"GET {API}/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
    held = []
    try:
        for _ in range(8):
            connection = socket.create_connection(("127.0.0.1", web.port), 10)
            connection.sendall(head)
            assert connection.recv(4096).split()[1] == b"200"
            held.append(connection)
        assert web.get(f"{API}/events").status == 429
    finally:
        for connection in held:
            connection.close()
    end = time.monotonic() + 20
    while True:
        with socket.create_connection(("127.0.0.1", web.port), 10) as connection:
            connection.sendall(head)
            if connection.recv(4096).split()[1] == b"200":
                break
        assert time.monotonic() < end
        time.sleep(0.2)


def test_a_flood_is_answered_with_429_and_others_are_still_served(tmp_path: Path) -> None:
    with shop(tmp_path) as made:

        def ask(connection: http.client.HTTPConnection) -> int:
            connection.request("GET", "/static/icon.svg")
            answer = connection.getresponse()
            answer.read()
            return answer.status

        with closing(http.client.HTTPConnection("127.0.0.1", made.port, 10)) as flood:
            statuses = [ask(flood)]
            while statuses[-1] == 200 and len(statuses) < 20_000:
                statuses.append(ask(flood))
        assert statuses[-1] == 429
        assert len(statuses) > 300
        with closing(http.client.HTTPConnection("127.0.0.1", made.port, 10, ("127.0.0.2", 0))) as other:
            assert ask(other) == 200


def test_websockets_are_refused(web: Shop) -> None:
    head = (
        "GET /people HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", web.port), 10) as connection:
        connection.sendall(head.encode())
        assert connection.recv(4096).split()[1] != b"101"
