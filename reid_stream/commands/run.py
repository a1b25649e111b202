"""`reid-stream --cameras cams.yaml`: the daemon, with a live table on a terminal or lines in a pipe."""

import faulthandler
import os
import shlex
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Literal

from reid_stream.config import stopping

if TYPE_CHECKING:
    from contextlib import ExitStack

    from reid_stream.assembly.site import Site
    from reid_stream.config.settings import Observe, Settings, Web
    from reid_stream.console.output import Output

_REARM_S = 5.0
_MORE_S = 30.0
"""Delay of the last resort after the daemon's own watchdog, seconds."""


@dataclass(frozen=True, slots=True)
class Half:
    """Which part of a site a process runs."""

    kind: Literal["both", "perceive", "identify"] = "both"
    site: str | None = None
    """Overrides `site` of the file."""
    url: str | None = None
    """Overrides `redis.url` of the file."""
    host: str | None = None
    """Name of a perceive host; None for that of the machine."""

    @property
    def is_perceive(self) -> bool:
        """Whether only perception runs here."""
        return self.kind == "perceive"

    @property
    def is_identify(self) -> bool:
        """Whether only identification runs here."""
        return self.kind == "identify"

    def settings(self, sources: Sequence[str]) -> "Settings":
        """Read the settings from the values of `--cameras`; identification may do without.

        Raises:
            ConfigError: see `load_settings`.
        """
        from reid_stream.config import cams_yaml
        from reid_stream.config.identify_settings import IdentifySettings
        from reid_stream.config.perceive_settings import PerceiveSettings
        from reid_stream.config.sources import load_settings

        if self.is_perceive:
            found = load_settings(sources, kind=PerceiveSettings)
        elif not self.is_identify:
            found = load_settings(sources)
        elif sources:
            found = cams_yaml.load(Path(sources[0]), kind=IdentifySettings)
        else:
            found = cams_yaml.from_values({}, Path.cwd(), "reid-stream identify", kind=IdentifySettings)
        return self.named(found)

    def named(self, settings: "Settings") -> "Settings":
        """Return settings with the site and the Redis that the options name.

        Raises:
            ConfigError: they are not of the allowed form.
        """
        from reid_stream.config import cams_yaml
        from reid_stream.config.identify_settings import IdentifySettings

        if self.site is not None:
            # Checked as the file is, with the option's name in the message.
            site = cams_yaml.from_values({"site": self.site}, Path.cwd(), "--site", kind=IdentifySettings).site
            settings = settings.model_copy(update={"site": site})
        if self.url is not None:
            redis = cams_yaml.from_values(
                {"redis": {"url": self.url}}, Path.cwd(), "--url", kind=IdentifySettings
            ).redis
            settings = settings.model_copy(update={"redis": settings.redis.model_copy(update={"url": redis.url})})
        return settings


def run(
    cameras: Sequence[str],
    *,
    duration_s: float | None,
    fast: bool,
    run_id: str | None,
    plain: bool,
    standby: bool = False,
    save: Path | None = None,
    half: Half = Half(),
) -> None:
    """Run until a signal, the duration or the end of all files.

    Args:
        cameras: a cams.yaml, or files and URLs.
        duration_s: stop after this long, counted from when the models are loaded; none for no limit.
        fast: replay files as fast as possible.
        run_id: name of the run in events; none for a random one.
        plain: lines even on a terminal.
        standby: while another daemon runs the site, wait and take over when it is gone.
        save: folder for annotated videos of a fast replay; none for none.
        half: perception or identification alone; by default both.

    Raises:
        ConfigError, ModelError, BrokerError, StreamError: with the exit code that each carries.
    """
    from contextlib import ExitStack

    from reid_stream.assembly.perceive_host import assemble_host
    from reid_stream.assembly.settings_follower import SettingsFollower
    from reid_stream.assembly.site import assemble
    from reid_stream.commands.annotate import SavedReplay
    from reid_stream.commands.standby import StandbyServer
    from reid_stream.commands.watch import Watch
    from reid_stream.config.sources import is_config
    from reid_stream.console.output import Output
    from reid_stream.errors import StoppedError
    from reid_stream.observe import logs

    # Crops, spool and state show people: files written from here on, by child processes too, are for this user alone.
    os.umask(0o077)
    settings = half.settings(cameras)
    saved = None if save is None else SavedReplay(settings, save, fast=fast)
    logs.configure(settings.observe)
    logs.hide(settings)
    logs.catch()
    out = Output(error=True)
    run_name = run_id or uuid.uuid4().hex[:12]
    from_file = len(cameras) == 1 and is_config(cameras[0])
    with _stopping(rereads=from_file and not fast) as (stop, hangups), ExitStack() as opened:
        waiting = opened.enter_context(StandbyServer(settings.observe, stop)) if standby and not fast else None
        try:
            with out.status("loading models") if out.is_terminal and not plain and not standby else _nothing():
                site = opened.enter_context(
                    assemble_host(settings, run=run_name, host=half.host)
                    if half.is_perceive
                    else assemble(
                        settings,
                        run=run_name,
                        continues=run_id is not None,
                        fast=fast,
                        standby=waiting,
                        listeners=[] if saved is None else [saved.log.note],
                        has_hosts=half.is_identify,
                    )
                )
        except StoppedError:
            return
        if settings.observe.port is not None:
            _serve_metrics(site, settings.observe, out, opened)
        _say_where(out, site, settings, run_name, cameras, half)
        if settings.web.enabled and not half.is_perceive:
            # Only a cams.yaml can enable it.
            _start_web(Path(cameras[0]), settings.web, out, opened)
        if from_file and not fast:
            follower = opened.enter_context(
                SettingsFollower(Path(cameras[0]), settings, site, lambda: half.settings(cameras))
            )
            opened.enter_context(hangups.passed_to(follower.reread))
        watch = opened.enter_context(Watch(site, settings, is_table=sys.stdout.isatty() and not plain))
        opened.enter_context(_after(duration_s, stop))
        rearm = opened.enter_context(last_resort(2 * settings.watchdog.stage_s + _MORE_S))
        site.daemon.run(stop, rearm)
        watch.finish()
        abandoned = site.daemon.abandoned
        if saved is not None:
            saved.log.labels |= site.labels()
    if saved is not None:
        saved.write(out)
    if abandoned:
        # Their threads run native code, which must not be unloaded under them.
        with suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(0)


def _say_where(out: "Output", site: "Site", settings: "Settings", run: str, cameras: Sequence[str], half: Half) -> None:
    """Print where events go, and how to follow them."""
    with suppress(OSError):
        if half.is_perceive:
            out.say(f"site {settings.site}, run {run}, observations to {site.redis_url}", style="dim")
            return
        out.say(
            f"site {settings.site}, run {run}, events to {site.redis_url} stream reid:{settings.site}:events",
            style="dim",
        )
        out.say(f"follow them: reid-stream events --follow{_options(cameras)}", style="dim")


def _start_web(cameras: Path, settings: "Web", out: "Output", opened: "ExitStack") -> None:
    from reid_stream.commands.web_process import WebProcess, address

    opened.enter_context(WebProcess(cameras, settings))
    if settings.port:
        with suppress(OSError):
            out.say(f"web console on {address(settings)}", style="bold")


def _options(cameras: Sequence[str]) -> str:
    """Return the options with which other commands find this site; none if they find its Redis without."""
    from reid_stream.config.sources import is_config

    return f" --cameras {shlex.quote(cameras[0])}" if len(cameras) == 1 and is_config(cameras[0]) else ""


def _serve_metrics(site: "Site", settings: "Observe", out: "Output", opened: "ExitStack") -> None:
    from reid_stream.errors import ConfigError
    from reid_stream.observe.metrics import serve

    host = settings.host
    try:
        port = opened.enter_context(
            serve(site.metrics, host, settings.port or 0, site.daemon.health.healthy, site.daemon.health.ready)
        )
    except OSError as error:
        raise ConfigError(
            f"observe.port must be free, {host}:{settings.port}: {error.strerror}; "
            "choose another, 0 for any, or null for none"
        ) from error
    shown = f"[{host}]" if ":" in host else host
    with suppress(OSError):
        out.say(f"metrics on http://{shown}:{port}/metrics", style="dim")


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


class _Hangups:
    """SIGHUP while the terminal is there, or where there was none: read cams.yaml again."""

    def __init__(self) -> None:
        self._call: Callable[[], None] | None = None
        self._is_due = False

    def note(self) -> None:
        """Call the function, or do so once there is one."""
        if self._call is None:
            self._is_due = True
        else:
            self._call()

    @contextmanager
    def passed_to(self, call: Callable[[], None]) -> Iterator[None]:
        """Call a function, which must return at once, at each signal while the block runs."""
        self._call = call
        if self._is_due:
            call()
        try:
            yield
        finally:
            self._call = None


def _has_terminal() -> bool:
    """Return whether this process has a controlling terminal."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


@contextmanager
def _stopping(*, rereads: bool) -> Iterator[tuple[threading.Event, _Hangups]]:
    """Yield an event that SIGTERM, Ctrl-C or a closed terminal sets; a second signal ends the process at once.

    A closed terminal sends SIGHUP; under nohup, which ignores it, it stays ignored. Any other SIGHUP is noted if
    `rereads`, and else stops as well.
    """
    stop, hangups, had_terminal = threading.Event(), _Hangups(), _has_terminal()

    def ask(_number: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stopping.request()
        stop.set()

    def hang_up(number: int, frame: FrameType | None) -> None:
        # The terminal is gone by the time that the kernel, or a shell, sends the signal.
        if rereads and not (had_terminal and not _has_terminal()):
            hangups.note()
        else:
            ask(number, frame)

    handlers = {signal.SIGINT: ask, signal.SIGTERM: ask, signal.SIGHUP: hang_up}
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        del handlers[signal.SIGHUP]
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield stop, hangups
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        stopping.reset()


@contextmanager
def _after(duration_s: float | None, stop: threading.Event) -> Iterator[None]:
    """Set `stop` after this many seconds, unless the block has ended by then."""
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
