"""Events to rows: CloudEvents JSON with the run's next number, at the next position of the stream.

Concurrency: not thread-safe; the sink's lock is held around every call.
"""

import time
from collections.abc import Callable, Sequence

from reid_stream.events import Event
from reid_stream.publish.cloudevents import encode
from reid_stream.publish.send_queue import Item
from reid_stream.publish.site_time import in_utc
from reid_stream.publish.spool_row import Row, rank_of
from reid_stream.publish.stream_ids import NOWHERE, Positions


class EventRows:
    """Numbers events and gives them positions."""

    def __init__(
        self,
        site: str,
        run: str,
        *,
        journal: str | None = None,
        first_sequence: int = 0,
        clock: Callable[[], float] = time.time,
        shift_s: Callable[[], float] = float,
    ) -> None:
        """See `RedisSink`."""
        self.positions = Positions(NOWHERE)
        self.sequence = first_sequence
        """Number of the next event."""
        self._site, self._run, self._journal = site, run, journal
        self._clock, self._shift_s = clock, shift_s

    def decided(self, events: Sequence[Event], entry: Callable[[int], bytes] | None = None) -> list[Item]:
        """Make rows of new events in site time, behind the journal's entry from which they follow."""
        now = self._clock()
        made: list[Item] = []
        if entry is not None and self._journal is not None:
            made.append((Row.entry(self.positions.next(now), self._journal, entry(self.sequence)), None))
        for event in events:
            made.append(self._row(in_utc(event, self._shift_s()), self._run, self.sequence, now))
            self.sequence += 1
        return made

    def recovered(self, events: Sequence[tuple[str, int, Event]]) -> list[Item]:
        """Make rows of events (run, number, event) that an earlier daemon decided."""
        now = self._clock()
        made = [self._row(event, run, sequence, now) for run, sequence, event in events]
        ours = [sequence + 1 for run, sequence, _ in events if run == self._run]
        self.sequence = max(self.sequence, *ours, 0)
        return made

    def _row(self, event: Event, run: str, sequence: int, now: float) -> Item:
        body = encode(event, site=self._site, run=run, sequence=sequence)
        return Row(self.positions.next(now), rank_of(event.type), event.type, body), event
