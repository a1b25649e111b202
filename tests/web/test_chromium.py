"""The console in a real Chromium: it fits a phone, obeys its policy, updates itself, and works by keyboard."""

import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from ruamel.yaml import YAML

from benchmarks.rtsp.clips import draw_clip, serve_clips, why_not
from reid_stream.config import cams_yaml
from reid_stream.config.settings import Camera, Web
from reid_stream.events import DaemonStarted, DaemonStopped, IdentityNamed
from reid_stream.records import GlobalId
from tests.web.site import RUN, T0, Shop, shop, visit

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
PAGES = (
    "/wall",
    "/people", "/people/shop-1", "/cameras", "/cameras/door",
    "/search", f"/search?camera=till&run={RUN}&track=3", f"/explain/door/{RUN}/1/till/{RUN}/3", "/review", "/events",
    "/topology", "/corrections", "/system", "/people/shop-99",
)  # fmt: skip
AXE = os.environ.get("REID_STREAM_AXE")
"""Path of axe-core's axe.min.js, which is not part of this repository; without it accessibility is not looked at."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="extra: Chromium (apt-get install chromium)"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    api = pytest.importorskip("playwright.sync_api", reason="extra: playwright")
    with api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Shop]:
    with shop(tmp_path) as made:
        yield made


def open_page(browser: "Browser", width: int = 1280, scheme: Any = "light") -> tuple["Page", list[str]]:
    """Return a page and what goes wrong on it."""
    page = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme).new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("dialog", lambda dialog: faults.append(dialog.message))
    page.on("console", lambda line: faults.append(line.text) if line.type in ("error", "warning") else None)
    return page, faults


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_every_page_fits_and_breaks_no_rule(web: Shop, browser: "Browser", width: int, scheme: str) -> None:
    page, faults = open_page(browser, width, scheme)
    for path in PAGES:
        page.goto(web.url + path, wait_until="load")
        page.wait_for_timeout(300)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
        if AXE is not None:
            page.evaluate(Path(AXE).read_text())
            found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
            assert not [(path, one["id"]) for one in found["violations"] if one["impact"] in ("serious", "critical")]
    page.context.close()
    # The page of an unknown person is a 404, which the browser logs.
    assert not [fault for fault in faults if "404" not in fault]


def click_corners(page: "Page", shift: float = 0.0) -> None:
    """Draw a triangle, its first corner clicked again at the end; `shift`: fraction of the width to the right."""
    board = page.locator("#board")
    box = board.bounding_box()
    assert box is not None
    for x, y in ((0.2, 0.4), (0.6, 0.4), (0.6, 0.8), (0.2, 0.4)):
        board.click(position={"x": (x + shift) * box["width"], "y": y * box["height"]})


def test_zones_and_lines_are_drawn_by_mouse_and_by_keyboard(web: Shop, browser: "Browser") -> None:
    page, faults = open_page(browser)
    page.goto(f"{web.url}/cameras/door", wait_until="load")
    board = page.locator("#board")
    click_corners(page)
    page.locator("input[value=line]").check()
    page.locator("#place-name").fill("gate")
    board.focus()
    page.keyboard.press("Enter")  # in the middle
    for _ in range(3):
        page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Enter")
    shown = YAML(typ="safe").load(page.locator("#yaml").inner_text())
    assert shown["lines"] == {"gate": [[0.5, 0.5], [0.8, 0.5]]}
    corners = np.array(shown["zones"]["zone-1"])
    assert corners == pytest.approx(np.array([[0.2, 0.4], [0.6, 0.4], [0.6, 0.8]]), abs=0.005)
    # What is shown is what cams.yaml takes.
    Camera.model_validate({"id": "door", "url": "rtsp://10.0.0.5/door", **shown})
    page.get_by_role("button", name="Remove zone zone-1").click()
    assert "zone-1" not in page.locator("#yaml").inner_text()
    assert faults == []


@pytest.fixture
def cams(tmp_path: Path) -> Path:
    path = tmp_path / "cams.yaml"
    path.write_text(
        "cameras:\n  # by the entrance\n  - {id: door, url: rtsp://10.0.0.5/door}\n"
        "  - id: till\n    url: rtsp://10.0.0.6/till\n    zones: {old: [[0.7, 0.1], [0.9, 0.1], [0.9, 0.3]]}\n"
    )
    return path


@pytest.fixture
def changeable(tmp_path: Path, cams: Path) -> Iterator[Shop]:
    with shop(tmp_path, Web(camera_networks=("10.0.0.0/8", "127.0.0.0/8")), cams) as made:
        yield made


def test_zones_region_and_ignored_areas_are_saved_and_taken_away(
    changeable: Shop, cams: Path, browser: "Browser"
) -> None:
    page, faults = open_page(browser)
    page.goto(f"{changeable.url}/cameras/door", wait_until="load")
    save = page.get_by_role("button", name="Save what is drawn")
    assert save.is_disabled()
    for shift, tool in enumerate(("zone", "region", "ignore", "ignore")):
        page.locator(f"input[value={tool}]").check()
        click_corners(page, shift / 10)
    save.click()
    page.get_by_text("saved: the daemon uses it").wait_for()
    door, till = cams_yaml.load(cams).cameras
    triangle = np.array([[0.2, 0.4], [0.6, 0.4], [0.6, 0.8]])
    for shift, drawn in enumerate((door.zones["zone-1"], door.region, *door.ignore)):
        assert np.array(drawn) == pytest.approx(triangle + np.array([shift / 10, 0]), abs=0.005)
    assert (list(till.zones), "# by the entrance" in cams.read_text()) == (["old"], True)
    page.reload(wait_until="load")
    for name in ("zone zone-1", "region", "ignore 2", "ignore 1"):
        page.get_by_role("button", name=f"Remove {name}", exact=True).click()
    save.click()
    page.get_by_text("saved: the daemon uses it").wait_for()
    assert (
        "    region" in cams.read_text(),
        cams_yaml.load(cams).cameras[0].model_copy(update={"url": door.url}),
    ) == (False, Camera(id="door", url=door.url))
    page.context.close()
    assert faults == []


@pytest.mark.skipif(why_not() is not None, reason=str(why_not()))
def test_a_camera_is_tested_with_its_picture_added_changed_and_removed(
    changeable: Shop, cams: Path, browser: "Browser", tmp_path: Path
) -> None:
    page, faults = open_page(browser, 390)
    clip = str(draw_clip(tmp_path / "a.mp4", seconds=20))
    with serve_clips({"a": clip, "b": clip}) as server:
        page.goto(f"{changeable.url}/cameras")
        page.get_by_role("link", name="Add a camera").click()
        page.get_by_label("Name").fill("yard")
        page.get_by_label("Address").fill("rtsp://192.0.2.1/x")
        page.get_by_role("button", name="Test").click()
        page.get_by_text("the host must be in one of web.camera_networks").wait_for()
        page.get_by_label("Address").fill(server.url("a"))
        page.get_by_role("button", name="Save").click()
        page.wait_for_url("**/cameras", timeout=30_000)
        assert [one.id for one in cams_yaml.load(cams).cameras] == ["door", "till", "yard"]
        page.goto(f"{changeable.url}/cameras/yard", wait_until="load")
        page.get_by_role("button", name="Test").click()
        page.get_by_text("works: h264, 320").wait_for(timeout=30_000)
        assert page.locator("#picture").evaluate("one => one.decode().then(() => one.naturalWidth)") == 320
        page.get_by_label("Frames used per second").fill("4")
        page.get_by_label("Smaller stream").fill(server.url("b"))
        page.get_by_label("Scale frames to").fill("160 x 120")
        page.get_by_role("button", name="Save", exact=True).click()
        page.wait_for_url("**/cameras", timeout=30_000)
        yard = cams_yaml.load(cams).cameras[2]
        assert yard.detect_url is not None
        assert (yard.max_fps, yard.detect_url.get_secret_value(), yard.resize) == (4, server.url("b"), (160, 120))
        # What is emptied is taken out again.
        page.goto(f"{changeable.url}/cameras/yard", wait_until="load")
        page.get_by_label("Smaller stream").fill("")
        page.get_by_label("Scale frames to").fill("")
        page.get_by_role("button", name="Save", exact=True).click()
        page.wait_for_url("**/cameras", timeout=30_000)
    yard = cams_yaml.load(cams).cameras[2]
    assert (yard.detect_url, yard.resize, yard.max_fps) == (None, None, 4)
    # The camera is off now: the failure is shown, and saved only when asked to.
    page.goto(f"{changeable.url}/cameras/yard", wait_until="load")
    page.get_by_label("Address").fill("rtsp://127.0.0.1:9/x")
    page.get_by_role("button", name="Save", exact=True).click()
    page.get_by_text("does not work (unreachable)").wait_for(timeout=30_000)
    assert "127.0.0.1:9" not in cams.read_text()
    page.get_by_role("button", name="Save all the same").click()
    page.wait_for_url("**/cameras")
    assert "127.0.0.1:9" in cams.read_text()
    page.goto(f"{changeable.url}/cameras/yard", wait_until="load")
    page.get_by_role("button", name="Remove…").click()
    page.get_by_role("button", name="Remove", exact=True).click()
    page.wait_for_url("**/cameras")
    assert [one.id for one in cams_yaml.load(cams).cameras] == ["door", "till"]
    page.context.close()
    # The API's refusal is logged by the browser, too.
    assert [fault for fault in faults if "422" not in fault] == []


def test_a_journey_is_one_click_away_and_a_lookalike_two(web: Shop, browser: "Browser") -> None:
    page, faults = open_page(browser)
    page.goto(web.url)
    page.get_by_role("link", name="shop-1").first.click()
    page.locator(".lanes a").nth(1).wait_for()
    assert page.locator(".lanes a").count() == 2
    page.get_by_role("link", name="who looks like this?").first.click()
    page.locator("#results li").first.wait_for()
    assert "shop-1" in page.locator("#results li").first.inner_text()
    page.context.close()
    assert not faults


def test_people_who_come_appear_without_a_reload_and_names_run_no_code(own: Shop, browser: "Browser") -> None:
    page, faults = open_page(browser)
    with ExitStack() as streams:  # all that an address may have
        for _ in range(8):
            connection = streams.enter_context(socket.create_connection(("127.0.0.1", own.port), 10))
            connection.sendall(b"GET /api/v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            assert connection.recv(4096).split()[1] == b"200"
        page.goto(own.url + "/people")
        page.get_by_text("This console is not reachable now").wait_for()
    page.wait_for_selector("#live.good")
    page.get_by_text("This console is not reachable now").wait_for(state="hidden")
    note = page.get_by_text("The daemon does not run")
    assert note.is_hidden()  # its events have just come, though they are those of a recording
    own.publish([DaemonStopped(run=RUN, told_at=T0 + 50, reason="signal")])
    note.wait_for()
    page.reload()
    note.wait_for()
    page.wait_for_selector("#live.good")
    own.publish([DaemonStarted(run="run2", told_at=T0 + 55, version="1", cameras=(), model="m")])
    note.wait_for(state="hidden")
    attack = "<img src=x onerror=alert(1)>"
    own.publish([IdentityNamed(person=GlobalId("shop-2"), revision=2, label=attack, by="x", named_at=T0 + 50)])
    own.publish(visit("shop-9", "door", 40, T0 + 60)[:1])
    page.wait_for_selector("text=shop-9", timeout=15_000)
    page.get_by_text(attack).first.wait_for(timeout=15_000)
    page.goto(own.url + "/events")
    page.get_by_text("identity.named").first.wait_for()
    page.context.close()
    assert not [fault for fault in faults if "429" not in fault]


def test_a_pair_is_reviewed_and_taken_back_by_keys(own: Shop, browser: "Browser") -> None:
    page, faults = open_page(browser)
    page.goto(own.url + "/review")
    page.locator(".pair").wait_for()
    page.keyboard.press("u")
    page.get_by_text("1 reviewed").wait_for()
    page.keyboard.press("z")
    page.get_by_text("0 reviewed").wait_for()
    page.keyboard.press("?")
    page.get_by_text("Review: same, different, unsure").wait_for()
    page.keyboard.press("d")
    page.keyboard.press("Escape")
    # These letters are answers, but for the second of a way to a page.
    page.keyboard.press("g")
    page.keyboard.press("s")
    page.wait_for_url("**/search")
    assert own.get("/api/v1/review").json["reviewed"] == 0
    page.context.close()
    assert not faults
