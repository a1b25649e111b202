"""Find the rows of a spool that may still be sent: of this holding of the lease, and of earlier ones that no other
daemon's holding came between.
"""

import sqlite3

from reid_stream.publish.spool_file import UNKNOWN_EPOCH, SpoolFile
from reid_stream.publish.spool_row import Epoch
from reid_stream.publish.stream_ids import Position

NO_EPOCH = 0
"""Epoch of rows that were decided without a lease."""
_TOKENS = 100
"""Latest holdings of a lease that are remembered."""


def begin(db: sqlite3.Connection, file: SpoolFile, epoch: Epoch, delivered: Position) -> tuple[int, dict[int, int]]:
    """Start a holding; return its number, and how many undelivered rows of each rank were dropped as stale.

    Call it within a transaction. Another daemon had the lease since if the latest holding that Redis knows of is
    unknown here. A Redis without its data, or with older data, knows of none or of an older one of ours.
    """
    name = f"lease:{epoch.lease}"
    known = list(file.get(name, []))
    ids = [number for (number,) in db.execute("SELECT id FROM epochs WHERE lease = ?", (epoch.lease,))]
    ids.append(UNKNOWN_EPOCH)
    stale: dict[int, int] = {}
    is_stale = bool(epoch.seen) and epoch.seen[-1] not in known
    db.execute("DELETE FROM epochs WHERE lease = ?", (epoch.lease,))
    made = db.execute("INSERT INTO epochs (id, lease, token) VALUES (?, ?, ?)", (_next(file), epoch.lease, epoch.token))
    for number in ids:
        if is_stale:
            counts = db.execute(
                "SELECT rank, count(*) FROM rows WHERE epoch = ? AND position > ? GROUP BY rank",
                (number, delivered.key),
            )
            for rank, count in counts:
                stale[rank] = stale.get(rank, 0) + count
            db.execute("DELETE FROM rows WHERE epoch = ?", (number,))
        else:
            db.execute("UPDATE rows SET epoch = ? WHERE epoch = ?", (made.lastrowid, number))
    tokens = dict.fromkeys([*(epoch.seen if is_stale else (*known, *epoch.seen)), epoch.token])
    file.put(name, list(tokens)[-_TOKENS:])
    return int(made.lastrowid or 0), stale


def _next(file: SpoolFile) -> int:
    """Return a number that no row has yet."""
    number = int(file.get("epoch", NO_EPOCH)) + 1
    file.put("epoch", number)
    return number
