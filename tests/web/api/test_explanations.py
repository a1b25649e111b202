"""Why two tracks match: computed once, shown as pictures, gone with the track."""

import shutil
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest

from reid_stream.config.settings import Web
from reid_stream.web.limits import TooManyError
from reid_stream.web.track_index import TrackIndex
from tests.web.site import RUN, T0, Shop, shop, stored

PATH = f"/api/v1/explanations/door/{RUN}/1/till/{RUN}/3"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def blurred(tmp_path_factory: pytest.TempPathFactory) -> "Shop":  # type: ignore[misc]
    with shop(tmp_path_factory.mktemp("blurred"), Web(blur=True)) as made:
        yield made


def picture(web: Shop, path: str) -> np.ndarray:
    answer = web.get(path)
    assert (answer.status, answer.headers["content-type"]) == (200, "image/jpeg")
    found = cv2.imdecode(np.frombuffer(answer.body, np.uint8), cv2.IMREAD_COLOR)
    assert found is not None
    return np.asarray(found)


def test_two_pictures_of_one_person_are_explained_by_their_regions(web: Shop) -> None:
    found = web.get(PATH).json
    assert (found["left"]["track"], found["right"]["track"]) == (1, 3)
    assert found["cosine"] > 0.8
    # Which of the two is lower for these drawn people depends on the network; for real ones see tests/explain.
    assert found["cosine_covered"] != found["cosine_covered_elsewhere"]
    assert max(found["cosine_covered"], found["cosine_covered_elsewhere"]) < found["cosine"]
    shapes = {picture(web, path).shape for path in found["pictures"].values()}
    assert len(found["pictures"]) == 4
    assert {shape[0] for shape in shapes} == {384}
    alike, apart = (picture(web, found["pictures"][f"left-{kind}"]).astype(int) for kind in ("alike", "apart"))
    assert np.abs(alike - apart).mean() > 2
    assert web.get(PATH.replace("/3", "/99")).status == 404
    assert web.get(f"{PATH}/left-nothing").status == 422


def test_heads_are_blurred_where_that_is_set(web: Shop, blurred: Shop) -> None:
    clear, blurry = (picture(one, f"{PATH}/left-alike").astype(int) for one in (web, blurred))
    difference = np.abs(clear - blurry).mean(axis=(1, 2))
    assert difference[20:70].mean() > 5 * difference[120:].mean()


def test_what_is_deleted_is_explained_no_more(blurred: Shop) -> None:
    folder = stored(blurred.store, "shop-3", "door", 70, T0 + 90, "m", 4)
    path = f"/api/v1/explanations/door/{RUN}/1/door/{RUN}/70"
    for _ in range(40):  # the store is listed every two seconds
        if (answer := blurred.get(path)).status == 200:
            break
        threading.Event().wait(0.2)
    assert answer.status == 200
    shutil.rmtree(folder)
    assert blurred.get(path).status == 404
    assert blurred.get(f"{path}/left-alike").status == 404


def test_at_most_four_are_under_way(web: Shop, tmp_path: Path) -> None:
    from reid_stream.web.explanations import Explanations

    begun, ends = threading.Semaphore(0), threading.Event()

    def load() -> None:
        begun.release()
        ends.wait(30)
        raise OSError("gone")

    index = TrackIndex(web.store)
    tracks = list(index.tracks().values())
    explanations = Explanations(index, load, blur=False)  # type: ignore[arg-type]

    def ask() -> None:
        with pytest.raises(OSError, match="gone"):
            explanations.explain(tracks[0], tracks[1])

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert begun.acquire(timeout=30)
    for _ in range(100):
        if explanations._line._value == 0:
            break
        threading.Event().wait(0.05)
    with pytest.raises(TooManyError):
        explanations.explain(tracks[0], tracks[1])
    ends.set()
    for thread in threads:
        thread.join(30)
