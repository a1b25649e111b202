"""All generated reference pages by file name."""

from collections.abc import Callable

from docs.generators import bundle, cli, configuration, events, log_events, metrics, redis_keys

PAGES: dict[str, Callable[[], str]] = {
    "configuration.md": configuration.page,
    "cli.md": cli.page,
    "events.md": events.page,
    "metrics.md": metrics.page,
    "log-events.md": log_events.page,
    "bundle.md": bundle.page,
    "redis-keys.md": redis_keys.page,
}
"""File below docs/reference/ -> the function that generates its text."""
