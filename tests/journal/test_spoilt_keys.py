"""State keys damaged by another writer: a clear message or a repair, never a traceback."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from pydantic import SecretStr

from benchmarks.faults.unguarded_redis import UnguardedRedis
from reid_stream.assembly.identification import open_state
from reid_stream.bundles.embedder_info import EmbedderInfo
from reid_stream.config.settings import Camera, Redis, Settings, SpoolSettings
from reid_stream.errors import ReidStreamError
from tests.publish.shop import entered

MODEL = "bundle-a"
STATE = "reid:site:state"
OURS = f"{STATE}:v1:{MODEL}"
KEYS = [
    f"{STATE}:v1:lease",
    f"{STATE}:v1:lease:epochs",
    f"{STATE}:v1:current",
    f"{STATE}:numbers",
    f"{STATE}:instructions",
    f"{STATE}:sent",
    f"{STATE}:topology",
    f"{OURS}:journal",
    f"{OURS}:snapshot:a",
    f"{OURS}:snapshot:b",
    "reid:site:events",
    "reid:site:identity:site-1",
    "reid:site:present:cam0",
]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[UnguardedRedis]:
    with UnguardedRedis(tmp_path_factory.mktemp("redis")) as running:
        yield running


def life(server: UnguardedRedis, spool: Path, number: int) -> None:
    """Open a site, send an event, and close it."""
    given = Settings(
        redis=Redis(url=SecretStr(server.url)),
        cameras=(Camera(id="cam0", url=SecretStr("memory")),),
        spool=SpoolSettings(directory=spool),
        state={"lease_s": 1},  # type: ignore[arg-type]
    )
    with open_state(given, EmbedderInfo(MODEL, None, None, 64), run=f"run-{number}") as state:
        assert state.redis is not None
        try:
            state.redis.publish([entered(f"site-{number}", camera="cam0")])
            state.redis.flush(5)
        finally:
            state.redis.close(1)


@pytest.mark.slow
@pytest.mark.parametrize("value", [b"junk", b"\xff\xfe\x00", b"9" * 40, b"[1]", b'{"new":' + b"[" * 5000, "list"])
@pytest.mark.parametrize("key", KEYS)
def test_a_damaged_key_is_reported_or_repaired(
    key: str, value: bytes | str, shared: UnguardedRedis, tmp_path: Path
) -> None:
    raw: Any = redis.Redis.from_url(shared.url)
    raw.flushall()
    life(shared, tmp_path, 1)
    raw.delete(key)
    if isinstance(value, bytes):
        raw.set(key, value)
    else:
        raw.rpush(key, "x")
    try:
        life(shared, tmp_path, 2)
    except ReidStreamError as error:
        assert key in str(error)
        raw.delete(key)
        life(shared, tmp_path, 2)
    raw.close()


def test_a_key_that_is_not_utf8_belongs_to_another_program(shared: UnguardedRedis, tmp_path: Path) -> None:
    raw: Any = redis.Redis.from_url(shared.url)
    raw.flushall()
    life(shared, tmp_path, 1)
    strange = [b"reid:site:identity:\xff\xfe", b"reid:site:present:\xff", f"{STATE}:v1:".encode() + b"\xff:snapshot:a"]
    for key in strange:
        raw.hset(key, "state", "x")
    life(shared, tmp_path, 2)
    raw.delete(f"{STATE}:sent")  # so that the live keys are looked through
    life(shared, tmp_path, 3)
    assert raw.exists(strange[0])
    raw.close()
