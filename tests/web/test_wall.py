"""Live images: published only for a viewer, with current names, private to this user."""

import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from email.message import Message
from email.parser import BytesParser
from http.client import HTTPConnection
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest

from reid_stream.config.settings import Web
from reid_stream.records import CameraId, Frame, Tracks
from reid_stream.runtime.previews import MOST_FPS, PreviewHeader, PreviewPublisher, is_private, previews_folders
from reid_stream.web.limits import STREAMS
from reid_stream.web.previews import ANSWERS, PreviewHub, pace_s
from tests.web.site import RUN, Shop, shop

API = "/api/v1"


@pytest.fixture
def live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Shop, PreviewPublisher]]:
    # The path of a socket has at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="wall") as short:
        monkeypatch.setenv("XDG_RUNTIME_DIR", short)
        with shop(tmp_path / "shop", Web(enabled=True)) as made:
            publisher = PreviewPublisher(previews_folders(made.settings), RUN)
            yield made, publisher
            publisher.close()


def frame(at: float, camera: str = "door") -> tuple[Frame, Tracks]:
    """A grey frame of 1280x720 with the track of shop-1."""
    box = np.array([[200, 100, 400, 600]], np.float32)
    tracks = Tracks(CameraId(camera), at, box, np.array([0.9], np.float32), np.array([1]), 0, ())
    return Frame(CameraId(camera), 0, at, "rtcp", np.full((720, 1280, 3), 90, np.uint8)), tracks


@contextmanager
def publishing(publisher: PreviewPublisher) -> Iterator[None]:
    """Go on publishing both cameras, as perception does."""
    done = threading.Event()

    def publish() -> None:
        at = 100.0
        while not done.wait(0.05):
            at += 1
            for camera in ("door", "till"):
                publisher.show(*frame(at, camera))

    thread = threading.Thread(target=publish)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def show_until(made: Shop, publisher: PreviewPublisher, path: str) -> bytes:
    """Publish until the answer has a picture."""
    with publishing(publisher):
        end = time.monotonic() + 20
        while (answer := made.get(path)).status != 200:
            assert answer.status == 204
            assert time.monotonic() < end
        assert answer.headers["content-type"] == "image/jpeg"
        return answer.body


def pictures(kind: str, body: bytes) -> dict[str, tuple[float, bytes]]:
    """Return time and JPEG of each camera in an answer of a wall."""
    found = BytesParser().parsebytes(f"Content-Type: {kind}\r\n\r\n".encode() + body)
    parts = [part for part in found.get_payload() if isinstance(part, Message)]
    return {
        str(part.get_param("name", header="content-disposition")): (
            float(str(part.get_filename())),
            part.get_payload(decode=True),  # type: ignore[misc]
        )
        for part in parts
    }


def look(made: Shop, address: str, found: dict[str, bytes], answers: int) -> None:
    """Show a wall of two cameras on a connection of its own until so many answers with pictures have come."""
    connection, after = HTTPConnection("127.0.0.1", made.port, timeout=60, source_address=(address, 0)), "0"
    with closing(connection):
        while answers:
            connection.request("GET", f"{API}/previews?cameras=door&cameras=till&after={after}")
            answer = connection.getresponse()
            body = answer.read()
            if answer.status == 200:
                shown = pictures(answer.headers["Content-Type"], body)
                found.update({f"{camera} {at}": jpeg for camera, (at, jpeg) in shown.items()})
                assert int(answer.headers["X-Position"]) > int(after)
                after, answers = answer.headers["X-Position"], answers - 1
            else:
                assert answer.status == 204, body


@pytest.mark.slow
def test_fifty_walls_at_once_all_show_every_camera(live: tuple[Shop, PreviewPublisher]) -> None:
    made, publisher = live
    walls: list[dict[str, bytes]] = [{} for _ in range(50)]
    with publishing(publisher), ThreadPoolExecutor(50) as pool:
        list(pool.map(lambda wall: look(made, f"127.0.0.{2 + wall}", walls[wall], 2), range(50)))
    assert all({name.split()[0] for name in wall} == {"door", "till"} for wall in walls)
    every = [(name, jpeg) for wall in walls for name, jpeg in wall.items()]
    assert len(set(every)) == len(dict(every)) < len(every)  # one picture a frame, shared


def test_walls_slow_each_other_down_but_not_below_the_rate_of_the_frames() -> None:
    assert pace_s(1) == pace_s(8) == 1 / MOST_FPS
    assert 50 / pace_s(50) == pytest.approx(ANSWERS)


@pytest.mark.slow
def test_walls_beyond_those_of_an_address_are_refused_and_its_other_requests_are_not(
    live: tuple[Shop, PreviewPublisher],
) -> None:
    made, _ = live
    _, each = STREAMS["wall"]
    # One request after the other, so that each wall is still open when the last one has opened.
    asked = f"GET {API}/previews?cameras=door HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode() * 100
    with ExitStack() as opened:

        def open_wall() -> None:
            opened.enter_context(socket.create_connection(("127.0.0.1", made.port), 10)).sendall(asked)

        for _ in range(each):
            open_wall()
        while (answer := made.get(f"{API}/previews?cameras=door")).status == 204:
            open_wall()  # in place of one that was refused because of this request
        assert answer.status == 429
        assert int(answer.headers["retry-after"]) > 0
        assert made.get(f"{API}/session").status == 200


def test_cameras_that_are_gone_do_not_end_a_wall(live: tuple[Shop, PreviewPublisher]) -> None:
    made, publisher = live
    with publishing(publisher):
        while (answer := made.get(f"{API}/previews?cameras=door&cameras=removed")).status == 204:
            pass
    assert set(pictures(answer.headers["content-type"], answer.body)) == {"door"}
    assert made.get(f"{API}/previews?cameras=removed").status == 404
    assert made.get(f"{API}/previews").status == 422


def test_a_camera_that_is_looked_at_comes_scaled_with_its_boxes(live: tuple[Shop, PreviewPublisher]) -> None:
    made, publisher = live
    body = show_until(made, publisher, f"{API}/cameras/door/preview")
    image = cv2.imdecode(np.frombuffer(body, np.uint8), 1)
    assert image is not None
    assert image.shape == (360, 640, 3)
    assert np.ptp(image[60:70, 95:110]) > 40  # the box's edge and the name above it
    assert np.ptp(image[200:210, 400:500]) < 10


@pytest.mark.slow
def test_nothing_is_kept_or_sent_without_a_viewer(live: tuple[Shop, PreviewPublisher]) -> None:
    made, publisher = live
    for at in range(20):
        publisher.show(*frame(float(at)))
    assert not publisher._slots
    show_until(made, publisher, f"{API}/cameras/door/preview")
    assert set(publisher._wanted) == {b"door"}
    end = time.monotonic() + 20
    while publisher._wanted:  # the last look is some seconds ago
        assert time.monotonic() < end
        time.sleep(0.2)


def test_the_sockets_are_for_our_user_alone(live: tuple[Shop, PreviewPublisher]) -> None:
    made, _ = live
    folder = previews_folders(made.settings)[0]
    assert is_private(folder)
    assert len(list(folder.iterdir())) == 1
    folder.chmod(0o755)
    assert not is_private(folder)


def test_an_unknown_camera_has_no_image(live: tuple[Shop, PreviewPublisher]) -> None:
    made, _ = live
    assert made.get(f"{API}/cameras/nothing/preview").status == 404
    assert made.get("/wall").status == 200


def test_a_folder_that_another_user_has_made_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory(prefix="wall") as short:
        monkeypatch.setenv("TMPDIR", short)
        monkeypatch.setenv("XDG_DATA_HOME", f"{short}/share")
        monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
        monkeypatch.setattr(tempfile, "tempdir", None)
        with shop(tmp_path / "shop", Web(enabled=True)) as made:
            *_, shared = previews_folders(made.settings)
            assert shared.parent == Path(short)
            shared.mkdir()
            shared.chmod(0o777)
            publisher = PreviewPublisher(previews_folders(made.settings), RUN)
            try:
                assert show_until(made, publisher, f"{API}/cameras/door/preview")
            finally:
                publisher.close()
            assert not list(shared.iterdir())


@pytest.mark.parametrize(
    "parts",
    [
        [b"door"],
        [b"door", b""],
        [b"door", b"\xff", b""],
        [b"door", msgspec.msgpack.encode(PreviewHeader(CameraId("door"), RUN, 0.0, 0, 0, [], [])), b""],
        [b"door", msgspec.msgpack.encode(PreviewHeader(CameraId("door"), RUN, 0.0, -2, -2, [], [])), b"x" * 12],
        [b"door", msgspec.msgpack.encode(PreviewHeader(CameraId("door"), RUN, 0.0, 2, 2, [1], [])), b"x" * 12],
    ],
)
def test_a_malformed_preview_is_left_out(tmp_path: Path, parts: list[bytes]) -> None:
    hub = PreviewHub([tmp_path], lambda _: "", blur=False)
    hub._take(parts)
    assert hub.newest(CameraId("door")) is None
