"""Webhooks against a real HTTP server: order, signature, retries, restart."""

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook as Verifier

from reid_stream.errors import ConfigError, InUseError
from reid_stream.events import DaemonHeartbeat
from reid_stream.outlets import webhook as sending
from reid_stream.outlets.bookmark import Bookmark
from reid_stream.outlets.loop import run
from reid_stream.outlets.webhook import Webhook, WebhookGoneError, key_of
from reid_stream.publish.subscribe import subscribe
from tests.outlets.site import RUN, T0, TILL, Stream, entered, forge_events, left, stream, wait

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()


class Receiver:
    """A server that answers with the statuses it is given, then 204."""

    def __init__(self) -> None:
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.answers: list[int] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.requests.append(({k.lower(): v for k, v in self.headers.items()}, body))
                status = receiver.answers.pop(0) if receiver.answers else 204
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def subjects(self) -> list[str]:
        return [json.loads(body)["subject"] for _, body in self.requests]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Stream]:
    with stream(tmp_path) as made:
        yield made


@contextmanager
def outlet(site: Stream, receiver: Receiver, folder: Path, start: str = "0", **options: float) -> Iterator[Webhook]:
    """Run an outlet of identity events on a thread, as the command does."""
    stop = threading.Event()
    made = Webhook(receiver.url, SECRET, stop, **options)
    with (
        Bookmark(folder / "w.position") as bookmark,
        subscribe(site.url, site="shop", start=bookmark.position or start, types=["identity"], block_s=0.05) as events,
    ):
        thread = threading.Thread(target=run, args=(made, events, bookmark, stop))
        thread.start()
        try:
            yield made
        finally:
            stop.set()
            thread.join(20)


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "_FIRST_S", 0.02)


def test_events_come_in_order_signed_and_word_for_word(site: Stream, receiver: Receiver, tmp_path: Path) -> None:
    forge_events(site)  # left out: one that a receiver refuses would hold all others up
    site.publish(entered("shop-1"), left("shop-1"), entered("shop-2", TILL))
    with outlet(site, receiver, tmp_path):
        wait(lambda: len(receiver.requests) == 3)
    assert receiver.subjects == ["shop-1", "shop-1", "shop-2"]
    headers, body = receiver.requests[1]
    assert headers["content-type"].startswith("application/cloudevents+json")
    # The specification's own library accepts it, and nothing that was changed.
    checked: Any = Verifier(SECRET).verify(body, headers)
    assert checked["data"]["snapshot"].startswith("door/")
    for changed in (body.replace(b"shop-1", b"shop-9"), body + b" "):
        with pytest.raises(Exception, match="(?i)signature"):
            Verifier(SECRET).verify(changed, headers)
    assert len({headers["webhook-id"] for headers, _ in receiver.requests}) == 3


def test_an_event_is_sent_until_it_is_taken_and_holds_those_behind_it(
    site: Stream, receiver: Receiver, tmp_path: Path
) -> None:
    receiver.answers = [500, 429, 302, 404]
    site.publish(entered("shop-1"), entered("shop-2", TILL))
    with outlet(site, receiver, tmp_path):
        wait(lambda: len(receiver.requests) == 6)
    assert receiver.subjects == ["shop-1"] * 5 + ["shop-2"]
    assert len({headers["webhook-id"] for headers, _ in receiver.requests[:5]}) == 1


def test_a_restart_and_a_server_that_is_away_lose_none(site: Stream, receiver: Receiver, tmp_path: Path) -> None:
    site.publish(entered("shop-1"))
    with outlet(site, receiver, tmp_path):
        wait(lambda: len(receiver.requests) == 1)
    site.publish(*(entered(f"shop-{number}", TILL) for number in range(2, 6)))
    receiver.answers = [503] * 1000
    with outlet(site, receiver, tmp_path):  # stopped while it waits
        wait(lambda: len(receiver.requests) >= 3)
    receiver.answers, receiver.requests = [], []
    with outlet(site, receiver, tmp_path):
        wait(lambda: len(receiver.requests) >= 4)
    assert receiver.subjects == ["shop-2", "shop-3", "shop-4", "shop-5"]


def test_an_event_that_is_never_taken_is_given_up(site: Stream, receiver: Receiver, tmp_path: Path) -> None:
    receiver.answers = [400] * 10_000
    site.publish(entered("shop-1"), entered("shop-2", TILL))
    with outlet(site, receiver, tmp_path, give_up_s=0.3) as made:
        wait(lambda: made.skipped == 1)
        receiver.answers = []
        wait(lambda: made.delivered == 1)
    assert receiver.subjects[-1] == "shop-2"


def test_a_receiver_that_wants_no_more_ends_the_outlet(site: Stream, receiver: Receiver) -> None:
    receiver.answers = [410]
    site.publish(entered("shop-1"))
    with subscribe(site.url, site="shop", start="0", types=["identity"], block_s=0) as events:
        event = next(events)
    with pytest.raises(WebhookGoneError, match="410"):
        Webhook(receiver.url, None, threading.Event()).deliver(event)
    assert "webhook-signature" not in receiver.requests[0][0]


def test_what_is_not_wanted_is_passed_over_and_not_read_again(site: Stream, receiver: Receiver, tmp_path: Path) -> None:
    place = site.publish(DaemonHeartbeat(run=RUN, told_at=T0, people=0, gallery=0, cameras_up=2))[0]
    with outlet(site, receiver, tmp_path):
        wait((tmp_path / "w.position").exists)
    assert (tmp_path / "w.position").read_text().strip() == place
    assert receiver.requests == []


def test_a_place_is_used_by_one_outlet_and_must_be_one(tmp_path: Path) -> None:
    with Bookmark(tmp_path / "a"), pytest.raises(InUseError):
        Bookmark(tmp_path / "a")
    (tmp_path / "b").write_text("yesterday")
    with pytest.raises(ConfigError, match="remove the file"):
        Bookmark(tmp_path / "b")


@pytest.mark.parametrize("secret", ["whsec_not base64", "short", "whsec_" + base64.b64encode(b"short").decode()])
def test_a_secret_that_is_none_is_refused(secret: str) -> None:
    with pytest.raises(ConfigError, match="secret"):
        key_of(secret)


def test_a_url_of_another_kind_is_refused() -> None:
    with pytest.raises(ConfigError, match="https://"):
        Webhook("file:///etc/passwd", None, threading.Event())
