"""Snapshots and parts of every usual form: image formats, EXIF, odd headers, cameras that fail now and then."""

import io
import itertools
import time
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from benchmarks.rtsp.web import HttpResponse, WebCamera, snapshot
from reid_stream.events import CameraUp
from tests.ingest.test_network_cameras import camera, running

pytestmark = pytest.mark.timeout(60)
MULTIPART = "multipart/x-mixed-replace; boundary=frame"


def picture(kind: str = "JPEG", orientation: int = 0) -> bytes:
    """Return an image of 64 x 48 that is red at its top left."""
    pixels = np.zeros((48, 64, 3), np.uint8)
    pixels[:24, :32] = (200, 30, 30)
    exif = Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind, **({"exif": exif} if orientation else {}))
    return out.getvalue()


def corner(image: np.ndarray) -> str:
    """Return where an image is red."""
    places = {"top left": (4, 4), "top right": (4, -4), "bottom left": (-4, 4), "bottom right": (-4, -4)}
    return ", ".join(name for name, place in places.items() if image[place][0] > 100)


def parts(head: bytes, body: bytes) -> HttpResponse:
    """Return a response of endless parts."""

    def endless() -> Iterator[bytes]:
        while True:
            yield head + body + b"\r\n"
            time.sleep(0.05)

    return HttpResponse(200, (("Content-Type", MULTIPART),), endless)


def frames_of(answer: HttpResponse, count: int = 4) -> np.ndarray:
    """Play an answer; return its last frame, once the camera has stayed up for so many."""
    with WebCamera({"/a": answer}) as web, running(camera(web.url("/a"), max_fps=10)) as run:
        run.until(lambda: len(run.frames) >= count)
        assert [type(change) for change in run.changes] == [CameraUp]
        return np.asarray(run.frames[-1].image)


@pytest.mark.parametrize(
    ("orientation", "where", "size"),
    [
        (1, "top left", (48, 64)),
        (2, "top right", (48, 64)),
        (3, "bottom right", (48, 64)),
        (4, "bottom left", (48, 64)),
        (5, "top left", (64, 48)),
        (6, "top right", (64, 48)),
        (7, "bottom right", (64, 48)),
        (8, "bottom left", (64, 48)),
    ],
)
def test_images_with_exif_data_come_upright(orientation: int, where: str, size: tuple[int, int]) -> None:
    data = picture(orientation=orientation)
    head = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(data)
    for answer in (snapshot(data), parts(head, data)) if orientation in (1, 6) else (snapshot(data),):
        image = frames_of(answer, 2)
        assert (corner(image), image.shape[:2]) == (where, size)


@pytest.mark.parametrize("kind", ["BMP", "GIF", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("has_length", [True, False])
def test_snapshots_of_every_format_stay_up(kind: str, has_length: bool) -> None:
    data = picture(kind)
    length = f"Content-Length: {len(data)}\r\n" if has_length else ""
    head = f"HTTP/1.1 200 OK\r\nContent-Type: image/{kind.lower()}\r\n{length}\r\n".encode()
    assert corner(frames_of(HttpResponse(head=lambda: head, body=lambda: [data]))) == "top left"


@pytest.mark.parametrize("kind", ["", "Content-Type: application/octet-stream\n"])
def test_a_snapshot_with_a_header_of_bare_line_feeds_plays(kind: str) -> None:
    head = f"HTTP/1.0 200 OK\n{kind}Content-Length: {len(picture())}\n\n".encode()
    assert corner(frames_of(HttpResponse(head=lambda: head, body=lambda: [picture()]))) == "top left"


@pytest.mark.parametrize(
    "head",
    [
        b"--frame\r\n\r\n",
        b"--frame\r\nContent-Length: %d\r\n\r\n" % len(picture()),
        b"--frame\nContent-Type: image/jpeg\n\n",
    ],
)
def test_parts_with_little_or_odd_headers_play(head: bytes) -> None:
    assert corner(frames_of(parts(head, picture()))) == "top left"


def test_a_snapshot_camera_that_fails_now_and_then_stays_up() -> None:
    good = b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(picture())
    numbers = itertools.count()
    faults = {
        2: b"HTTP/1.1 503 Service Unavailable\r\n\r\n",
        4: b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: 0\r\n\r\n",
    }
    answer = HttpResponse(head=lambda: faults.get(next(numbers) % 6, good), body=lambda: [picture()])
    frames_of(answer, 8)


def test_an_unchanged_snapshot_is_the_one_before() -> None:
    good = b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(picture())
    numbers = itertools.count()
    same = b"HTTP/1.1 304 Not Modified\r\n\r\n"
    answer = HttpResponse(head=lambda: same if next(numbers) else good, body=lambda: [picture()])
    assert corner(frames_of(answer)) == "top left"


def test_images_that_were_cut_are_left_out_and_those_of_a_camera_that_cuts_all_are_not() -> None:
    cut = picture()[:-40] + b"\xff\xd9"
    numbers = itertools.count()
    some = HttpResponse(200, (("Content-Type", "image/jpeg"),), lambda: [cut if next(numbers) % 2 else picture()])
    with WebCamera({"/a": some}) as web, running(camera(web.url("/a"), max_fps=20)) as run:
        run.until(lambda: len(run.frames) >= 4)
        assert run.stats.dropped["corrupt"] >= 3
        assert {corner(np.asarray(frame.image)) for frame in run.frames} == {"top left"}
    frames_of(snapshot(cut))


def test_a_redirect_to_an_address_for_one_request_is_followed_each_time() -> None:
    numbers = itertools.count()

    def moved() -> bytes:
        number = next(numbers)
        web.answers[f"/b/{number}"] = snapshot(picture())
        web.answers.pop(f"/b/{number - 2}", None)
        return f"HTTP/1.1 302 Found\r\nLocation: b/{number}\r\nContent-Length: 0\r\n\r\n".encode()

    with WebCamera({}) as web:
        web.answers["/a"] = HttpResponse(head=moved)
        with running(camera(web.url("/a"), max_fps=10)) as run:
            run.until(lambda: len(run.frames) >= 5)
            assert [type(change) for change in run.changes] == [CameraUp]


def test_a_snapshot_camera_that_refuses_the_login_later_is_down_at_once() -> None:
    with WebCamera({"/a": snapshot(picture())}) as web, running(camera(web.url("/a"), max_fps=10)) as run:
        run.until(lambda: len(run.frames) >= 2)
        web.answers["/a"] = HttpResponse(401, (("WWW-Authenticate", 'Basic realm="x"'),))
        run.until(lambda: len(run.changes) == 2)
        assert "401" in run.changes[1].reason  # type: ignore[union-attr]


@pytest.mark.slow
def test_a_snapshot_camera_that_fails_for_good_is_down_with_the_last_reason() -> None:
    with WebCamera({"/a": snapshot(picture())}) as web, running(camera(web.url("/a"), max_fps=10)) as run:
        run.until(lambda: len(run.frames) >= 2)
        web.answers["/a"] = HttpResponse(503)
        run.until(lambda: len(run.changes) == 2)
        assert "503" in run.changes[1].reason  # type: ignore[union-attr]
