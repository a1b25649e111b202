"""A disk that the spool fills: it recovers once Redis is back, and loses no event while memory lasts."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.ports import free_port
from reid_stream import subscribe
from reid_stream.publish.embedded_redis import EmbeddedRedis
from tests.publish.shop import visit

_SCRIPT = """
import structlog, sys, time
from pathlib import Path
from reid_stream.config.settings import Redis
from reid_stream.publish.redis_client import connect
from reid_stream.publish.redis_sink import RedisSink
from reid_stream.publish.spool import Spool
from tests.publish.shop import visit
structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
url, folder = sys.argv[1], Path(sys.argv[2])
sink = RedisSink(connect(Redis(), url=url, timeout_s=1), where=url, site="shop", run="run", spool=Spool(folder),
    keep_s=0.5)
def ask(*words):
    print(*words, flush=True)
    sys.stdin.readline()
ask("ready")  # Redis is away now
count = 0
while sink.is_on_disk and count < 5000:
    sink.publish(visit(count))
    count += 1
for _ in range(20):
    sink.publish(visit(count))
    count += 1
ask(count, sink.is_on_disk, dict(sink.counters.dropped))  # and back
assert sink.flush(30)
for _ in range(60):
    time.sleep(0.25)
    sink.publish(visit(count))
    count += 1
    if sink.is_on_disk:
        break
ask(count, sink.is_on_disk, sum(sink.counters.dropped.values()))  # and away
for _ in range(50):
    sink.publish(visit(count))
    count += 1
ask(count, sink.is_on_disk, sink.spool.waiting() >= 150)  # and back
print(sink.close(15), dict(sink.counters.lost), flush=True)
"""


def _may_mount() -> bool:
    command = ["unshare", "-rm", "sh", "-c", "mount -t tmpfs -o size=1m none /mnt"]
    return (
        shutil.which("unshare") is not None
        and subprocess.run(command, check=False, capture_output=True).returncode == 0
    )


@pytest.mark.slow
@pytest.mark.skipif(not _may_mount(), reason="no mount in a name space of its own here")
@pytest.mark.parametrize("size", ["3m", "5m"])
def test_a_disk_that_the_spool_fills_is_no_lasting_fault(size: str, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    first = EmbeddedRedis(tmp_path / "redis", port=free_port())
    daemon = subprocess.Popen(
        [
            *(
                "unshare",
                "-rm",
                "sh",
                "-c",
                'mount -t tmpfs -o size="$0" none "$1" && shift && exec "$@"',
                size,
                str(disk),
            ),
            *(sys.executable, "-c", _SCRIPT, first.url, str(disk)),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
        cwd=Path(__file__).parents[2],
    )
    assert daemon.stdin is not None
    assert daemon.stdout is not None
    assert daemon.stdout.readline() == "ready\n"
    first.stop()
    daemon.stdin.write("\n")
    _, on_disk, dropped = daemon.stdout.readline().split(" ", 2)
    assert (on_disk, dropped) == ("False", "{}\n")
    second = EmbeddedRedis(tmp_path / "redis", port=first.port)
    daemon.stdin.write("\n")
    assert daemon.stdout.readline().split()[1:] == ["True", "0"], "the disk takes events again"
    second.stop()
    daemon.stdin.write("\n")
    count, *rest = daemon.stdout.readline().split()
    assert rest == ["True", "True"]
    with EmbeddedRedis(tmp_path / "redis", port=first.port) as third:
        daemon.stdin.write("\n")
        assert daemon.stdout.readline() == "True {}\n"
        daemon.wait(20)
        with subscribe(third.url, site="shop", start="0", block_s=0) as received:
            assert [event.data for event in received] == [event for n in range(int(count)) for event in visit(n)]
    daemon.stdin.close()
    daemon.stdout.close()
