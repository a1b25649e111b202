"""A camera where nothing moves and no one is followed pays for neither conversion nor the copy to the daemon."""

from pathlib import Path

import av
import numpy as np
import pytest

from reid_stream.config.settings import Camera, Ingest
from reid_stream.images import Unread
from reid_stream.ingest import frame_ipc
from reid_stream.ingest.camera_set import CameraSet
from reid_stream.ingest.convert import Converter, DecodedImage
from reid_stream.ingest.motion import WARM_UP
from reid_stream.ingest.quiet import HOLD_S, QuietFilter
from reid_stream.ingest.stats import CameraStats
from reid_stream.records import CameraId, Frame

SIZE = 320, 240


def scene(*, has_person: bool = False) -> DecodedImage:
    image = np.full((SIZE[1], SIZE[0], 3), 90, np.uint8)
    if has_person:
        image[80:180, 100:140] = 230
    return DecodedImage.read(av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv420p"))


@pytest.fixture
def look() -> QuietFilter:
    """A filter whose camera has been quiet for 10 s at 10 frames/s, and was converted last at 9.9 s."""
    made = QuietFilter(Converter(None), full_every_s=1000.0)
    for number in range(100):
        made(scene(), number / 10, is_attended=False)
    return made


def test_quiet_images_come_without_pixels_and_know_their_size(look: QuietFilter) -> None:
    image, moving = look(scene(), 10.0, is_attended=False)
    assert isinstance(image, Unread)
    assert image.shape == (SIZE[1], SIZE[0], 3)
    assert moving is not None
    assert len(moving) == 0
    with pytest.raises(ValueError, match="converted"):
        image.host()


def test_what_moves_is_converted_and_so_is_what_comes_soon_after(look: QuietFilter) -> None:
    image, moving = look(scene(has_person=True), 10.0, is_attended=False)
    assert isinstance(image, np.ndarray)
    assert moving is not None
    assert len(moving) == 1
    later = [look(scene(), 10.1 + number / 10, is_attended=False)[0] for number in range(40)]
    kinds = [isinstance(each, Unread) for each in later]
    assert not any(kinds[: int(HOLD_S * 10) - 1])
    assert all(kinds[-15:])


def test_an_attended_camera_is_converted_whatever_happens(look: QuietFilter) -> None:
    images = [look(scene(), 10 + number / 10, is_attended=True)[0] for number in range(20)]
    assert not any(isinstance(image, Unread) for image in images)
    assert isinstance(look(scene(), 12.0, is_attended=False)[0], Unread)


def test_a_quiet_camera_is_converted_as_often_as_asked() -> None:
    made = QuietFilter(Converter(None), full_every_s=2.0)
    images = [made(scene(), number / 10, is_attended=False)[0] for number in range(300)]
    assert not any(isinstance(image, Unread) for image in images[:WARM_UP])
    whole = [number for number, image in enumerate(images) if not isinstance(image, Unread)]
    assert set(np.diff([number for number in whole if number > 50])) <= {20, 21}


def test_a_clock_that_is_put_back_leaves_no_gap(look: QuietFilter) -> None:
    assert not isinstance(look(scene(), -5.0, is_attended=False)[0], Unread)


def test_without_a_gate_all_is_converted_and_motion_is_not_looked_for() -> None:
    made = QuietFilter(Converter(None), full_every_s=None)
    for number in range(30):
        image, moving = made(scene(), number / 10, is_attended=False)
        assert isinstance(image, np.ndarray)
        assert moving is None


def test_frames_without_pixels_and_motion_cross_to_the_daemon() -> None:
    near, far = frame_ipc.pair()
    stats = CameraStats(CameraId("a"), "x")
    moving = np.array([[1, 2, 3, 4], [5, 6, 7, 8]], np.float32)
    for image in (Unread(6, 4), np.zeros((4, 6, 3), np.uint8)):
        assert frame_ipc.send_frame(far, Frame(CameraId("a"), 7, 1.5, "rtcp", image, moving), stats)
        message, received, detail = frame_ipc.receive(near) or (None, None, None)
        assert isinstance(message, frame_ipc.FrameMessage)
        assert received is not None
        frame = frame_ipc.frame_of(CameraId("a"), message, received, detail)
        assert isinstance(frame.image, type(image))
        assert frame.size == (6, 4)
        assert frame.moving is not None
        assert (frame.moving == moving).all()
    near.close()
    far.close()


@pytest.fixture(scope="module")
def still(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten seconds in which nothing happens."""
    path = tmp_path_factory.mktemp("still") / "still.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=20, options={"bf": "0", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        for _ in range(200):
            container.mux(stream.encode(scene().picture))
        container.mux(stream.encode())
    return path


@pytest.mark.slow
@pytest.mark.parametrize("isolate", [True, False])
def test_a_camera_stops_sending_pixels_and_begins_again_when_someone_is_followed(still: Path, isolate: bool) -> None:
    attended = True
    one = Camera.model_validate({"id": "a", "url": str(still), "max_fps": None, "loop": True})
    live = CameraSet(
        [one], Ingest(isolate=isolate), lambda _: None, full_every_s=1000.0, is_attended=lambda _: attended
    )
    live.start()

    def until(has_pixels: bool) -> int:
        frames = 0
        for _ in range(600):
            for frame in live.take_frames(0.1) or ():
                frames += 1
                if isinstance(frame.image, np.ndarray) == has_pixels:
                    return frames
        raise AssertionError(f"no frame {'with' if has_pixels else 'without'} pixels among {frames}")

    try:
        until(has_pixels=True)
        attended = False
        until(has_pixels=False)
        attended = True
        until(has_pixels=True)
    finally:
        live.stop()
