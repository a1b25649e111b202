"""People per hour, and a camera's page with its zones and lines."""

from collections.abc import Iterator

import pytest

from reid_stream.events import Event, IdentityMerged, LineCrossed, ZoneLeft
from reid_stream.records import CameraId, GlobalId
from reid_stream.web.counts import HOUR_S, PlaceTally
from tests.web.site import T0, Shop, shop, visit

API = "/api/v1"
HOUR = T0 // HOUR_S * HOUR_S


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A shop with three people on the first hours, and one that turns out to be another."""
    with shop(tmp_path_factory.mktemp("counts")) as made:
        later = HOUR + 2 * HOUR_S
        made.publish([*visit("shop-1", "door", 11, later + 5), *visit("shop-1", "till", 12, later + 60)])
        made.publish([*visit("shop-5", "till", 13, later + 90), *visit("shop-2", "till", 14, later + 120)])
        made.publish(
            [
                IdentityMerged(
                    person=GlobalId("shop-1"), revision=2, previous=GlobalId("shop-5"), similarity=0.9,
                    probability=0.99, merged_at=later + 200,
                ),
                *_places(later),
            ]
        )  # fmt: skip
        yield made


def _places(at: float) -> list[Event]:
    def line(person: str, direction: str, after: float) -> LineCrossed:
        return LineCrossed(
            person=GlobalId(person), revision=1, camera=CameraId("door"), clock="rtcp", line="gate",
            direction=direction, crossed_at=at + after,  # type: ignore[arg-type]
        )  # fmt: skip

    stay = ZoneLeft(
        person=GlobalId("shop-1"), revision=1, camera=CameraId("door"), clock="rtcp", zone="queue", since=at - 5,
        left_at=at + 25, dwell_s=30.0,
    )  # fmt: skip
    return [line("shop-1", "in", 1), line("shop-2", "in", 2), line("shop-1", "out", 3), stay]


def test_people_count_once_an_hour_on_each_camera_and_once_on_the_site(busy: Shop) -> None:
    found = busy.get(f"{API}/counts?since={HOUR}&until={HOUR + 3 * HOUR_S}").json
    hours = {(one["hour"] - HOUR, one["camera"]): one["people"] for one in found["hours"]}
    # shop-5 is shop-1 after all.
    assert hours[2 * HOUR_S, None] == 2
    assert (hours[2 * HOUR_S, "door"], hours[2 * HOUR_S, "till"]) == (1, 2)
    assert hours[T0 // HOUR_S * HOUR_S - HOUR, None] == 3
    only = busy.get(f"{API}/counts?since={HOUR}&until={HOUR + 3 * HOUR_S}&camera=till").json
    assert {one["camera"] for one in only["hours"]} == {"till"}


def test_lines_and_zones_are_counted_by_hour_and_direction(busy: Shop) -> None:
    found = busy.get(f"{API}/counts?since={HOUR}&until={HOUR + 3 * HOUR_S}").json["places"]
    line = next(one for one in found if one["name"] == "gate")
    assert (line["people"], line["entries"], line["exits"], line["dwell_s"]) == (2, 2, 1, None)
    zone = next(one for one in found if one["name"] == "queue")
    # It began in the hour before.
    assert (zone["hour"], zone["people"], zone["entries"], zone["dwell_s"]) == (HOUR + HOUR_S, 1, 1, 30.0)


def test_the_pages_of_cameras_show_counts_and_a_board_to_draw_on(busy: Shop) -> None:
    page = busy.get("/cameras/door").body.decode()
    assert 'id="board"' in page
    assert busy.get("/cameras/nowhere").status == 404
    assert busy.get("/cameras/..%2f..%2fetc").status in {404, 422}
    assert "draw some" in busy.get("/cameras").body.decode()


def test_tallies_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reid_stream.web.counts._MOST_KEPT", 10)
    tally = PlaceTally()
    for hour in range(40):
        for event in _places(hour * HOUR_S + 10.0):
            tally.note(event)
    assert len(tally.counts(0, 1e9)) == 10
