"""Users that a proxy has signed in: its headers count from the proxy alone, with roles, CSRF tokens and names."""

import getpass
import re
import socket
from collections.abc import Iterator

import pytest
from pydantic import SecretStr

from reid_stream.config.settings import Web
from reid_stream.config.web_settings import WebProxy
from reid_stream.errors import ConfigError
from reid_stream.web.api import events
from reid_stream.web.proxy_login import ProxyLogin, ProxyRefusedError
from tests.web.site import Shop, instructions, raw, shop

API = "/api/v1"
ROLES = {"security": "operator", "admins": "admin", "vera@example.org": "viewer"}
NAME = {"do": "name", "person": "shop-1", "label": "Ann", "wait_s": 0}
TOKEN = "a-token-of-some-length"


def proxy(**more: object) -> WebProxy:
    return WebProxy.model_validate({"addresses": ["127.0.0.1"], "user": getpass.getuser(), "roles": ROLES, **more})


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A shop behind a proxy on this machine."""
    with shop(tmp_path_factory.mktemp("proxied"), Web(proxy=proxy(), token=SecretStr(TOKEN))) as made:
        yield made


@pytest.fixture(scope="module")
def remote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A shop whose proxy is another machine, so that this one is none."""
    with shop(tmp_path_factory.mktemp("remote"), Web(proxy=proxy(addresses=["192.0.2.0/24"], user=None))) as made:
        yield made


def signed_in(name: str, groups: str = "") -> dict[str, str]:
    return {"X_Forwarded_Email": name, "X_Forwarded_Groups": groups}


def csrf_of(made: Shop, user: dict[str, str]) -> str:
    found = re.search(r'name="csrf" content="([^"]*)"', made.get("/people", **user).body.decode())
    assert found is not None
    return found[1]


@pytest.mark.parametrize(
    ("name", "groups", "role"),
    [
        ("otto@example.org", "staff, security", "operator"),
        ("ada@example.org", "security,admins", "admin"),
        ("vera@example.org", "", "viewer"),
    ],
)
def test_a_user_has_the_highest_role_of_name_and_groups(proxied: Shop, name: str, groups: str, role: str) -> None:
    found = proxied.get(f"{API}/session", **signed_in(name, groups)).json
    assert (found["name"], found["role"]) == (name, role)


def test_a_user_without_a_role_and_one_without_a_name_are_refused(proxied: Shop) -> None:
    unknown = [signed_in("eve@example.org", "staff"), signed_in(""), signed_in("a b"), {"X_Forwarded_Groups": "admins"}]
    for user in unknown:
        answer = proxied.get(f"{API}/people", **user)
        assert answer.status == 403, user
    page = proxied.get("/people", **signed_in("eve@example.org"), Accept="text/html,*/*")
    assert (page.status, page.headers["content-type"]) == (403, "text/html; charset=utf-8")
    assert b"<p>eve@example.org has no role here" in page.body
    login = ProxyLogin(proxy(addresses=["192.0.2.7"], user=None, default_role="viewer"))
    visitor = login.visitor("192.0.2.7", {"x-forwarded-email": "eve@example.org"}, lambda: None)
    assert visitor is not None
    assert visitor.role == "viewer"


def test_corrections_bear_the_user_s_name_and_need_the_token_of_the_page(proxied: Shop) -> None:
    user = signed_in("otto@example.org", "security")
    assert proxied.ask("POST", f"{API}/instructions", NAME, **user).status == 403
    other = csrf_of(proxied, signed_in("ada@example.org", "admins"))
    assert proxied.ask("POST", f"{API}/instructions", NAME, **user, X_CSRF_Token=other).status == 403
    token = csrf_of(proxied, user)
    foreign = {"Origin": "https://evil.example", "Sec_Fetch_Site": "cross-site"}
    assert proxied.ask("POST", f"{API}/instructions", NAME, **user, X_CSRF_Token=token, **foreign).status == 403
    assert instructions(proxied) == []
    assert proxied.ask("POST", f"{API}/instructions", NAME, **user, X_CSRF_Token=token).status == 200
    assert instructions(proxied)[-1]["who"] == "otto@example.org"
    viewer = signed_in("vera@example.org")
    answer = proxied.ask("POST", f"{API}/instructions", NAME, **viewer, X_CSRF_Token=csrf_of(proxied, viewer))
    assert (answer.status, b"role operator" in answer.body) == (403, True)


def test_events_are_followed_for_as_long_as_the_proxy_s_word_counts(
    proxied: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = f"GET {API}/events?start=0 HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Forwarded-Email: vera@example.org\r\n\r\n"
    with socket.create_connection(("127.0.0.1", proxied.port), 15) as connection:
        connection.sendall(head.encode())
        found = b""
        while b"shop-3" not in found:
            part = connection.recv(65536)
            assert part, found
            found += part
    # Then the proxy, whose session may have ended, is asked again.
    monkeypatch.setattr(events, "_OF_PROXY_S", 0.0)
    assert b"shop-3" not in raw(proxied, head.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n").encode())


def test_the_header_of_another_address_is_refused(remote: Shop) -> None:
    answer = remote.get(f"{API}/people", **signed_in("ada@example.org", "admins"))
    assert (answer.status, b"from the proxy only" in answer.body) == (403, True)
    assert remote.get(f"{API}/people", X_Forwarded_For="192.0.2.7", **signed_in("ada@example.org")).status == 403
    assert remote.get(f"{API}/people", X_Forwarded_Groups="admins").status == 403
    assert remote.get(f"{API}/people").status == 401


def test_without_its_headers_no_one_is_signed_in_and_the_token_counts(proxied: Shop) -> None:
    assert proxied.get(f"{API}/people").status == 401
    assert proxied.get(f"{API}/people", Authorization=f"Bearer {TOKEN}").status == 200
    assert proxied.get(f"{API}/people", X_User="ada@example.org", X_Forwarded_User="ada@example.org").status == 401


def test_a_header_given_twice_is_refused(proxied: Shop) -> None:
    for name in ("X-Forwarded-Email", "x-forwarded-groups"):
        request = f"GET {API}/people HTTP/1.1\r\nHost: 127.0.0.1\r\n{name}: vera@example.org\r\n{name}: admins\r\n\r\n"
        assert b" 400 " in raw(proxied, request.encode()).split(b"\r\n")[0]


def test_another_user_of_this_machine_is_not_the_proxy() -> None:
    login, headers = ProxyLogin(proxy()), {"x-forwarded-email": "vera@example.org"}
    for uid in (None, 54321):
        with pytest.raises(ProxyRefusedError, match="from the proxy only"):
            login.visitor("127.0.0.1", headers, lambda uid=uid: uid)  # type: ignore[misc]
    with pytest.raises(ConfigError, match=r"web\.proxy\.user must name the user that runs the proxy"):
        ProxyLogin(proxy(user=None))
    with pytest.raises(ConfigError, match="found no 'no-such-user'"):
        ProxyLogin(proxy(user="no-such-user"))


def test_an_address_in_ipv6_clothes_is_the_same_address() -> None:
    login = ProxyLogin(proxy(addresses=["192.0.2.7"], user=None))
    headers = {"x-forwarded-email": "vera@example.org"}
    assert login.visitor("::ffff:192.0.2.7", headers, lambda: None) is not None
    for address in ("::ffff:192.0.2.8", "192.0.2.70", "unknown", ""):
        with pytest.raises(ProxyRefusedError):
            login.visitor(address, headers, lambda: None)
