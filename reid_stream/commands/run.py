"""`reid-stream --cameras cams.yaml`: the daemon with a table to look at, or lines in a pipe."""

import faulthandler
import os
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

_REARM_S = 5.0
_MORE_S = 30.0
"""The daemon's own watch comes first, by so much."""


def run(cameras: Path, *, duration_s: float | None, fast: bool, run_id: str | None, plain: bool) -> None:
    """Run until a signal, the duration or the end of all files.

    Raises:
        ConfigError, ModelError, BrokerError, StreamError: with the exit code that each carries.
    """
    from contextlib import ExitStack

    from rich.console import Console

    from reid_stream.assembly.site import assemble
    from reid_stream.commands.watch import Watch
    from reid_stream.commands.web_process import WebProcess, address
    from reid_stream.config import cams_yaml
    from reid_stream.observe import logs
    from reid_stream.observe.metrics import serve

    # Crops, spool and state show people: what is written from here on, by child processes too, is for our user alone.
    os.umask(0o077)
    settings = cams_yaml.load(cameras)
    logs.configure(settings.observe)
    logs.hide(settings)
    logs.catch()
    console = Console(stderr=True)
    run_name = run_id or uuid.uuid4().hex[:12]
    with _stopping() as stop, ExitStack() as opened:
        with console.status("loading models") if console.is_terminal and not plain else _nothing():
            site = opened.enter_context(assemble(settings, run=run_name, continues=run_id is not None, fast=fast))
        if settings.observe.port is not None:
            try:
                port = opened.enter_context(
                    serve(
                        site.metrics,
                        settings.observe.host,
                        settings.observe.port,
                        site.daemon.health.healthy,
                        site.daemon.health.ready,
                    )
                )
                console.print(f"metrics on http://{settings.observe.host}:{port}/metrics", style="dim", highlight=False)
            except OSError as error:
                from reid_stream.errors import ConfigError

                raise ConfigError(
                    f"observe.port must be free, {settings.observe.host}:{settings.observe.port}: {error.strerror}; "
                    "choose another, 0 for any, or null for none"
                ) from error
        console.print(
            f"site {settings.site}, run {run_name}, events to {site.redis_url} stream reid:{settings.site}:events",
            style="dim",
            highlight=False,
            soft_wrap=True,
        )
        if settings.web.enabled:
            opened.enter_context(WebProcess(cameras, settings.web))
            if settings.web.port:
                console.print(f"web console on {address(settings.web)}", style="bold", highlight=False)
        watch = opened.enter_context(Watch(site, settings, is_table=sys.stdout.isatty() and not plain))
        # Counted from here: how long the models take to load is no part of what was asked for.
        opened.enter_context(_after(duration_s, stop))
        rearm = opened.enter_context(last_resort(2 * settings.watchdog.stage_s + _MORE_S))
        site.daemon.run(stop, rearm)
        watch.finish()
        abandoned = site.daemon.abandoned
    if abandoned:
        # Their threads run native code, which must not be unloaded under them.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


@contextmanager
def last_resort(limit_s: float) -> Iterator[Callable[[], None]]:
    """Exit the process if even the daemon's watch cannot run, because native code never releases the GIL.

    Yields a function that restarts the timer. The timer is faulthandler's, which fires without Python; it prints the
    stack of every thread and exits with code 1.
    """
    armed_at = float("-inf")

    def rearm() -> None:
        nonlocal armed_at
        if time.monotonic() - armed_at > _REARM_S:
            faulthandler.dump_traceback_later(limit_s, exit=True)
            armed_at = time.monotonic()

    try:
        yield rearm
    finally:
        faulthandler.cancel_dump_traceback_later()


@contextmanager
def _stopping() -> Iterator[threading.Event]:
    """Give an event that SIGTERM or Ctrl-C sets; a second one ends at once."""
    stop = threading.Event()

    def ask(_number: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _after(duration_s: float | None, stop: threading.Event) -> Iterator[None]:
    """Set `stop` once so many seconds have passed, if the block has not ended by then."""
    if duration_s is None:
        yield
        return
    timer = threading.Timer(duration_s, stop.set)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextmanager
def _nothing() -> Iterator[None]:
    yield
