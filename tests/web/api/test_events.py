"""A console's event stream continues when the stream on Redis is deleted and comes back with lower IDs."""

import socket
from pathlib import Path

from reid_stream.publish.cloudevents import encode
from reid_stream.publish.live_keys import stream_key
from tests.web.site import T0, Shop, shop, visit

EVENTS = "/api/v1/events"


def follow(web: Shop, last: str = "") -> socket.socket:
    """Open the event stream, behind the event of this position if one is given."""
    connection = socket.create_connection(("127.0.0.1", web.port), 10)
    header = f"Last-Event-ID: {last}\r\n" if last else ""
    connection.sendall(f"GET {EVENTS} HTTP/1.1\r\nHost: 127.0.0.1:{web.port}\r\n{header}\r\n".encode())
    return connection


def ids(connection: socket.socket, count: int) -> list[str]:
    """Return the positions of the next events."""
    text = ""
    while text.count("\ndata: ") < count:
        part = connection.recv(65536)
        assert part, text
        text += part.decode()
    return [line.removeprefix("id: ") for line in text.splitlines() if line.startswith("id: ")]


def write(web: Shop, first_ms: int, numbers: range) -> list[str]:
    """Put events of these numbers on the stream, at positions that begin with `first_ms`."""
    places = []
    for number in numbers:
        (event, _) = visit(f"shop-{number + 1}", "door", 50 + number, T0 + 100 + number)
        body = encode(event, site="shop", run="run2", sequence=number)
        places.append(f"{first_ms + number}-0")
        web.redis.xadd(stream_key("shop"), {"type": event.type, "event": body}, id=places[-1])
    return places


def test_listeners_hear_on_and_a_later_one_resumes_though_ids_are_lower(tmp_path: Path) -> None:
    with shop(tmp_path) as web:
        (last, _) = web.publish(visit("shop-1", "door", 9, T0 + 60))
        with follow(web, last) as connection:
            ids(connection, 1)
            web.redis.delete(stream_key("shop"))
            places = write(web, 1_000_000_000_000, range(3))
            assert ids(connection, 3) == places
            (further,) = write(web, 1_100_000_000_000, range(3, 4))
            assert ids(connection, 1) == [further]
        with follow(web, last) as late:
            assert ids(late, 4) == [*places, further]
        with follow(web, places[1]) as resumed:
            assert ids(resumed, 2) == [places[2], further]
