"""Record whether this process has been asked to stop.

A service manager may signal a whole control group: children then end before their parents have asked them to. Their
supervisors look here before they report such an end as a fault or start the child again.
"""

import time

GRACE_S = 0.5
"""Delay within which a signal to a group of processes has reached all of them."""
_POLL_S = 0.02
_is_requested = False


def request() -> None:
    """Note that this process has been asked to stop; called by signal handlers."""
    global _is_requested
    _is_requested = True


def reset() -> None:
    """Note that this process has not been asked to stop."""
    global _is_requested
    _is_requested = False


def is_requested(wait_s: float = 0.0) -> bool:
    """Return whether this process has been asked to stop, after waiting for that for up to `wait_s` seconds.

    Polled, since the lock of a `threading.Event` must not be taken by a signal handler.
    """
    until = time.monotonic() + wait_s
    while not _is_requested and time.monotonic() < until:
        time.sleep(_POLL_S)
    return _is_requested
