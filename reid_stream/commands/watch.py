"""Show a running daemon: a live table on a terminal, lines in a pipe, a summary at the end."""

import time
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self

from rich.live import Live

from reid_stream.assembly.site import Site
from reid_stream.config.settings import Settings
from reid_stream.console.output import Output
from reid_stream.console.table import CameraRow, Snapshot, changes, live, people_in_view, summary

if TYPE_CHECKING:
    from threading import Thread

    from reid_stream.ingest.stats import CameraStats

_EVERY_S = 0.25
_RATE_S = 2.0
"""Frame rates are counted over at least this long."""
_ADVICE = "lower max_fps or run fewer cameras (`reid-stream bench live --find-max` measures how many fit)"
_SHOWN: dict[str, Literal["up", "down", "waiting", "ended"]] = {
    "connecting": "waiting",
    "up": "up",
    "waiting": "down",
    "ended": "ended",
    "stopped": "ended",
}


class Watch:
    """Show a site a few times a second until the block ends."""

    def __init__(self, site: Site, settings: Settings, *, is_table: bool) -> None:
        self._site = site
        self._settings = settings
        self._out = Output()
        self._live = Live(console=self._out, auto_refresh=False, screen=False) if is_table else None
        self._last: Snapshot | None = None
        self._frames: dict[str, tuple[float, int, float]] = {}
        self._is_over = False
        self._thread: Thread | None = None

    def __enter__(self) -> Self:
        from threading import Thread

        if self._live is not None:
            self._live.start()
        self._thread = Thread(target=self._run, name="watch", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over = True
        if self._thread is not None:
            self._thread.join()
        if self._live is not None:
            with self._site.metrics.monitoring.part("live table"):
                self._live.stop()

    def finish(self) -> None:
        """Stop and print the summary; called after the daemon has ended in order."""
        self.__exit__(None, None, None)
        with self._site.metrics.monitoring.part("summary"):
            self._out.say(summary(self.snapshot(final=True)))

    def snapshot(self, *, final: bool = False) -> Snapshot:
        """Gather the state of the site; `final` gives rates over the whole run."""
        site, progress = self._site, self._site.daemon.progress
        now = time.time()
        stats = site.source.stats
        uptime_s = now - progress.started_at
        latencies = progress.latencies_s[-50:]
        cameras = [
            self._camera(stats[camera], progress.frames.get(camera, 0), now, uptime_s if final else None, latencies)
            for camera in sorted(stats)
        ]
        # A replay has the time of its events.
        at = now if site.daemon.settings.is_live else progress.newest_event_at or now
        return Snapshot(
            site=self._settings.site,
            at=at,
            people=people_in_view(site.view),
            cameras=cameras,
            people_seen=site.view.seen,
            people_on_two=site.view.on_two,
            events=progress.events,
            uptime_s=uptime_s,
            events_to=f"{site.redis_url} reid:{self._settings.site}:events",
            people_known=site.identities_known(),
            overload=f"overloaded, {site.overload.share:.0%} of the frames are used: {_ADVICE}"
            if site.overload is not None and site.overload.is_on and not final
            else "",
        )

    def _camera(
        self, stats: "CameraStats", used: int, now: float, whole_s: float | None, latencies: list[float]
    ) -> CameraRow:
        at, counted, rate = self._frames.get(stats.camera, (now, used, 0.0))
        if stats.camera not in self._frames:
            self._frames[stats.camera] = (now, used, 0.0)
        elif now - at >= _RATE_S:
            rate = (used - counted) / (now - at)
            self._frames[stats.camera] = (now, used, rate)
        if whole_s is not None:
            rate = used / max(whole_s, 1e-9)
        inbox = self._site.source.replaced.get(stats.camera, 0)
        return CameraRow(
            camera=stats.camera,
            state=_SHOWN[stats.state],
            fps_in=stats.rate,
            fps_used=rate,
            dropped=inbox + sum(count for cause, count in stats.dropped.items() if cause != "rate"),
            clock=stats.clock,
            size=stats.size if stats.size != (0, 0) else None,
            latency_s=sum(latencies) / len(latencies) if latencies and stats.state == "up" else None,
            limit_fps=stats.limit_fps,
            reason=stats.reason if _SHOWN[stats.state] == "down" else "",
        )

    def _run(self) -> None:
        is_last = False
        while not is_last:
            is_last = self._is_over  # once more after the end, for the last changes
            with self._site.metrics.monitoring.part("live table"):
                self._show(self.snapshot())
            if not self._is_over:
                time.sleep(_EVERY_S)

    def _show(self, after: Snapshot) -> None:
        before, self._last = self._last, after
        if self._live is not None:
            self._live.update(live(after, self._out.height, self._out.width), refresh=True)
        else:
            for line in changes(before, after):
                self._out.say(line)
