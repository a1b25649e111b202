"""Run code on a network of unknown origin in a process of its own, which may take only so long and so much memory.

A network may loop without end, ask for any amount of memory, or crash the library that runs it; none can be interrupted
from Python within the process.
"""

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from reid_stream.errors import ModelError, ReidStreamError

R = TypeVar("R")
LIMIT_S = 600.0
"""Longest time of a trial; converting the largest networks takes a minute or two."""


def run(call: Callable[..., R], *args: Any, what: str, limit_s: float = LIMIT_S, **options: Any) -> R:
    """Return what `call` returns in a process of its own; a file that it has begun to write stays if it is ended.

    Args:
        call: a function of a module; its arguments and result are pickled.
        args: of `call`.
        what: the network, for messages.
        limit_s: its longest time.
        options: of `call`.

    Raises:
        ModelError: it took too long, too much memory, or crashed.
        ReidStreamError: whatever `call` raises of this kind.
    """
    context = multiprocessing.get_context("spawn")
    near, far = context.Pipe(duplex=False)
    child = context.Process(target=_serve, args=(far, call, args, options))
    child.start()
    far.close()
    try:
        if not near.poll(limit_s):
            raise ModelError(f"a network must run once within {limit_s:.0f} s, {what} did not")
        result, error = near.recv()
    except EOFError:
        child.join(5.0)
        raise ModelError(
            f"{what} ended the process that tried it ({_how(child.exitcode)}): it takes too much memory, or is broken"
        ) from None
    finally:
        near.close()
        child.kill()
        child.join()
    if error is not None:
        raise error
    returned: R = result
    return returned


def _serve(pipe: Connection, call: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]) -> None:
    # Ctrl-C is for the process that waits, which ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _limit_memory()
    try:
        pipe.send((call(*args, **options), None))
    except ReidStreamError as error:
        pipe.send((None, error))
    except MemoryError:
        os.abort()


def _limit_memory() -> None:
    """Let this process have at most three quarters of the machine's memory, and be the first to end without room."""
    with contextlib.suppress(ImportError, OSError, ValueError):  # not on all systems
        import resource

        most = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * 3 // 4
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:  # noqa: PTH123 (no path of ours)
        file.write("1000")


def _how(code: int | None) -> str:
    if code is None or code >= 0:
        return f"exit code {code}"
    return signal.Signals(-code).name
