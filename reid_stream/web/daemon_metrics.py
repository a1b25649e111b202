"""The daemon's metrics, read from its /metrics on demand; rates from two readings."""

import http.client
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families

_TIMEOUT_S = 1.0
_KEEP_S = 2.0
_PREFIX = "reid_stream_"
_MOST_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class Reading:
    """One reading of /metrics; names without prefix and `_total`."""

    at: float
    """Monotonic seconds."""
    samples: dict[str, list[tuple[dict[str, str], float]]] = field(default_factory=dict)
    """Samples by name: (labels, value)."""

    def one(self, name: str, **labels: str) -> float | None:
        """Return the sum of the samples that have these labels; None without any."""
        found = [value for given, value in self.samples.get(name, ()) if labels.items() <= given.items()]
        return sum(found) if found else None

    def by(self, name: str, label: str, **labels: str) -> dict[str, float]:
        """Return sums by one label."""
        found: dict[str, float] = defaultdict(float)
        for given, value in self.samples.get(name, ()):
            if labels.items() <= given.items() and label in given:
                found[given[label]] += value
        return dict(found)


class DaemonMetrics:
    """/metrics of the daemon beside us; thread-safe."""

    def __init__(self, host: str, port: int | None) -> None:
        """`port`: None or 0 where the daemon's cannot be known."""
        self._host = "127.0.0.1" if host in ("0.0.0.0", "") else "::1" if host == "::" else host  # noqa: S104
        self._port = port
        self._lock = threading.Lock()
        self._last: Reading | None = None
        self._before: Reading | None = None
        self._tried_at = float("-inf")

    def read(self) -> Reading | None:
        """Return the figures of the last seconds; None where they cannot be had."""
        if not self._port:
            return None
        with self._lock:
            now = time.monotonic()
            if now - self._tried_at >= _KEEP_S:
                self._tried_at = now
                found = self._fetch()
                self._before, self._last = (self._last if found is not None else None), found
            return self._last

    def rate(self, name: str, **labels: str) -> float | None:
        """Return how fast a counter rose between the last two readings, per second; None before the second."""
        last, before = self._last, self._before
        if last is None or before is None or last.at <= before.at:
            return None
        values = last.one(name, **labels), before.one(name, **labels)
        if values[0] is None or values[1] is None or values[0] < values[1]:
            return None
        return (values[0] - values[1]) / (last.at - before.at)

    def _fetch(self) -> Reading | None:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=_TIMEOUT_S)
        try:
            connection.request("GET", "/metrics")
            response = connection.getresponse()
            body = response.read(_MOST_BYTES)
            if response.status != http.HTTPStatus.OK:
                return None
            samples: dict[str, list[tuple[dict[str, str], float]]] = defaultdict(list)
            for family in text_string_to_metric_families(body.decode()):
                for sample in family.samples:
                    if sample.name.startswith(_PREFIX) and not sample.name.endswith("_created"):
                        name = sample.name.removeprefix(_PREFIX).removesuffix("_total")
                        samples[name].append((dict(sample.labels), sample.value))
        except (OSError, http.client.HTTPException, ValueError):
            return None
        finally:
            connection.close()
        return Reading(time.monotonic(), dict(samples))


def quantile(reading: Reading, name: str, share: float) -> float | None:
    """Return the upper bound of the histogram's bucket that holds a quantile; None for an empty histogram."""
    buckets = sorted(
        (float(labels["le"]), value) for labels, value in reading.samples.get(f"{name}_bucket", ()) if "le" in labels
    )
    if not buckets or buckets[-1][1] == 0:
        return None
    bound = next(le for le, count in buckets if count >= share * buckets[-1][1])
    return bound if bound != float("inf") else buckets[-2][0] if len(buckets) > 1 else None
