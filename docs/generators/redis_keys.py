"""docs/reference/redis-keys.md: every key that the daemon uses, named by the functions that name it."""

import dataclasses

from docs.generators.markdown import head, table
from reid_stream.journal import entry
from reid_stream.link import redis_keys as link
from reid_stream.publish import latest_value, live_keys
from reid_stream.publish.json_schema import field_docs
from reid_stream.records import CameraId, GlobalId
from reid_stream.runtime.hosts import camera_claims, camera_list, crops
from reid_stream.web import review

_TEXT = """\
`<site>` is `site` of cams.yaml. Public keys are an interface: their names and fields change only with a note in the
changelog. Private keys are the daemon's own state; read them with the commands and classes of this package only.

## Public
"""
_IDENTITY = """
### Fields of `reid:<site>:identity:<global ID>`

| field | meaning |
| --- | --- |
| `state` | `provisional` or `confirmed` |
| `revision` | grows by one with every correction of this identity |
| `label` | the name an operator gave; missing without one |
| `camera`, `track` | where the person was seen last |
| `first_seen_at`, `seen_at` | UTC epoch seconds |
| `clock` | source of `seen_at`: `rtcp`, `arrival` or `file` |
| `box` | x1, y1, x2, y2 in pixels, comma-separated |
| `model` | hash of the embedder bundle |
| `merged_into` | only on an ID that was merged: its successor; the hash expires after a day |

The live keys change in the transaction that appends the events, so a reader never sees one without the other.
"""


def page() -> str:
    """Generate the page."""
    site, camera, person = "<site>", CameraId("<camera>"), GlobalId("<global ID>")
    public = [
        (
            live_keys.stream_key(site),
            "stream",
            "All events, oldest first; fields `type` and `event` (CloudEvents JSON).",
        ),
        (live_keys.stream_key(site), "Pub/Sub channel", "The same JSON documents as they are appended."),
        (live_keys.present_key(site, camera), "set", "Global IDs in view of a camera now."),
        (live_keys.identity_key(site, person), "hash", "Latest state of one identity; fields below."),
        (
            live_keys.instructions_key(site),
            "stream",
            "Operator instructions, the newest 10,000 or so: who asked for what.",
        ),
    ]
    names = entry.StateKeys.of(site, "<embedder hash>")
    docs = field_docs(entry.StateKeys)
    private = [
        (
            live_keys.numbers_key(site),
            "string",
            "Highest number given to a global ID; the next daemon continues after it.",
        ),
        (
            live_keys.sent_key(site),
            "string",
            "Position of the last transaction. An older one, or none, shows the daemon that Redis lost data.",
        ),
        (live_keys.answered_key(site), "string", "Stream position of the last instruction that was answered."),
        (latest_value.topology_key(site), "string", "Learned camera topology, JSON; shown by `reid-stream topology`."),
        (review.reviews_key(site), "stream", "Answers that people gave to pairs in the console's review."),
        (
            link.stream_key(site),
            "stream",
            "Observations between hosts, deleted once their results are stored.",
        ),
        (link.epochs_key(site), "hash", "How often each camera has been opened by a host; the latest host has it."),
        (link.taken_key(site), "hash", "The opening of each camera up to which observations were taken."),
        (
            camera_list.list_key(site),
            "hash",
            "Cameras with addresses and passwords, for hosts with `cameras: shared`; only with `hosts.share_cameras`.",
        ),
        (camera_claims.hosts_key(site), "hash", "Hosts that share cameras, each with the end of its lease."),
        (camera_claims.claims_key(site), "hash", "Run of the host that has each shared camera."),
        (crops.crops_key(site), "stream", "Crops on their way from hosts to the tracklet store."),
        (crops.wanted_key(site), "string", "Exists while there is a store that takes crops."),
    ]
    meanings = {
        "lease": "Owner of the site; expires `state.lease_s` after the last renewal.",
        "journal": "Inputs of identification since the older snapshot.",
        "snapshots": "The last two snapshots, written in turn.",
        "current": "Which embedder's state was written last.",
    }
    for field in dataclasses.fields(names):
        value = getattr(names, field.name)
        for key in value if isinstance(value, tuple) else (value,):
            private.append((key, "", meanings.get(field.name, docs.get(field.name, ""))))
    private.append((f"{names.lease}:epochs", "", "The latest holdings of the lease, by their tokens."))
    columns = ("key", "type", "meaning")
    return (
        head("Redis keys", _TEXT)
        + "\n"
        + table(columns, ((f"`{key}`", kind, text) for key, kind, text in public))
        + _IDENTITY
        + "\n## Private\n\n"
        + table(("key", "meaning"), ((f"`{key}`", text) for key, _, text in private))
    )
