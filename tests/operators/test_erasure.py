"""After `erase` no byte of a person is left: in Redis' files, the spool, the tracklet store, the logs."""

import contextlib
import io
import time
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis
import structlog

from benchmarks.ports import free_port
from reid_stream.assembly.identification import identification, open_state
from reid_stream.assembly.resources import operator_instructions
from reid_stream.assembly.site_state import SiteState
from reid_stream.bundles.embedder_info import EmbedderInfo
from reid_stream.config.cams_yaml import load
from reid_stream.config.settings import Settings
from reid_stream.instructions import ErasePerson, NamePerson
from reid_stream.journal.entry import StateKeys
from reid_stream.journal.snapshot_store import SnapshotStore
from reid_stream.operators.client import InstructionClient
from reid_stream.operators.dispatch import OperatorInstructions
from reid_stream.publish.redis_server import newest_binary
from reid_stream.records import CameraId, Crop, Decision, GlobalId, Observation, Perceived, Sighting
from reid_stream.store.writer import StoreWriter
from tests.publish import servers
from tests.publish.test_rights import rules
from tests.worlds import MODEL, World

WINDOW = 32
"""Bytes: a run of this length occurs in no other person's data."""
DIM = 64


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A Redis that keeps both kinds of files; without compression, so that a search finds what is in them."""
    monkeypatch.setattr(servers, "SERVER", newest_binary().path)
    port = free_port()
    keeps = ("--appendonly", "yes", "--save", "1 1", "--rdbcompression", "no")
    with servers.serving(tmp_path / "redis", port, "--port", str(port), *keeps):
        admin: Any = redis.Redis(port=port)
        admin.execute_command("ACL", "SETUSER", "daemon", *rules()["daemon"], ">geheim")
        admin.close()
        yield f"redis://127.0.0.1:{port}/0"


class Running:
    """Identify as the daemon has it, with a store, fed with people of a simulated world and pictures of noise."""

    def __init__(
        self, settings: Settings, state: SiteState, operators: OperatorInstructions, store: StoreWriter
    ) -> None:
        self.state, self.operators, self.store = state, operators, store
        self.steps = identification(
            settings,
            state,
            "r",
            instructions=operators.take,
            listeners=[operators.decided, self.note, store.decided],
        )
        self.now = 0.0
        self.rng = np.random.default_rng(7)
        self.vectors: dict[tuple[CameraId, int], list[bytes]] = {}
        self.owner: dict[tuple[CameraId, int], GlobalId] = {}

    def step(self, records: list[Perceived], now: float) -> None:
        seen = [record for record in records if isinstance(record, Observation) and record.vector is not None]
        for one in seen:
            self.vectors.setdefault((one.camera, one.track), []).append(one.vector or b"")
        self.store.take([self.crop(one) for one in seen], [r for r in records if not isinstance(r, Observation)])
        self.steps.commit(self.steps.step(records, now))
        self.now = now

    def note(self, decisions: Sequence[Decision], _now: float) -> None:
        for decision in decisions:
            if isinstance(decision, Sighting):
                self.owner[decision.observation.camera, decision.observation.track] = decision.person

    def crop(self, seen: Observation) -> Crop:
        picture = self.rng.integers(0, 255, (48, 24, 3), dtype=np.uint8)
        return Crop(
            seen.camera, seen.run, seen.track, seen.seen_at, "file", seen.box, seen.quality, picture, seen.vector, MODEL
        )

    def idle_until(self, holds: Any, timeout_s: float = 30) -> None:
        """Continue as a daemon does without people in view."""
        end = time.monotonic() + timeout_s
        while not holds():
            assert time.monotonic() < end
            self.step([], self.now + 0.1)
            time.sleep(0.02)

    def of(self, person: GlobalId) -> list[bytes]:
        """Every vector that was ever made of a person, and what the matcher made of them."""
        found = [v for key, vectors in self.vectors.items() if self.owner.get(key) == person for v in vectors]
        state, number = self.state.matcher.state(), int(person.rpartition("-")[2])
        return found + [exemplar.vector for exemplar in state.exemplars.get(number, ())]


@contextlib.contextmanager
def site(folder: Path, url: str) -> Iterator[Running]:
    (folder / "cams.yaml").write_text(
        f"site: shop\nredis: {{url: '{url}', username: daemon, password: geheim}}\n"
        f"spool: {{directory: {folder / 'spool'}}}\nstore: {{folder: {folder / 'store'}, settle_s: 0}}\n"
        "state: {snapshot_s: 1}\n"
        "cameras: [{id: cam0, url: 'rtsp://127.0.0.1/a'}, {id: cam1, url: 'rtsp://127.0.0.1/b'}]\n"
    )
    settings = load(folder / "cams.yaml", {})
    assert settings.store.folder is not None
    store = StoreWriter(settings.store, settings.store.folder)
    with open_state(settings, EmbedderInfo(MODEL, None, None, DIM), run="r") as state:
        assert state.redis is not None
        with operator_instructions(settings, state, state.redis, store) as operators:
            running = Running(settings, state, operators, store)
            yield running
            store.close()
            running.steps.close(10)


def windows(things: list[bytes]) -> set[bytes]:
    return {thing[i : i + WINDOW] for thing in things for i in range(len(thing) - WINDOW + 1)}


def found_in(folder: Path, wanted: set[bytes]) -> dict[str, int]:
    """Count the windows of `wanted` in every file below a folder."""
    counts = {}
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        try:
            data = file.read_bytes()
        except FileNotFoundError:
            continue  # Redis was writing it
        count = sum(data[i : i + WINDOW] in wanted for i in range(len(data) - WINDOW + 1))
        if count:
            counts[str(file.relative_to(folder)).partition("/")[0]] = count
    return counts


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """What is logged."""
    kept = io.StringIO()
    before = structlog.get_config()
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(kept), cache_logger_on_first_use=False)
    yield kept
    structlog.configure(**before)


@pytest.mark.slow
def test_not_one_byte_of_an_erased_person_is_left(tmp_path: Path, url: str, log: io.StringIO) -> None:
    client: Any = redis.Redis.from_url(url)
    with site(tmp_path, url) as running:
        for at, group in groupby(World(people=4, cameras=2, noise=0.3, seed=3).observations(), lambda r: r.seen_at):
            running.step(list(group), at)
        desk = InstructionClient(client, "shop", url)
        gone = GlobalId("shop-2")
        desk.submit(NamePerson(at=1.0, who="anna", person=gone, label="Bartholomew"))
        running.idle_until(lambda: client.hget("reid:shop:identity:shop-2", "label") == b"Bartholomew")
        running.idle_until(lambda: running.store.written >= 8)
        time.sleep(1.2)  # a snapshot, and Redis' own dump
        running.idle_until(lambda: client.lastsave().timestamp() > time.time() - 30)
        crops = [
            file.read_bytes()
            for file in (tmp_path / "store").rglob("*.jpg")
            if b"shop-2" in (file.parent / "track.json").read_bytes()
        ]
        assert crops
        vectors, pictures = windows(running.of(gone)), windows([crop[-300:] for crop in crops])
        rest = windows([v for person in ("shop-1", "shop-3", "shop-4") for v in running.of(GlobalId(person))]) - vectors
        before = found_in(tmp_path, vectors)
        assert {"redis", "spool", "store"} <= set(before)
        assert found_in(tmp_path, pictures).keys() == {"store"}

        behind = desk.events_end()
        place = desk.submit(ErasePerson(at=1.0, who="anna", person=gone))
        running.idle_until(lambda: desk.answer(place, behind, 0.0) is not None)
        answer = desk.answer(place, behind, 0.0)
        assert answer is not None
        assert answer.outcome == "done"
        assert "identity_erased" in log.getvalue()
        (tmp_path / "log.txt").write_text(log.getvalue())
        assert found_in(tmp_path, vectors) == {}
        assert found_in(tmp_path, pictures) == {}
        assert {"redis", "store"} <= set(found_in(tmp_path, rest)), "the others are still there"
        assert not client.exists("reid:shop:identity:shop-2")
        assert b"Bartholomew" not in b"".join(
            str(entry).encode() for key in ("events", "instructions") for entry in client.xrange(f"reid:shop:{key}")
        )
        kinds = [fields[b"type"] for _, fields in client.xrevrange("reid:shop:events", count=3)]
        assert b"identity.erased.v1" in kinds
    with site(tmp_path, url) as again:
        assert [person.number for person in again.state.matcher.state().people] == [1, 3, 4]
    assert found_in(tmp_path, vectors) == {}


@pytest.mark.slow
def test_what_was_begun_to_erase_is_finished_by_the_next_daemon(tmp_path: Path, url: str) -> None:
    client: Any = redis.Redis.from_url(url)
    with site(tmp_path, url) as running:
        for at, group in groupby(World(people=2, cameras=2, noise=0.3, seed=3).observations(), lambda r: r.seen_at):
            running.step(list(group), at)
        running.operators._eraser.close()  # it dies before it starts
        InstructionClient(client, "shop", url).submit(ErasePerson(at=1.0, who="anna", person=GlobalId("shop-1")))
        running.idle_until(lambda: bool(running.state.matcher.override_log.erasing))
        vectors = windows(running.of(GlobalId("shop-1")))
    assert found_in(tmp_path, vectors)
    with site(tmp_path, url) as again:
        again.idle_until(lambda: not again.state.matcher.override_log.erasing)
        assert found_in(tmp_path, vectors) == {}


def test_a_trimmed_journal_keeps_no_bytes_of_what_was_trimmed_and_no_other_model_does(url: str) -> None:
    client: Any = redis.Redis.from_url(url)
    names = StateKeys.of("shop", MODEL)
    for number in range(1, 6):
        client.xadd(names.journal, {"entry": f"a vector of person {number}"}, id=f"{number}-0")
    earlier, replay = StateKeys.of("shop", "bundle-z"), StateKeys.of("shop", MODEL, replay="r")
    for key in (earlier.journal, *earlier.snapshots, earlier.current, replay.journal):
        client.set(key, "kept by another model, or of files")
    slots = SnapshotStore(client, names)
    assert slots.drop_others() == 3
    assert client.exists(earlier.current, replay.journal, names.journal) == 3
    slots.trim("4-0")
    assert b"person 3" in client.dump(names.journal), "Redis deletes no bytes while their node has a living entry"
    slots.compact()
    assert b"person 3" not in client.dump(names.journal)
    assert list(slots.entries()) == [b"a vector of person 5"]
    slots.trim("5-0")
    slots.compact()
    assert list(slots.entries()) == []
    assert client.xinfo_stream(names.journal)["last-generated-id"] == b"5-0"


@pytest.mark.slow
def test_a_redis_that_refuses_a_rewrite_of_its_files_is_named_in_the_answer(tmp_path: Path, url: str) -> None:
    client: Any = redis.Redis.from_url(url)
    client.execute_command("ACL", "SETUSER", "daemon", "-bgrewriteaof")
    with site(tmp_path, url) as running:
        for at, group in groupby(World(people=2, cameras=2, noise=0.3, seed=3).observations(), lambda r: r.seen_at):
            running.step(list(group), at)
        desk = InstructionClient(client, "shop", url)
        behind = desk.events_end()
        place = desk.submit(ErasePerson(at=1.0, who="anna", person=GlobalId("shop-1")))
        running.idle_until(lambda: desk.answer(place, behind, 0.0) is not None)
        answer = desk.answer(place, behind, 0.0)
    assert answer is not None
    assert "not rewritten, ask its operator for BGREWRITEAOF and BGSAVE (its ACL forbids" in answer.text


@pytest.mark.slow
def test_a_person_whom_the_matcher_has_forgotten_is_erased_where_something_of_him_is_kept(
    tmp_path: Path, url: str
) -> None:
    client: Any = redis.Redis.from_url(url)
    with site(tmp_path, url) as running:
        for at, group in groupby(World(people=2, cameras=2, noise=0.3, seed=3).observations(), lambda r: r.seen_at):
            running.step(list(group), at)
        running.idle_until(lambda: running.store.written >= 4)
        running.now += 100_000  # a day later
        running.idle_until(lambda: not running.state.matcher.state().people)
        desk = InstructionClient(client, "shop", url)
        assert any(b"shop-1" in file.read_bytes() for file in (tmp_path / "store").rglob("track.json"))
        behind = desk.events_end()
        place = desk.submit(ErasePerson(at=1.0, who="anna", person=GlobalId("shop-1")))
        running.idle_until(lambda: desk.answer(place, behind, 0.0) is not None)
    assert not any(b"shop-1" in file.read_bytes() for file in (tmp_path / "store").rglob("track.json"))
    assert any(b"shop-2" in file.read_bytes() for file in (tmp_path / "store").rglob("track.json"))
