"""Finding a person as a new user does: three clicks to a journey, one picture among fifty people."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from benchmarks.simulator.battery import people_of
from reid_stream.bundles import catalog
from reid_stream.records import CameraId, GlobalId, TrackId
from reid_stream.store.layout import StoredTrack, write
from reid_stream.web.pictures import decode
from reid_stream.web.site import load_networks
from tests.web.site import RUN, T0, Shop, shop, visit

if TYPE_CHECKING:
    from playwright.sync_api import Browser

DATA = os.environ.get("REID_STREAM_DATA")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
PEOPLE = 50
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(DATA is None, reason="data: people (set REID_STREAM_DATA)"),
]


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Shop, dict[str, bytes]]]:
    """Fifty people of CUHK01, whom no shipped network has seen in training, and a picture of each by another camera."""
    assert DATA is not None
    seen: dict[str, dict[str, list[bytes]]] = {}
    for crop in people_of("cuhk01", "reported", Path(DATA)):
        seen.setdefault(crop.person, {}).setdefault(crop.camera, []).append(crop.data)
    both = [cameras for cameras in seen.values() if len(cameras) == 2][:PEOPLE]
    _, bundle = catalog.embedder("default")
    asked: dict[str, bytes] = {}
    with shop(tmp_path_factory.mktemp("crowd")) as made:
        embed = load_networks(made.settings).embed
        for number, cameras in enumerate(both, 10):
            first, second = cameras.values()
            at, person = T0 + 100 + 20 * number, f"shop-{number}"
            vectors = np.stack([embed(decode(body)) for body in first[:2]]).astype(np.float16)
            record = StoredTrack(
                camera=CameraId("door"), run=RUN, track=TrackId(number), times=[at + n for n in range(len(vectors))],
                boxes=[(0, 0, 60, 160)] * len(vectors), qualities=[0.9] * len(vectors), clock="rtcp",
                global_id=GlobalId(person), revision=1, bundle=bundle.hash, vectors="vectors.npy",
            )  # fmt: skip
            write(made.store, record, first[:2], vectors)
            made.publish(visit(person, "door", number, at))
            asked[person] = second[0]
        yield made, asked


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    api = pytest.importorskip("playwright.sync_api", reason="extra: playwright")
    with api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.mark.skipif(CHROMIUM is None, reason="extra: Chromium (apt-get install chromium)")
def test_three_clicks_lead_from_a_picture_to_the_journey(
    crowd: tuple[Shop, dict[str, bytes]], browser: "Browser", tmp_path: Path
) -> None:
    made, asked = crowd
    person, picture = list(asked.items())[7]
    file = tmp_path / "seen.jpg"
    file.write_bytes(picture)
    page = browser.new_page()
    page.goto(made.url)
    page.get_by_role("link", name="Search").click()
    with page.expect_file_chooser() as chooser:
        page.get_by_text("Choose a picture").click()
    chooser.value.set_files(file)
    first = page.locator("#results li").first
    first.wait_for(timeout=60_000)
    ranked = page.locator("#results .name").all_inner_texts()
    rank = next(place for place, text in enumerate(ranked, 1) if text.endswith(f" {person}"))
    print(f"{person} is number {rank} of {PEOPLE} in the browser")
    assert rank == 1
    first.locator("a").click()
    page.locator(".lanes a").first.wait_for()
    assert page.locator("h1").inner_text() == person


def test_the_right_one_of_fifty_comes_first_for_most_pictures(crowd: tuple[Shop, dict[str, bytes]]) -> None:
    made, asked = crowd
    ranks = []
    for person, picture in list(asked.items())[:8]:
        answer = made.ask("POST", "/api/v1/search?limit=60", picture, Content_Type="image/jpeg")
        assert answer.status == 200, answer.body
        order = [one["person"]["person"] for one in answer.json["candidates"]]
        ranks.append(order.index(person) + 1)
    print(f"ranks of eight people among {PEOPLE}: {sorted(ranks)}")
    assert np.median(ranks) == 1
    assert np.mean(np.array(ranks) <= 5) > 0.8
