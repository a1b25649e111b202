"""Run one life of a daemon in a process that may be killed at any instant: `python -m ... FILE`.

Reads jobs (`DaemonLife` as JSON, one a line) and answers each with a `DaemonEnd`. Each job runs in a fork of this
process, which has imported everything once, so that a thousand lives cost little more than their work. With `cut_at`
the fork counts its messages to and from Redis and its spool writes, and kills itself (-9) at that count: between any
two messages.
"""

import importlib
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.faults.crash_feed import RUN, feed, settings
from benchmarks.faults.redis_feed import RecordedFeed, daemon
from reid_stream.assembly.identification import open_state, recorder
from reid_stream.pipeline import Identification

_BEFOREHAND = (
    "redis",
    "reid_stream.journal.recovery",
    "reid_stream.journal.lease",
    "reid_stream.publish.event_numbers",
)
"""Read once, before the forks."""


class DaemonLife(msgspec.Struct, frozen=True, kw_only=True):
    """Job of one process."""

    url: str
    spool: str
    lasts_s: float
    """Duration in seconds; 0: as fast as possible."""
    snapshot_s: float
    cut_at: int = 0
    """Count at which it kills itself; 0 for never."""


class DaemonEnd(msgspec.Struct, frozen=True, kw_only=True):
    """Outcome of a daemon's life."""

    pid: int
    signal: int
    """Exit code; 0 for an end in order."""
    code: int
    traces: int
    """Number of traces outside the process; 0 where it was killed."""


def main() -> None:
    """Run one job after another until the input ends."""
    fed = feed(Path(sys.argv[1]))
    for name in _BEFOREHAND:
        importlib.import_module(name)
    out = sys.stdout
    for line in sys.stdin:
        job = msgspec.json.decode(line, type=DaemonLife)
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reading)
            _be(fed, job, writing)
        os.close(writing)
        out.write(f"{pid}\n")
        out.flush()
        counted = os.read(reading, 32)
        os.close(reading)
        _, status = os.waitpid(pid, 0)
        death = DaemonEnd(
            pid=pid,
            signal=os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0,
            code=os.WEXITSTATUS(status) if os.WIFEXITED(status) else 0,
            traces=int(counted or b"0"),
        )
        out.write(msgspec.json.encode(death).decode() + "\n")
        out.flush()


def _be(fed: RecordedFeed, job: DaemonLife, writing: int) -> None:
    """Run a life; never returns."""
    code = 1
    try:
        counted = _count(job.cut_at)
        live(fed, job)
        os.write(writing, str(counted()).encode())
        code = 0
    except BaseException:  # noqa: BLE001 (whatever it is, this process must end here)
        import traceback

        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def live(fed: RecordedFeed, job: DaemonLife) -> None:
    """Run the daemon from where the last one ended to the end of the footage, or until a signal."""
    from reid_stream.config.settings import Observe
    from reid_stream.observe import logs

    logs.configure(Observe(log_level="error"))
    given = settings(fed, job.url, Path(job.spool), job.snapshot_s)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    with open_state(given, fed.embedder, run=RUN, continues=True, fast=True) as state:
        assert state.journal is not None, "a named replay has a journal"
        steps = recorder(given, Identification(state.matcher, state.presence), state.journal, RUN)
        known = steps.knows
        # What was seen before the crash comes again at once, as from a camera's file that is read from the start.
        begin = next((n for n, records in enumerate(fed.batches) if not known(records)), len(fed.batches))
        daemon(fed, steps, state.sink, job.lasts_s, begin).run(stop)


def _count(cut_at: int) -> Callable[[], int]:
    """Count every trace outside this process from now on, and die at `cut_at`."""
    from redis.connection import Connection

    from reid_stream.publish.spool import Spool

    lock, count = threading.Lock(), 0

    def trace() -> None:
        nonlocal count
        with lock:
            count += 1
            if count == cut_at:
                os.kill(os.getpid(), signal.SIGKILL)

    def around(kind: type, name: str) -> None:
        does: Any = getattr(kind, name)

        def traced(*given: Any, **named: Any) -> Any:
            trace()
            answer = does(*given, **named)
            trace()
            return answer

        # This process exists only to be killed.
        setattr(kind, name, traced)

    around(Connection, "send_packed_command")
    around(Connection, "read_response")
    for name in ("append", "mark", "move"):
        around(Spool, name)
    return lambda: count


if __name__ == "__main__":
    main()
