"""Access control, and attacks from other sites' pages through a browser, on a real server."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from reid_stream.config.settings import Web
from reid_stream.errors import ConfigError
from reid_stream.web import accounts as module
from reid_stream.web.accounts import Accounts, put_user, remove_user
from reid_stream.web.guard import COOKIE
from reid_stream.web.limits import TooManyError
from reid_stream.web.sessions import Sessions
from tests.web.site import RUN, Shop, instructions, raw, shop

API = "/api/v1"
PASSWORDS = {"vera": "viewer-password", "otto": "operator-password", "ada": "admin-password"}
TOKEN = "a-token-of-some-length"
NAME = {"do": "name", "person": "shop-1", "label": "Ann", "wait_s": 0}


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A shop where one has to sign in."""
    folder = tmp_path_factory.mktemp("closed")
    users = folder / "users.json"
    for name, role in (("vera", "viewer"), ("otto", "operator"), ("ada", "admin")):
        put_user(users, name, role, PASSWORDS[name])  # type: ignore[arg-type]
    with shop(folder, Web(users_file=users, token=SecretStr(TOKEN))) as made:
        yield made


def sign_in(made: Shop, name: str) -> dict[str, str]:
    """Return the headers of a signed-in browser."""
    answer = made.ask("POST", f"{API}/session", {"name": name, "password": PASSWORDS[name]})
    for _ in range(60):  # other tests have used the log-ins of this address up
        if answer.status != 429:
            break
        time.sleep(1)
        answer = made.ask("POST", f"{API}/session", {"name": name, "password": PASSWORDS[name]})
    assert answer.status == 200, answer.body
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    return {"Cookie": cookie.partition(";")[0], "X_CSRF_Token": answer.json["csrf"]}


@pytest.fixture(scope="module")
def sessions(closed: Shop) -> dict[str, dict[str, str]]:
    return {name: sign_in(closed, name) for name in PASSWORDS}


# Who may come in


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::", "example.org"])
def test_other_machines_are_never_served_without_users_or_a_token(host: str) -> None:
    with pytest.raises(ConfigError, match="web.users_file, web.token or web.proxy"):
        Sessions(Web(host=host))


def test_a_short_token_and_an_empty_users_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="at least 16"):
        Sessions(Web(token=SecretStr("short")))
    with pytest.raises(ConfigError, match="readable"):
        Sessions(Web(users_file=tmp_path / "none.json"))
    (tmp_path / "empty.json").write_text("[]")
    with pytest.raises(ConfigError, match="must hold a user"):
        Sessions(Web(users_file=tmp_path / "empty.json"))


@pytest.mark.parametrize(
    "path",
    ["/people", "/people/shop-1", "/people/shop-1/picture", f"/tracks/door/{RUN}/1/crops/1", "/cameras", "/system",
     "/topology", "/events", "/events/recent", "/instructions", "/review", "/review/ids", "/session",
     f"/search?camera=door&run={RUN}&track=1", "/cameras/door/preview", "/previews?cameras=door"],
)  # fmt: skip
def test_nothing_is_served_without_a_session(closed: Shop, path: str) -> None:
    assert closed.get(API + path).status == 401


@pytest.mark.parametrize(
    "path", ["/", "/people", "/people/shop-1", "/cameras", "/events", "/system", "/review", "/search"]
)
def test_pages_send_strangers_to_the_log_in(closed: Shop, path: str) -> None:
    answer = closed.get(path)
    assert (answer.status, answer.headers["location"]) == (303, "/login")
    assert b"shop-1" not in answer.body


def test_a_wrong_password_or_name_gets_the_same_answer(closed: Shop) -> None:
    wrong = [
        closed.ask("POST", f"{API}/session", {"name": name, "password": "wrong-password"})
        for name in ("vera", "unknown")
    ]
    assert [answer.status for answer in wrong] == [401, 401]
    assert wrong[0].body == wrong[1].body


def test_a_token_is_let_in_with_its_role_alone(closed: Shop) -> None:
    right = {"Authorization": f"Bearer {TOKEN}"}
    assert closed.get(f"{API}/people", **right).status == 200
    assert closed.ask("POST", f"{API}/instructions", NAME, **right).status == 403
    assert closed.get(f"{API}/people", Authorization=f"Bearer {TOKEN}x").status == 401
    assert closed.get(f"{API}/people", Cookie=f"{COOKIE}={TOKEN}").status == 401


def test_roles_bound_what_may_be_changed(closed: Shop, sessions: dict[str, dict[str, str]]) -> None:
    erase = {"do": "erase", "person": "shop-3", "wait_s": 0}
    pair = {"pair": "0" * 16, "answer": "same"}
    found = {
        who: [
            closed.ask("POST", f"{API}/instructions", NAME, **sessions[who]).status,
            closed.ask("POST", f"{API}/review", pair, **sessions[who]).status,
            closed.ask("POST", f"{API}/instructions", erase, **sessions[who]).status,
        ]
        for who in sessions
    }
    assert found == {"vera": [403, 403, 403], "otto": [200, 404, 403], "ada": [200, 404, 200]}
    assert [one["who"] for one in instructions(closed)] == ["otto", "ada", "ada"]


VIEWERS_CHANGE = {("post", "/session"), ("delete", "/session"), ("post", "/search")}
"""What a viewer may do besides reading."""
FOR_ADMINS = {
    ("get", "/cameras/{camera}/settings"),
    ("post", "/cameras"),
    ("post", "/cameras/test"),
    ("post", "/cameras/discover"),
    ("post", "/cameras/{camera}/test"),
    ("patch", "/cameras/{camera}"),
    ("delete", "/cameras/{camera}"),
}


@pytest.mark.slow
def test_every_route_of_the_api_needs_its_role(closed: Shop, sessions: dict[str, dict[str, str]]) -> None:
    paths = closed.get(f"{API}/openapi.json", **sessions["ada"]).json["paths"]
    routes = [(method, path.removeprefix(API)) for path, methods in paths.items() for method in methods]
    assert len(routes) > 25
    assert set(routes) >= VIEWERS_CHANGE | FOR_ADMINS
    for method, path in routes:
        if path == "/session":  # signing in and out
            continue
        where = API + path.replace("{", "").replace("}", "")
        body: object = None if method == "get" else {}
        assert closed.ask_patiently(method.upper(), where, body).status == 401, (method, path)
        is_change = method != "get" and (method, path) not in VIEWERS_CHANGE
        for who, is_refused in (
            ("vera", is_change or (method, path) in FOR_ADMINS),
            ("otto", (method, path) in FOR_ADMINS),
        ):
            if path != "/events":  # a stream without an end
                found = closed.ask_patiently(method.upper(), where, body, **sessions[who]).status
                assert (found == 403) == is_refused, (who, method, path, found)


@pytest.mark.parametrize("mode", [0o666, 0o620, 0o602])
def test_a_users_file_that_others_may_write_lets_no_one_in(tmp_path: Path, mode: int) -> None:
    file = tmp_path / "users.json"
    put_user(file, "anna", "admin", "a long password")
    assert file.stat().st_mode & 0o777 == 0o600
    accounts = Accounts(file)
    assert accounts.find("anna") is not None
    file.chmod(mode)
    assert accounts.find("anna") is None
    with pytest.raises(ConfigError, match="others may write it"):
        Accounts(file)
    file.chmod(0o640)
    assert accounts.find("anna") is not None


def test_a_flood_of_log_ins_is_refused_beyond_a_short_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_IN_LINE", threading.BoundedSemaphore(3))
    file = tmp_path / "users.json"
    put_user(file, "anna", "admin", "a long password")
    accounts = Accounts(file)
    outcomes: list[str] = []

    def sign_in() -> None:
        try:
            outcomes.append("in" if accounts.check("anna", "a long password") else "wrong")
        except TooManyError:
            outcomes.append("refused")

    threads = [threading.Thread(target=sign_in) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outcomes) == 20
    assert outcomes.count("in") >= 3
    assert outcomes.count("refused") > 0
    assert accounts.check("anna", "a long password") is not None


def test_a_removed_user_and_a_signed_out_one_are_out_at_once(tmp_path: Path) -> None:
    users = tmp_path / "users.json"
    put_user(users, "vera", "viewer", PASSWORDS["vera"])
    put_user(users, "otto", "operator", PASSWORDS["otto"])
    with shop(tmp_path / "shop", Web(users_file=users)) as made:
        vera, otto = sign_in(made, "vera"), sign_in(made, "otto")
        assert made.ask("DELETE", f"{API}/session", **vera).status == 204
        assert made.get(f"{API}/people", **vera).status == 401
        assert made.get(f"{API}/people", **otto).status == 200
        remove_user(users, "otto")
        assert made.get(f"{API}/people", **otto).status == 401


def test_the_users_file_is_for_its_owner_alone_and_holds_no_password(tmp_path: Path) -> None:
    put_user(tmp_path / "users.json", "vera", "viewer", PASSWORDS["vera"])
    assert (tmp_path / "users.json").stat().st_mode & 0o077 == 0
    text = (tmp_path / "users.json").read_text()
    assert PASSWORDS["vera"] not in text
    assert "$argon2id$" in text


# Other sites' pages


def test_signing_in_makes_a_session_of_its_own_and_ends_the_one_before(closed: Shop) -> None:
    def ask(method: str, path: str, body: object = None, **headers: str) -> tuple[int, str, Any]:
        # From an address whose log-ins no other test uses up.
        with closing(HTTPConnection("127.0.0.1", closed.port, source_address=("127.0.0.9", 0))) as connection:
            sent = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, json.dumps(body), {"Content-Type": "application/json", **sent})
            answer = connection.getresponse()
            return answer.status, (answer.headers["set-cookie"] or "").partition(";")[0], json.loads(answer.read())

    planted = f"{COOKIE}={'A' * 43}"
    login = {"name": "vera", "password": PASSWORDS["vera"]}
    status, first, found = ask("POST", f"{API}/session", login, Cookie=planted)
    assert status == 200
    assert first not in ("", planted)
    assert ask("GET", f"{API}/people", Cookie=planted)[0] == 401
    status, second, _ = ask("POST", f"{API}/session", login, Cookie=first, X_CSRF_Token=found["csrf"])
    assert status == 200
    assert [ask("GET", f"{API}/people", Cookie=cookie)[0] for cookie in (first, second)] == [401, 200]


def test_the_sessions_of_one_user_end_no_other_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reid_stream.web.sessions._EACH", 2)
    for name in ("vera", "ada"):
        put_user(tmp_path / "users.json", name, "viewer", PASSWORDS[name])
    sessions = Sessions(Web(users_file=tmp_path / "users.json"))
    tokens = [sessions.login(name, PASSWORDS[name]) for name in ("ada", "vera", "vera", "vera")]
    known = [sessions.visitor(None, made[0], lambda: None) is not None for made in tokens if made is not None]
    assert known == [True, False, True, True]


@pytest.mark.parametrize(
    "headers",
    [{"X_CSRF_Token": ""}, {"X_CSRF_Token": "x" * 43}, {"Origin": "http://evil.example"}, {"Origin": "null"},
     {"Sec_Fetch_Site": "cross-site"}, {"Sec_Fetch_Site": "same-site"}],
)  # fmt: skip
def test_a_change_without_the_sessions_token_or_from_elsewhere_is_refused(
    closed: Shop, sessions: dict[str, dict[str, str]], headers: dict[str, str]
) -> None:
    before = len(instructions(closed))
    assert closed.ask("POST", f"{API}/instructions", NAME, **{**sessions["otto"], **headers}).status == 403
    assert len(instructions(closed)) == before


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""]
)
def test_no_form_of_another_site_can_change_anything_even_on_loopback(web: Shop, kind: str) -> None:
    before = len(instructions(web))
    body = json.dumps(NAME).encode()
    assert web.ask("POST", f"{API}/instructions", body, Content_Type=kind).status == 415
    assert web.ask("POST", f"{API}/instructions", body, Origin="http://evil.example").status == 403
    assert len(instructions(web)) == before


def test_no_other_site_may_read_an_answer(web: Shop) -> None:
    answer = web.get(f"{API}/people", Origin="http://evil.example")
    assert not [name for name in answer.headers if name.startswith("access-control")]
    assert web.ask("OPTIONS", f"{API}/instructions", Origin="http://evil.example").status == 405


@pytest.mark.parametrize(
    ("host", "status"),
    [("evil.example", 421), ("evil.example:8080", 421), ("localhost", 200), ("127.0.0.1:1", 200), ("[::1]:80", 200),
     ("169.254.169.254", 421), ("127.0.0.1.evil.example", 421), ("user@127.0.0.1", 400), ("", 400)],
)  # fmt: skip
def test_a_name_bound_to_our_address_does_not_get_in(web: Shop, host: str, status: int) -> None:
    head = f"GET {API}/people HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    assert int(raw(web, head.encode()).split()[1]) == status


def test_two_host_headers_are_refused(web: Shop) -> None:
    head = f"GET {API}/people HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n"
    assert raw(web, head.encode()).split()[1] == b"400"
