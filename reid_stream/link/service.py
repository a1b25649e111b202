"""Whether Redis serves one end of a link."""

import structlog

_log = structlog.get_logger(__name__)


class Service:
    """Whether Redis serves one end of a link; changes are logged."""

    def __init__(self) -> None:
        self.fault: str | None = None

    def note(self, fault: str | None) -> None:
        """Note the outcome of a request."""
        if fault is not None and self.fault is None:
            _log.warning("link_away", reason=fault)
        elif fault is None and self.fault is not None:
            _log.info("link_back")
        self.fault = fault
