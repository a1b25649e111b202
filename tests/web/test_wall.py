"""Live images: published only for a viewer, with current names, private to this user."""

import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest

from reid_stream.config.settings import Web
from reid_stream.records import CameraId, Frame, Tracks
from reid_stream.runtime.previews import PreviewHeader, PreviewPublisher, is_private, previews_folders
from reid_stream.web.previews import PreviewHub
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


def frame(at: float) -> tuple[Frame, Tracks]:
    """A grey frame of 1280x720 with the track of shop-1."""
    box = np.array([[200, 100, 400, 600]], np.float32)
    tracks = Tracks(CameraId("door"), at, box, np.array([0.9], np.float32), np.array([1]), 0, ())
    return Frame(CameraId("door"), 0, at, "rtcp", np.full((720, 1280, 3), 90, np.uint8)), tracks


def show_until(made: Shop, publisher: PreviewPublisher, path: str) -> bytes:
    """Go on publishing, as perception does, until the answer has a picture."""
    done = threading.Event()

    def publish() -> None:
        at = 100.0
        while not done.is_set():
            at += 1
            publisher.show(*frame(at))
            time.sleep(0.05)

    thread = threading.Thread(target=publish)
    thread.start()
    try:
        end = time.monotonic() + 20
        while (answer := made.get(path)).status != 200:
            assert answer.status == 204
            assert time.monotonic() < end
        assert answer.headers["content-type"] == "image/jpeg"
        return answer.body
    finally:
        done.set()
        thread.join()


def test_a_camera_that_is_looked_at_comes_scaled_with_its_boxes(live: tuple[Shop, PreviewPublisher]) -> None:
    made, publisher = live
    body = show_until(made, publisher, f"{API}/cameras/door/preview")
    image = cv2.imdecode(np.frombuffer(body, np.uint8), 1)
    assert image is not None
    assert image.shape == (360, 640, 3)
    assert np.ptp(image[60:70, 95:110]) > 40  # the box's edge and the name above it
    assert np.ptp(image[200:210, 400:500]) < 10


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
    assert hub.jpeg(CameraId("door")) is None
