"""Names, camera ids and labels from others are printed harmlessly by every command."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.faults.unguarded_redis import UnguardedRedis
from reid_stream.bundles import bundle
from reid_stream.bundles.bundle import MODEL_FILE
from reid_stream.console.printable import printable, printable_lines
from reid_stream.events import (
    CameraDown,
    Event,
    IdentityConfirmed,
    IdentityMerged,
    IdentityNamed,
    InstructionAnswered,
)
from reid_stream.instructions import NamePerson, encode
from reid_stream.match.topology import BINS, TopologyState, Transition
from reid_stream.publish.latest_value import topology_key
from reid_stream.publish.live_keys import identity_key, instructions_key, present_key
from reid_stream.publish.redis_sink import RedisSink
from reid_stream.publish.spool import Spool
from reid_stream.records import CameraId, GlobalId, TrackId
from tests.commands.pty import show
from tests.integration.program import call, environment, tiny_models, write_cams
from tests.publish.shop import visit

pytestmark = pytest.mark.timeout(180)

TITLE = "\x1b]0;owned\x07"
MARKUP = "[/][bold]:smile:"
HOSTILE = f"{MARKUP}{TITLE}\x1b[2J\x9b31m\u202eevil\u2066\r\n\tEND"
"""Rich markup, a title, a cleared screen, an 8-bit control sequence, text direction, line breaks."""
_OURS = re.compile(rb"\x1b\[[0-9;]*m|\x1b\[\?25[hl]|\x1b\[\d*[AK]|\x1b\[2K|\r|\n")
"""What rich itself sends: colours, the cursor, lines of the progress bar."""


def foreign(shown: bytes) -> list[str]:
    """Return what a terminal would obey, beside what rich sends."""
    text = _OURS.sub(b"", shown).decode()
    return [one for one in text if one != printable(one)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[UnguardedRedis]:
    """Yield a Redis to which another program wrote the events, live keys, instructions and topology of a site."""
    folder = tmp_path_factory.mktemp("hostile")
    with UnguardedRedis(folder / "redis") as started:
        client: Any = redis.Redis.from_url(started.url)
        sink = RedisSink(client, where=started.url, site="shop", run="r", spool=Spool(folder / "spool"))
        person, camera = GlobalId("shop-0"), CameraId(HOSTILE)
        events: list[Event] = [
            *visit(0),
            msgspec.structs.replace(visit(1)[0], camera=camera),
            IdentityConfirmed(person=person, revision=1, camera=camera, track=TrackId(3), confirmed_at=6.0),
            IdentityNamed(person=person, revision=1, label=HOSTILE, by=HOSTILE, named_at=6.0),
            IdentityMerged(
                person=person, revision=2, previous=GlobalId(HOSTILE), similarity=0.8, probability=0.9, merged_at=7.0,
                by=HOSTILE,
            ),
            CameraDown(camera=camera, reason=HOSTILE, changed_at=8.0),
            InstructionAnswered(
                instruction="1-1", do="name", outcome="done", text=HOSTILE, people=(person,), by=HOSTILE,
                answered_at=6.0,
            ),
        ]  # fmt: skip
        sink.publish(events)
        sink.close(5)
        # Instructions with control characters are refused before anyone prints them.
        name = NamePerson(at=5.0, who=MARKUP, why=MARKUP, person=person, label="x")
        client.xadd(instructions_key("shop"), {"do": "name", "instruction": encode(name)})
        client.hset(identity_key("shop", person), mapping={"label": HOSTILE, "state": HOSTILE, "camera": HOSTILE})
        client.sadd(present_key("shop", camera), person)
        counts = Transition(same=[1.0] * BINS, other=[1.0] * BINS)
        state = TopologyState(at=8.0, links={f"{HOSTILE}->{HOSTILE}2": counts})
        client.set(topology_key("shop"), msgspec.json.encode(state))
        client.close()
        yield started


COMMANDS = {
    "events": ("events",),
    "events as JSON": ("events", "--json"),
    "list": ("identity", "list"),
    "list as JSON": ("identity", "list", "--json"),
    "show": ("identity", "show", "shop-0"),
    "show as JSON": ("identity", "show", "shop-0", "--json"),
    "log": ("identity", "log"),
    "log as JSON": ("identity", "log", "--json"),
    "topology": ("topology",),
    "topology as JSON": ("topology", "--json"),
}


HEADS = {"topology": (b"at once", b"seconds"), "list": (b"last seen", b"revision"), "log": (b"outcome",)}


@pytest.mark.slow
@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS)
def test_no_command_passes_control_characters_to_a_terminal(
    server: UnguardedRedis, tmp_path: Path, words: tuple[str, ...]
) -> None:
    code, shown = show(*words, "--url", server.url, "--site", "shop", environ=environment(None, tmp_path))
    assert code == 0, shown
    assert foreign(shown) == []
    assert b"Traceback" not in shown
    # However long a cell is, no column is lost at 80.
    for head in HEADS.get(words[-1], ()):
        assert head in shown


@pytest.mark.slow
@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS)
def test_no_command_breaks_a_row_or_stumbles_over_markup_in_a_pipe(
    server: UnguardedRedis, tmp_path: Path, words: tuple[str, ...]
) -> None:
    ended = call(*words, "--url", server.url, "--site", "shop", models=None, home=tmp_path)
    assert (ended.code, ended.is_plain) == (0, True), ended.err
    if "--json" in words or words[0] == "events":
        for line in ended.out.splitlines():
            json.loads(line)
    else:
        assert [one for one in ended.out if one != "\n" and one != printable(one)] == []
        assert "[/][bold]:smile:" in ended.out


@pytest.mark.slow
def test_errors_and_log_lines_are_as_harmless(tmp_path: Path) -> None:
    models = tiny_models(tmp_path / "models")
    cams = write_cams(tmp_path, {"a": tmp_path / f"{HOSTILE.replace('/', '')}.mp4".replace("\r\n\t", "")})
    cams.write_text(cams.read_text().encode("unicode_escape").decode().replace("\\n", "\n"))
    for words in (
        ("--cameras", cams, "--duration", "1", "--plain", "--run-id", HOSTILE),
        ("check", "--cameras", cams),
        ("models", "show", HOSTILE),
        ("identity", "show", HOSTILE, "--url", "redis://127.0.0.1:1"),
        ("events", "--url", f"redis://127.0.0.1:1/{HOSTILE}"),
    ):
        _, shown = show(*words, environ=environment(models, tmp_path), columns=100)
        assert foreign(shown) == [], words
        assert b"Traceback" not in shown, (words, shown)


def test_a_bundle_from_elsewhere_is_listed_and_shown(tmp_path: Path) -> None:
    models = tiny_models(tmp_path / "models")
    found = bundle.load_embedder(models / "embedder")
    network = (models / "embedder" / MODEL_FILE).read_bytes()
    bundle.save(msgspec.structs.replace(found, name=HOSTILE, licence=HOSTILE), network, models / "embedder")
    for words in (("models", "list"), ("models", "show", "embedder"), ("models", "show", "default")):
        code, shown = show(*words, environ=environment(models, tmp_path), columns=120)
        assert code == 0, shown
        assert foreign(shown) == []


@given(st.text())
def test_printable_text_holds_nothing_that_a_terminal_obeys_and_stays_what_it_is(text: str) -> None:
    shown = printable(text)
    assert printable(shown) == shown
    assert not any(
        ord(one) < 32 or 0x7F <= ord(one) < 0xA0 or one in "\u202a\u202b\u202d\u202e\u2066\u2028" for one in shown
    )
    if text.isprintable():
        assert shown == text
    assert printable_lines(text).count("\n") == text.count("\n")


def test_json_that_was_made_printable_has_the_same_content() -> None:
    value = {"name": HOSTILE + "\U000e0001"}
    raw = json.dumps(value, ensure_ascii=False)
    assert json.loads(printable(raw)) == value


def test_names_of_all_scripts_stay_as_they_are() -> None:
    for name in ("Zoë Müller", "محمد", "नमस्ते\u200dक्ष", "👨\u200d👩\u200d👧", "山田 太郎", "O'Brien-[x]"):
        assert printable(name) == name
