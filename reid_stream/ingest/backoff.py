"""How long to wait before a camera is tried again (pure).

Exponential with "equal jitter" (Brooker, "Exponential backoff and jitter", AWS Architecture Blog, 2015): half of the
wait is certain, so that a dead camera is not hammered; half is by chance, so that cameras that died together, with
their switch, do not come back together.
"""


def wait_s(attempt: int, chance: float, first_s: float, max_s: float) -> float:
    """Seconds to wait after failure number `attempt` in a row (from 1), never above `max_s`.

    Args:
        attempt: 1 after the first failure; the full wait doubles with each from `first_s`.
        chance: uniform in [0, 1], drawn by the caller.
        first_s: full wait after the first failure.
        max_s: longest full wait.
    """
    if attempt < 1 or not 0 <= chance <= 1:
        raise ValueError(f"attempt must be at least 1 and chance in [0, 1], got {attempt} and {chance}")
    # The exponent is capped where any wait has long reached max_s: 2.0**1024 would overflow after days of failures.
    full = min(max_s, first_s * 2.0 ** min(attempt - 1, 60))
    return full * (0.5 + 0.5 * chance)
