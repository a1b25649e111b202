import json
import socket
from collections.abc import Iterator
from pathlib import Path

import cv2
import jsonschema
import msgspec
import numpy as np
import pytest

from reid_stream.bundles import catalog
from reid_stream.events import IdentityErased, IdentityMerged, IdentityNamed
from reid_stream.records import GlobalId
from reid_stream.store.layout import now_file
from reid_stream.web.journey import TRACKS, VISITS
from tests.web.site import RUN, T0, Shop, instructions, shop, stored, visit

API = "/api/v1"


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Shop]:
    """A shop that a test may change."""
    with shop(tmp_path) as made:
        yield made


def test_people_are_listed_with_their_images_and_filtered(web: Shop) -> None:
    found = web.get(f"{API}/people").json
    assert {one["person"] for one in found["people"]} >= {"shop-1", "shop-2", "shop-3"}
    first = next(one for one in found["people"] if one["person"] == "shop-1")
    assert first["cameras"] == ["door", "till"]
    assert (first["visits"], first["tracks"]) == (2, 2)
    assert first["probability"] == pytest.approx(0.62)
    assert web.get(first["picture"]).headers["content-type"] == "image/jpeg"
    on_till = web.get(f"{API}/people?camera=till&limit=1").json
    assert on_till["total"] == 2
    assert len(on_till["people"]) == 1
    assert web.get(f"{API}/people?until={T0 + 2}").json["total"] == 1


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("", ["shop-8", "shop-3", "shop-1", "shop-2", "shop-9"]),
        ("?here=true", ["shop-8"]),
        ("?here=false", ["shop-3", "shop-1", "shop-2", "shop-9"]),
        ("?camera=till", ["shop-3", "shop-1", "shop-9"]),
        (f"?since={T0 + 20}", ["shop-3", "shop-1"]),
        (f"?until={T0 - 30}", ["shop-9"]),
        ("?text=OP-9", ["shop-9"]),
        ("?text=anna", ["shop-2"]),
        ("?camera=till&here=false&since=0&text=shop&limit=2", ["shop-3", "shop-1"]),
        ("?offset=3&limit=2", ["shop-2", "shop-9"]),
        ("?offset=9", []),
    ],
)
def test_every_filter_holds_for_people_in_view_earlier_ones_and_those_of_the_store(
    listed: Shop, asked: str, expected: list[str]
) -> None:
    found = listed.get(f"{API}/people{asked}").json
    assert [one["person"] for one in found["people"]] == expected
    if "offset" not in asked and "limit" not in asked:
        assert found["total"] == len(expected)


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A shop with shop-8 in view, shop-2 named Anna, and shop-9, of whom only the store has a track."""
    with shop(tmp_path_factory.mktemp("listed")) as made:
        _, embedder = catalog.embedder("default")
        stored(made.store, "shop-9", "till", 9, T0 - 50, embedder.hash, embedder.dim)
        made.publish(visit("shop-8", "door", 8, T0 + 10)[:1])
        made.publish([IdentityNamed(person=GlobalId("shop-2"), revision=1, label="Anna", named_at=T0 + 60, by="ben")])
        yield made


def test_a_journey_goes_over_cameras_with_crops_of_each_track(web: Shop) -> None:
    person = web.get(f"{API}/people/shop-1").json
    assert [visit["camera"] for visit in person["journey"]] == ["door", "till"]
    track = person["journey"][1]["tracks"][0]
    assert (track["run"], track["track"], track["probability"]) == (RUN, 3, 0.62)
    assert [picture["quality"] for picture in track["pictures"]] == [0.5, 0.9, 0.6]
    image = cv2.imdecode(np.frombuffer(web.get(track["pictures"][1]["url"] + "?width=64").body, np.uint8), 1)
    assert image is not None
    assert image.shape[1] == 64


def test_a_long_journey_comes_in_parts_the_latest_first(own: Shop) -> None:
    for number in range(VISITS + 20):
        own.publish(visit("shop-7", "door", 100 + number, T0 + 60 * number))
    person = own.get(f"{API}/people/shop-7").json
    assert (person["visits"], len(person["journey"])) == (VISITS + 20, VISITS)
    assert [person["journey"][at]["since"] for at in (0, -1)] == [T0 + 60 * 20, T0 + 60 * (VISITS + 19)]
    earlier = own.get(f"{API}/people/shop-7?offset={VISITS}").json["journey"]
    assert [visit["since"] for visit in earlier] == [T0 + 60 * number for number in range(20)]
    assert own.get(f"{API}/people/shop-7?offset=999").json["journey"] == []
    page = own.get("/people/shop-7").body
    assert b"21 to 120 of 120" in page
    assert f"?offset={VISITS}".encode() in page
    assert b"1 to 20 of 120" in own.get(f"/people/shop-7?offset={VISITS}").body
    assert own.get("/people/shop-7?offset=999").status == 200


def test_an_unknown_person_is_a_problem_document(web: Shop) -> None:
    answer = web.get(f"{API}/people/shop-99")
    assert answer.status == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json == {
        "type": "about:blank",
        "title": "Not Found",
        "status": 404,
        "detail": "no person is called shop-99",
    }
    assert web.get(f"{API}/people?limit=0").status == 422


def test_cameras_topology_and_system_show_no_password(web: Shop) -> None:
    cameras = web.get(f"{API}/cameras").json
    assert [one["camera"] for one in cameras] == ["door", "till"]
    assert cameras[0]["frame_size"] == [640, 480]
    system = web.get(f"{API}/system").json
    assert [model["kind"] for model in system["models"]] == ["detector", "embedder"]
    assert all(model["licence"] for model in system["models"])
    # The shipped ones: the embedder learned from research data, the detector is AGPL-3.0.
    assert {model["kind"]: model["commercial_use"] for model in system["models"]} == {
        "embedder": "no",
        "detector": "conditions",
    }
    assert system["bounds"]["store.retention_s"] == 30 * 86_400
    assert web.get(f"{API}/topology").json["cameras"] == ["door", "till"]
    pages = [web.get(path).body for path in ("/cameras", "/system", f"{API}/cameras", f"{API}/system")]
    assert not [page for page in pages if b"hunter2" in page]


def test_the_openapi_document_is_valid_and_describes_answers(web: Shop) -> None:
    document = web.get(f"{API}/openapi.json").json
    assert document["openapi"].startswith("3.1")
    schemas = document["components"]["schemas"]
    for path, name in (
        (f"{API}/people", "People"),
        (f"{API}/people/shop-1", "Person"),
        (f"{API}/system", "SystemRecord"),
    ):
        schema = {"$ref": f"#/components/schemas/{name}", "components": {"schemas": schemas}}
        jsonschema.validate(web.get(path).json, schema)


def _lines(web: Shop, path: str, wanted: int, **headers: str) -> list[str]:
    """Read so many events of a stream, as raw HTTP."""
    with socket.create_connection(("127.0.0.1", web.port), 10) as connection:
        extra = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{web.port}\r\n{extra}\r\n".encode())
        text = ""
        while text.count("\ndata: ") < wanted:
            part = connection.recv(65536)
            assert part, text
            text += part.decode()
    assert "text/event-stream" in text
    return [line for line in text.splitlines() if line.startswith(("id: ", "data: "))]


def test_events_are_streamed_and_resume_behind_the_last_one_seen(own: Shop) -> None:
    first, second = own.publish(visit("shop-2", "till", 9, T0 + 60))
    lines = _lines(own, f"{API}/events", 1, Last_Event_ID=first)
    assert lines[0] == f"id: {second}"
    assert json.loads(lines[1].removeprefix("data: "))["type"] == "io.reid-stream.identity.left.v1"
    everything = _lines(own, f"{API}/events?start=0", 13)
    assert json.loads(everything[1].removeprefix("data: "))["type"] == "io.reid-stream.daemon.started.v1"
    some = _lines(own, f"{API}/events?start=0&types=identity.entered&cameras=till", 3)
    assert {json.loads(line[6:])["data"]["camera"] for line in some if line.startswith("data")} == {"till"}


def test_corrections_reach_the_daemon_with_who_asked(own: Shop) -> None:
    done = own.ask("POST", f"{API}/instructions", {"do": "name", "person": "shop-1", "label": "Ann", "wait_s": 0})
    assert (done.status, done.json["outcome"]) == (200, "waits")
    own.ask(
        "POST",
        f"{API}/instructions",
        {"do": "merge", "gone": "shop-3", "into": "shop-2", "why": "same coat", "wait_s": 0},
    )
    split = {"do": "split", "person": "shop-1", "tracks": [["till", RUN, 3]], "wait_s": 0}
    own.ask("POST", f"{API}/instructions", split)
    asked = instructions(own)
    assert [one["do"] for one in asked] == ["name", "merge", "split"]
    assert asked[1]["why"] == "same coat"
    assert asked[2]["tracks"] == [["till", RUN, 3]]
    assert all(one["who"].endswith("(console)") for one in asked)
    log = own.get(f"{API}/instructions").json
    assert [one["outcome"] for one in log] == ["waits"] * 3
    assert own.ask("POST", f"{API}/instructions", {"do": "merge", "gone": "shop-1"}).status == 422
    assert (
        own.ask("POST", f"{API}/instructions", {"do": "name", "person": "shop-1", "label": "A", "who": "me"}).status
        == 422
    )


def test_merged_people_are_found_under_the_new_id_and_erased_ones_not_at_all(own: Shop) -> None:
    merged = IdentityMerged(
        person=GlobalId("shop-2"),
        revision=2,
        previous=GlobalId("shop-3"),
        similarity=0.9,
        probability=0.9,
        merged_at=T0 + 99,
    )
    own.publish([merged])
    found = own.get(f"{API}/people/shop-3").json
    assert (found["asked"], found["person"], found["visits"]) == ("shop-3", "shop-2", 2)
    own.publish([IdentityErased(person=GlobalId("shop-1"), revision=2, erased_at=T0 + 100)])
    assert own.get(f"{API}/people/shop-1").status == 410
    assert own.get(f"{API}/tracks/door/{RUN}/1/crops/1").status == 404


def test_images_obey_retention_even_in_a_browsers_cache(own: Shop) -> None:
    path = f"{API}/tracks/door/{RUN}/1/crops/1?width=64"
    answer = own.get(path)
    assert answer.headers["cache-control"] == "private, no-cache"
    tag = answer.headers["etag"]
    assert own.get(path, If_None_Match=tag).status == 304
    folder = own.store / "door"
    for file in sorted(folder.rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    assert own.get(path, If_None_Match=tag).status == 404


def test_a_track_finds_its_person_first(web: Shop) -> None:
    found = web.get(f"{API}/search?camera=till&run={RUN}&track=3").json
    assert found["compared"] >= 4
    assert found["candidates"][0]["person"]["person"] == "shop-1"
    assert sum(one["probability"] for one in found["candidates"]) <= 1


def test_a_doubtful_pair_is_asked_about_once_and_different_splits_it(own: Shop) -> None:
    pairs = own.get(f"{API}/review").json["pairs"]
    doubtful = next(pair for pair in pairs if pair["kind"] == "doubtful")
    assert doubtful["left"]["track"]["track"] == 3
    assert doubtful["probability"] == pytest.approx(0.62)
    kept = own.ask("POST", f"{API}/review", {"pair": doubtful["pair"], "answer": "unsure"}).json
    assert kept["outcome"] is None
    assert doubtful["pair"] not in [pair["pair"] for pair in own.get(f"{API}/review").json["pairs"]]
    assert own.ask("DELETE", f"{API}/review/{kept['review']}").json["outcome"] == "done"
    assert own.get(f"{API}/review").json["reviewed"] == 0
    same = own.ask("POST", f"{API}/review", {"pair": doubtful["pair"], "answer": "same"})
    assert same.status == 200
    assert own.get(f"{API}/review/ids").body == b"shop-1\n"


@pytest.mark.parametrize(
    "path",
    ["/people", "/people/shop-1", "/cameras", "/search", f"/search?camera=till&run={RUN}&track=3", "/review", "/events",
     "/topology", "/corrections", "/system"],
)  # fmt: skip
def test_every_page_is_rendered(web: Shop, path: str) -> None:
    answer = web.get(path)
    assert answer.status == 200
    assert answer.body.endswith(b"</html>")


def test_an_unknown_page_and_person_are_errors_for_people(web: Shop) -> None:
    for path in ("/people/shop-99", "/nothing"):
        answer = web.get(path)
        assert answer.status == 404
        assert b"</html>" in answer.body


def test_a_visit_of_many_tracks_comes_in_parts_the_latest_first(own: Shop) -> None:
    count = 2 * TRACKS + 5
    own.publish([visit("shop-7", "door", 100 + number, T0 + number)[0] for number in range(count)])
    own.publish(visit("shop-7", "till", 999, T0 + 600))
    first, last = own.get(f"{API}/people/shop-7").json["journey"]
    assert (first["track_count"], last["track_count"]) == (count, 1)
    assert [track["track"] for track in first["tracks"]] == list(range(100 + count - TRACKS, 100 + count))
    (earliest,) = own.get(f"{API}/people/shop-7?limit=1&offset=1&tracks_offset={2 * TRACKS}").json["journey"]
    assert [track["track"] for track in earliest["tracks"]] == list(range(100, 105))
    page = own.get("/people/shop-7").body.decode()
    more = f"?only=true&amp;offset=1&amp;tracks_offset={TRACKS}"
    assert (f"{more}#visit-1" in page, f"{TRACKS + 6} to {count} of {count} tracks" in page) == (True, True)
    page = own.get(f"/people/shop-7{more.replace('&amp;', '&')}").body.decode()
    assert f"6 to {TRACKS + 5} of {count} tracks" in page
    assert ("track 105" in page, "track 104" in page, "track 999" in page) == (True, False, False)
    assert '"/people/shop-7?offset=0#visit-1"' in page


def test_a_visit_has_its_best_picture_while_it_lasts_and_after(own: Shop) -> None:
    entered, left = visit("shop-2", "till", 9, T0 + 100)
    own.publish([entered])
    path = now_file(own.store, "till", RUN, 9)
    path.parent.mkdir(parents=True)
    path.write_bytes(cv2.imencode(".jpg", np.full((80, 40, 3), 90, np.uint8))[1].tobytes())
    # A new person is in view, of whom nothing is stored yet.
    own.publish([*visit("shop-9", "till", 9, T0 + 101)[:1]])
    summary = next(one for one in own.get(f"{API}/people").json["people"] if one["person"] == "shop-9")
    assert summary["picture"] == f"{API}/snapshots/till/{RUN}/9"
    assert own.get(summary["picture"]).headers["content-type"] == "image/jpeg"

    name = f"till/{RUN}/3/{round((T0 + 31) * 1000)}"
    own.publish([msgspec.structs.replace(left, person=GlobalId("shop-9"), snapshot=name)])
    (visited,) = own.get(f"{API}/people/shop-9").json["journey"]
    assert visited["snapshot"] == f"{API}/snapshots/{name}"
    picture = own.get(visited["snapshot"])
    assert picture.body == own.get(f"{API}/tracks/till/{RUN}/3/crops/2").body
    assert own.get(visited["snapshot"], If_None_Match=picture.headers["etag"]).status == 304
    assert own.get(f"{visited['snapshot']}?width=64").status == 200
    # Another time gives the best crop of the track, another track none.
    assert own.get(f"{API}/snapshots/till/{RUN}/3/1").body == picture.body
    assert own.get(f"{API}/snapshots/till/{RUN}/77/1").status == 404
    path.unlink()
    assert own.get(f"{API}/snapshots/till/{RUN}/9").status == 404


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "till/run1/3", "till/../../3/1", "till/run1/3/1/x", "till/run1/-3/1"]
)
def test_a_forged_name_of_a_picture_is_not_shown(own: Shop, name: str) -> None:
    entered, left = visit("shop-9", "till", 3, T0 + 100)
    own.publish([entered, msgspec.structs.replace(left, snapshot=name)])
    (visited,) = own.get(f"{API}/people/shop-9").json["journey"]
    assert (visited["is_over"], visited["snapshot"]) == (False, None)


def test_a_name_of_a_picture_leads_nowhere_else(own: Shop) -> None:
    for name in ("../../etc/passwd", "till/../3/1", "till/..%2f..%2f/3/1", "till/run1/-3/1", "till/run1/3/1/x"):
        assert own.get(f"{API}/snapshots/{name}").status in {404, 422}, name
