"""The whole daemon as a process: real footage, a real Redis, and every kind of subscriber."""

import contextlib
import json
import os
import subprocess
import threading
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import redis

from benchmarks.faults.unguarded_redis import UnguardedRedis
from benchmarks.rtsp.clips import cut_clip
from reid_stream.observe.metrics import Metrics
from reid_stream.publish.redis_server import newest_binary
from tests.integration.program import Running, call, real_models, running, tiny_models, write_cams
from tests.integration.rtsp import draw_clip, loop_clip, serve_clips, why_not

pytestmark = pytest.mark.timeout(300)

DATA = os.environ.get("REID_STREAM_DATA")
FOOTAGE_S = 6
SCHEMAS = Path(__file__).parents[2] / "configs" / "schemas" / "events"
KEY = "reid:lab:events"
needs_data = pytest.mark.skipif(DATA is None, reason="$REID_STREAM_DATA with real footage is needed")
Event = dict[str, Any]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_clip(tmp_path_factory.mktemp("clips") / "a.mp4", seconds=5)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[UnguardedRedis]:
    with UnguardedRedis(tmp_path / "redis") as started:
        yield started


class Listener:
    """A Pub/Sub subscriber on a thread of its own."""

    def __init__(self, url: str) -> None:
        self.received: list[bytes] = []
        client: Any = redis.Redis.from_url(url)
        self._client = client
        self._channel = client.pubsub(ignore_subscribe_messages=True)
        self._channel.subscribe(KEY)
        self._channel.get_message(timeout=5)
        self._is_over = False
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def _listen(self) -> None:
        # The server may end first, where a test fails.
        with contextlib.suppress(redis.exceptions.ConnectionError):
            while (message := self._channel.get_message(timeout=0.2)) is not None or not self._is_over:
                if message is not None:
                    self.received.append(message["data"])

    def close(self) -> list[bytes]:
        """Stop once nothing more has come for a moment."""
        self._is_over = True
        self._thread.join()
        self._channel.close()
        self._client.close()
        return self.received


def bodies(url: str) -> list[bytes]:
    """Every event on the stream, in its order."""
    client: Any = redis.Redis.from_url(url)
    with contextlib.closing(client):
        return [fields[b"event"] for _, fields in client.xrange(KEY)]


def events(url: str) -> list[Event]:
    return [json.loads(body) for body in bodies(url)]


def short(event: Event) -> str:
    return str(event["type"]).removeprefix("io.reid-stream.").removesuffix(".v1")


def about_cameras_and_people(published: list[Event]) -> list[Event]:
    """Leave out what is of the day: when the daemon began and ended."""
    return [{**event, "runid": ""} for event in published if short(event) not in ("daemon.started", "daemon.stopped")]


class Replayed:
    """Two fast replays of the same real footage under one name, each with a Redis of its own."""

    def __init__(self, folder: Path) -> None:
        assert DATA is not None
        self.footage = cut_clip(Path(DATA) / "video" / "vtest.avi", folder / "v.avi", seconds=FOOTAGE_S)
        models = real_models(Path(DATA), folder / "models")
        self.published: list[list[Event]] = []
        for number in range(2):
            home = folder / str(number)
            with UnguardedRedis(home / "redis-server") as server:
                later = f"{self.footage}, start_after_s: 1"
                cams = write_cams(home, {"east": self.footage, "west": later}, redis=server.url)
                listener = Listener(server.url)
                run = ("--cameras", cams, "--replay", "fast", "--run-id", "fixed", "--plain")
                ended = call(*run, models=models, home=home, timeout_s=200)
                assert ended.code == 0, ended.err
                self.published.append(events(server.url))
                if number == 0:
                    self.out = ended.out
                    self.bodies = bodies(server.url)
                    self.look(server, listener, home)
                else:
                    listener.close()

    def look(self, server: UnguardedRedis, listener: Listener, home: Path) -> None:
        """Ask everything that needs the Redis while it is there."""
        client: Any = redis.Redis.from_url(server.url, decode_responses=True)
        with contextlib.closing(client):
            self.present = client.keys("reid:lab:present:*")
        self.received = listener.close()
        binary = str(Path(newest_binary().path).with_name("redis-cli"))
        command = [binary, "-u", server.url, "--raw", "XRANGE", KEY, "-", "+"]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        self.raw = [line for line in output.splitlines() if line.startswith("{")]
        flags = ("--json", "--from", "0", "--type", "identity.entered", "--camera", "east")
        self.piped = call("events", "--url", server.url, "--site", "lab", *flags, models=None, home=home)


@pytest.fixture(scope="module")
def replayed(tmp_path_factory: pytest.TempPathFactory) -> Replayed:
    return Replayed(tmp_path_factory.mktemp("replayed"))


@needs_data
def test_every_event_fits_its_published_schema(replayed: Replayed) -> None:
    assert len(replayed.published[0]) > 20
    validators: dict[str, jsonschema.Draft202012Validator] = {}
    for event in replayed.published[0]:
        name = str(event["dataschema"]).removeprefix("urn:reid-stream:schema:")
        if name not in validators:
            schema = json.loads((SCHEMAS / f"{name}.json").read_text())
            validators[name] = jsonschema.Draft202012Validator(
                schema, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
            )
        validators[name].validate(event)
    assert {"identity.entered.v1", "identity.left.v1", "camera.up.v1", "daemon.stopped.v1"} <= set(validators)


@needs_data
def test_every_visit_that_starts_ends_and_none_starts_twice(replayed: Replayed) -> None:
    inside: set[tuple[str, str]] = set()
    visits: Counter[str] = Counter()
    for event in replayed.published[0]:
        data = event["data"]
        match short(event):
            case "identity.entered":
                assert (data["person"], data["camera"]) not in inside
                inside.add((data["person"], data["camera"]))
                visits[data["person"]] += 1
            case "identity.seen":
                assert (data["person"], data["camera"]) in inside
            case "identity.left":
                inside.remove((data["person"], data["camera"]))
            case "identity.merged":
                moved = {pair for pair in inside if pair[0] == data["previous"]}
                inside = (inside - moved) | {(data["person"], camera) for _, camera in moved}
    assert not inside
    assert any(count >= 2 for count in visits.values())


@needs_data
def test_numbers_have_no_gap_and_the_stream_is_in_their_order(replayed: Replayed) -> None:
    assert [int(event["sequence"]) for event in replayed.published[0]] == list(range(len(replayed.published[0])))
    assert [event["id"] for event in replayed.published[0]] == [f"fixed-{n}" for n in range(len(replayed.published[0]))]
    assert short(replayed.published[0][0]) == "daemon.started"
    assert short(replayed.published[0][-1]) == "daemon.stopped"


@needs_data
def test_two_replays_of_the_same_files_publish_the_same(replayed: Replayed) -> None:
    one, two = (about_cameras_and_people(published) for published in replayed.published)
    assert one == two


@needs_data
def test_the_channel_and_plain_redis_clients_get_the_same_json(replayed: Replayed) -> None:
    assert replayed.received == replayed.bodies
    assert replayed.raw == [body.decode() for body in replayed.bodies]


@needs_data
def test_no_person_is_present_once_the_daemon_has_ended(replayed: Replayed) -> None:
    assert replayed.present == []


@needs_data
def test_the_events_command_filters_by_type_and_camera(replayed: Replayed) -> None:
    assert replayed.piped.code == 0, replayed.piped.err
    entered = [e for e in replayed.published[0] if short(e) == "identity.entered" and e["data"]["camera"] == "east"]
    assert [json.loads(line) for line in replayed.piped.out.splitlines()] == entered
    assert entered


def get(port: str, page: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/{page}", timeout=10) as answer:
        return str(answer.read().decode())


def port_of(daemon: Running) -> str:
    return daemon.err.partition("metrics on http://127.0.0.1:")[2].partition("/")[0]


def figures(page: str) -> dict[str, float]:
    lines = [line.rpartition(" ") for line in page.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in lines}


def test_a_daemon_in_real_time_shows_its_figures_and_ends_in_order_at_a_signal(
    tmp_path: Path, tiny: Path, drawn: Path, server: UnguardedRedis
) -> None:
    looped = f"{drawn}, loop: true"
    cams = write_cams(
        tmp_path, {"a": looped, "b": f"{looped}, max_fps: 5"}, redis=server.url, more="observe: {port: 0}"
    )
    with running("--cameras", cams, "--run-id", "r", "--plain", models=tiny, home=tmp_path) as daemon:
        daemon.until(lambda: "entered a" in daemon.out and "entered b" in daemon.out)
        assert get(port_of(daemon), "healthz") == "ok, 2 of 2 cameras\n"
        page = get(port_of(daemon), "metrics")
        ended = daemon.terminate(5)
    assert ended.code == 0, ended.err
    assert ended.is_plain
    published = events(server.url)
    assert [int(event["sequence"]) for event in published] == list(range(len(published)))
    assert published[-1]["data"]["reason"] == "stopped"
    shown = figures(page)
    assert {family.name for family in Metrics().registry.collect() if f"# TYPE {family.name}" not in page} == set()
    moving = {
        'frames_read_total{camera="a"}',
        'frames_used_total{camera="b"}',
        'frames_dropped_total{camera="b",cause="rate"}',
        'camera_up{camera="a"}',
        "detections_total",
        "crops_embedded_total",
        "observations_total",
        'events_total{type="identity.entered.v1"}',
        "gallery_identities",
        "people_in_view",
        "capture_to_event_seconds_count",
        'stage_seconds_count{stage="detect"}',
    }
    assert {name for name in moving if not shown.get(f"reid_stream_{name}")} == set()
    still = {
        'frames_dropped_total{camera="a",cause="replaced"}',
        'frames_dropped_total{camera="a",cause="corrupt"}',
        'frames_dropped_total{camera="a",cause="late"}',
        'camera_reconnects_total{camera="a"}',
        "unassigned_boxes_total",
        "events_spooled",
    }
    assert {name for name in still if f"reid_stream_{name}" not in shown} == set()


def test_a_second_run_of_the_same_name_continues_the_numbers(
    tmp_path: Path, tiny: Path, drawn: Path, server: UnguardedRedis
) -> None:
    cams = write_cams(tmp_path, {"a": drawn}, redis=server.url)
    for _ in range(2):
        run = ("--cameras", cams, "--replay", "fast", "--run-id", "again", "--plain")
        ended = call(*run, models=tiny, home=tmp_path)
        assert ended.code == 0, ended.err
    published = events(server.url)
    assert sum(short(event) == "daemon.started" for event in published) == 2
    assert [event["id"] for event in published] == [f"again-{n}" for n in range(len(published))]


needs_rtsp = pytest.mark.skipif(why_not() is not None, reason=why_not() or "")


@needs_data
@needs_rtsp
def test_two_rtsp_cameras_reach_a_subscriber_with_their_own_clocks(
    tmp_path: Path, server: UnguardedRedis, record_property: Callable[[str, object], None]
) -> None:
    assert DATA is not None
    models = real_models(Path(DATA), tmp_path / "models")
    clip = loop_clip(Path(DATA) / "video" / "vtest.avi", tmp_path / "v.mp4", seconds=60, fps=5)
    with serve_clips({"a": clip, "b": clip}) as cameras:
        cams = write_cams(tmp_path, {n: cameras.url(n) for n in "ab"}, redis=server.url, more="observe: {port: 0}")
        listener = Listener(server.url)
        with running("--cameras", cams, "--plain", models=models, home=tmp_path) as daemon:
            daemon.until(lambda: all(f"entered {n}" in daemon.out for n in "ab"), 120)
            daemon.until(lambda: any(b'"clock":"rtcp"' in body for body in listener.received), 60)
            port = port_of(daemon)
            daemon.until(lambda: figures(get(port, "metrics"))["reid_stream_capture_to_event_seconds_count"] >= 20)
            shown = figures(get(port, "metrics"))
            ended = daemon.terminate(15)
        received = [json.loads(body) for body in listener.close()]
    assert ended.code == 0, ended.err
    published = events(server.url)
    assert received == published
    assert [int(event["sequence"]) for event in published] == list(range(len(published)))
    assert short(published[-1]) == "daemon.stopped"
    assert {e["data"]["camera"] for e in published if short(e) == "identity.entered"} == {"a", "b"}
    mean = shown["reid_stream_capture_to_event_seconds_sum"] / shown["reid_stream_capture_to_event_seconds_count"]
    print(f"capture to event: {mean:.3f} s on average over 2 RTSP cameras at 5 fps")
    record_property("capture_to_event_s", round(mean, 4))
    assert 0 < mean < 5
    assert 'reid_stream_camera_skew_seconds{camera="a"}' in shown
