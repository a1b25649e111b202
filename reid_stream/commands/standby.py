"""A daemon on standby: it answers health checks, and takes over the site when no other daemon has it."""

import threading
from contextlib import ExitStack
from types import TracebackType
from typing import Self

import structlog

from reid_stream.config.settings import Observe
from reid_stream.observe.metrics import Metrics, serve

_log = structlog.get_logger(__name__)


class StandbyServer:
    """Serves /metrics, /healthz and /readyz until the site is taken over; an `assembly.identification.Standby`."""

    def __init__(self, settings: Observe, stop: threading.Event) -> None:
        """Serve nothing yet. `stop` ends the wait."""
        self._settings, self._stop = settings, stop
        self._metrics = Metrics()
        self._holder = "the models are being loaded"
        self._opened = ExitStack()

    def __enter__(self) -> Self:
        self._metrics.standby.set(1)
        if self._settings.port:  # a free port would be another one after the takeover
            try:
                self._opened.enter_context(
                    serve(self._metrics, self._settings.host, self._settings.port, self._healthy, self._ready)
                )
            except OSError as error:
                # The other daemon may be on this host, with the same settings.
                _log.warning("standby_not_observed", port=self._settings.port, reason=error.strerror)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.close()

    def is_over(self) -> bool:
        """Return whether waiting must end."""
        return self._stop.is_set()

    def waits(self, holder: str) -> None:
        """Note which daemon runs the site."""
        self._holder = f"on standby for {holder}"
        _log.info("standby_waits", owner=holder)

    def took_over(self) -> None:
        """Free the port for the daemon."""
        _log.info("standby_took_over")
        self._opened.close()

    def _healthy(self) -> tuple[bool, str]:
        return True, self._holder

    def _ready(self) -> tuple[bool, str]:
        return False, self._holder
