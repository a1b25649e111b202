"""Forged entries on the stream and in the store are left out, and nothing else is."""

import json
import socket
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reid_stream.events import IdentityNamed
from reid_stream.match.topology import EDGES
from reid_stream.publish.cloudevents import encode
from reid_stream.publish.live_keys import stream_key
from reid_stream.records import GlobalId
from tests.web.site import RUN, T0, Shop, raw, shop, visit

API = "/api/v1"
PAGES = (
    "/people", "/people/shop-1", "/people/shop-7", "/cameras", "/search", "/review", "/events", "/topology", "/system",
    "/corrections", f"/search?camera=door&run={RUN}&track=1",
)  # fmt: skip
ROUTES = (
    "people", "people/shop-1", "people/shop-7", "people/shop-1/picture", "events/recent?limit=1000", "cameras",
    "topology", "system", "instructions", "review", "review/ids", f"tracks/door/{RUN}/1",
)  # fmt: skip


def no_route_fails(made: Shop) -> None:
    for path in (*PAGES, *(f"{API}/{route}" for route in ROUTES)):
        assert made.get(path).status in ((200, 404) if "shop-7" in path else (200,)), path
    assert {one["person"] for one in made.get(f"{API}/people").json["people"]} == {"shop-1", "shop-2", "shop-3"}


def forge(made: Shop, place: int = 0, *, body: dict[str, Any] | None = None, **data: Any) -> None:
    """Put an event on the stream with other values; of a visit, the first or second."""
    made.sequence += 1
    forged = json.loads(encode(visit("shop-7", "door", 9, T0)[place], site="shop", run=RUN, sequence=made.sequence))
    forged["data"].update(data)
    forged.update(body or {})
    made.redis.xadd(stream_key("shop"), {"type": forged["type"], "event": json.dumps(forged)})


def test_forged_events_are_left_out_and_all_others_shown(tmp_path: Path) -> None:
    with shop(tmp_path) as made:
        for values in (
            {"person": "shop-<script>"}, {"person": "shop-7\n"}, {"camera": "../../x"}, {"run": "../x"},
            {"seen_at": 1e300, "since": -1e300}, {"seen_at": 1e12}, {"track": 10**30}, {"track": 2**63},
            {"revision": 10**400}, {"probability": 1e308}, {"frame_size": (10**19, 1)},
        ):  # fmt: skip
            forge(made, **values)
        forge(made, 1, last_seen_at=1e300)
        forge(made, data_too={"x": 10**500})
        for kind, data in (
            ("identity.split.v1", {"person": "shop-1", "revision": 1, "into": "shop-7", "split_at": T0,
                                   "tracks": [["door", RUN, 1]], "spans": [[None, None], [None, None]]}),
            ("identity.split.v1", {"person": "shop-1", "revision": 1, "into": "shop-7", "split_at": T0,
                                   "tracks": [["do/or", RUN, 1]]}),
            ("identity.merged.v1", {"person": "x", "revision": 1, "previous": "shop-1", "similarity": 1.0,
                                    "probability": 1.0, "merged_at": T0}),
            ("daemon.started.v1", {"run": RUN, "told_at": T0, "version": "1", "cameras": ["<b>"], "model": "m"}),
            ("daemon.heartbeat.v1", {"run": RUN, "told_at": 1e300, "people": 1, "gallery": 1, "cameras_up": 1}),
            ("camera.up.v1", {"camera": "door", "changed_at": 1e300, "frame_size": [1, 1], "codec": "h264",
                              "clock": "rtcp"}),
        ):  # fmt: skip
            made.sequence += 1
            body = {"specversion": "1.0", "id": f"x{made.sequence}", "source": "reid-stream/shop", "subject": "x",
                    "type": f"io.reid-stream.{kind}", "time": "2026-01-01T00:00:00Z", "runid": RUN,
                    "sequence": str(made.sequence), "data": data}  # fmt: skip
            made.redis.xadd(stream_key("shop"), {"type": body["type"], "event": json.dumps(body)})
        no_route_fails(made)
        assert made.get(f"{API}/system").json["refused"] >= 17


def test_events_that_are_no_json_in_unread_fields_are_left_out(tmp_path: Path) -> None:
    with shop(tmp_path) as made:
        for extra in (b"1e999", b'"\xff"', b"[" * 300 + b"]" * 300, b"9" * 30, b'"\\ud800"'):
            made.sequence += 1
            sound = encode(visit("shop-7", "door", 9, T0)[0], site="shop", run=RUN, sequence=made.sequence)
            made.redis.xadd(stream_key("shop"), {"type": "x", "event": b'{"x":' + extra + b"," + sound[1:]})
        no_route_fails(made)


def test_line_ends_in_an_event_do_not_end_its_data(tmp_path: Path) -> None:
    with shop(tmp_path) as made:
        named = IdentityNamed(person=GlobalId("shop-1"), revision=2, label="Ada", by="me", named_at=T0 + 50)
        sound = encode(named, site="shop", run=RUN, sequence=made.sequence)
        forged = sound.replace(b',"data":', b',\n\n\r"data":')
        made.redis.xadd(stream_key("shop"), {"type": "x", "event": forged})
        with socket.create_connection(("127.0.0.1", made.port), 10) as connection:
            connection.sendall(
                f"GET {API}/events?start=0&types=identity.named HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n".encode()
            )
            found = b""
            while b'"Ada"' not in found:
                found += connection.recv(65536)
        lines = [line for line in found.splitlines() if line.startswith(b"data: ")]
        assert json.loads(lines[-1].removeprefix(b"data: "))["data"]["label"] == "Ada"


def test_forged_stored_tracks_are_left_out(tmp_path: Path) -> None:
    with shop(tmp_path) as made:
        good = next(path for path in made.store.glob("door/*/*") if path.name.endswith("-1"))
        sound = json.loads((good / "track.json").read_bytes())
        changes: tuple[dict[str, Any], ...] = (
            {"global_id": "<b>"}, {"global_id": "shop-9", "times": [1e300, 1e300, 1e300]}, {"run": "../x"},
            {"camera": "../x"}, {"track": -1}, {"track": 2**63}, {"qualities": [1e300, 0.1, 0.1], "track": 77},
        )  # fmt: skip
        for number, values in enumerate(changes):
            folder = good.parent / f"forged-{number}"
            folder.mkdir()
            (folder / "track.json").write_text(json.dumps({**sound, **values}))
        np.save(good / "vectors.npy", np.full_like(np.load(good / "vectors.npy"), np.nan))
        for path in (*PAGES[:-1], *(f"{API}/{route}" for route in ROUTES)):
            assert made.get(path).status in ((200, 404) if "shop-7" in path else (200,)), path
        assert made.get(PAGES[-1]).status == 409
        assert made.get(f"{API}/system").json["refused"] == 7


@pytest.mark.parametrize(
    "body",
    [b"\xff{", b"{}", json.dumps({"at": 0, "links": {"a": {"same": [1], "other": [1]}}, "edges": EDGES}).encode(),
     json.dumps({"at": 0, "links": {"a->b": {"same": [1e308] * 99, "other": []}}, "edges": EDGES}).encode()],
    ids=["no JSON", "empty", "no pair", "uneven"],
)  # fmt: skip
def test_a_forged_topology_is_shown_as_none(web: Shop, body: bytes) -> None:
    key = "reid:shop:state:topology"
    web.redis.set(key, body)
    try:
        assert web.get(f"{API}/topology").json["passages"] == []
        assert web.get("/topology").status == 200
    finally:
        web.redis.delete(key)


def test_forged_reviews_are_left_out(web: Shop) -> None:
    places = [
        web.redis.xadd("reid:shop:reviews", {"review": body})
        for body in (b"\xff", b"{}", b"[]", b'{"pair":1}', b'{"pair":"a","answer":"x","people":["a","b"]}')
    ]
    try:
        assert web.get(f"{API}/review").json["reviewed"] == 0
        assert web.get(f"{API}/review/ids").status == 200
    finally:
        web.redis.xdel("reid:shop:reviews", *places)


@pytest.mark.slow
def test_half_open_requests_of_one_address_lock_out_no_other_address(web: Shop) -> None:
    held = []
    try:
        for _ in range(400):
            connection = socket.create_connection(("127.0.0.1", web.port), 10, ("127.0.0.77", 0))
            held.append(connection)
            connection.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-")
        head = b"GET /api/v1/session HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
        assert raw(web, head).split()[1] == b"200"
        # A further connection of that address takes the place of its oldest.
        with closing(socket.create_connection(("127.0.0.1", web.port), 10, ("127.0.0.77", 0))) as own:
            own.sendall(head)
            assert own.recv(4096).split()[1] == b"200"
    finally:
        for connection in held:
            connection.close()
