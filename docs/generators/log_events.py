"""docs/reference/log-events.md: every event that the daemon logs, found in its source."""

import ast
from collections.abc import Iterator
from pathlib import Path

import reid_stream
from docs.generators.markdown import head, sentence, table
from reid_stream.events import EVENT_TYPES

_TEXT = """\
Each log line has one event name, stable for alert rules, and facts as fields. Text and JSON lines hold the same
(`observe.log`). Levels: `debug` is hidden by default, `warning` needs a look, `error` means that something was lost or
replaced.
"""
_EVENTS = {event.type.rpartition(".")[0].replace(".", "_"): sentence(event.__doc__) for event in EVENT_TYPES}
"""Meaning of log events that are published as well, under the same name: `camera_up` with `camera.up`."""
_MEANING = {
    "camera_main_stream_back": "The main stream beside `detect_url` gives images again.",
    "camera_main_stream_lost": "The main stream beside `detect_url` gives none; people are cut out of the smaller one.",
    "camera_pace_assumed": "A file without timestamps (raw video) is played at this rate, its own or 25 a second.",
    "camera_waits_for_key_frame": "Packets arrive, but no key frame yet; nothing can be decoded before one.",
    "camera_claims_failed": "A request about shared cameras failed; the host tries again.",
    "camera_claims_lost": "A host could not renew its claims in time and closes its cameras, for others to read them.",
    "camera_claims_not_renewed": "A host could not renew its claims of shared cameras this time; it tries again.",
    "camera_list_refused": "The list of shared cameras is none of this version; the host keeps those it knows.",
    "camera_list_not_written": "The list of shared cameras could not be written this time.",
    "camera_list_written": "Identification has put its cameras on Redis, for hosts that share them.",
    "cameras_shared": "A host's shared cameras have changed, or the hosts that share them.",
    "camera_read_twice": "Two hosts read the same camera; observations of the one that opened it first are dropped.",
    "host_clock_differs": "The clock of a perceive host differs from identification's; use NTP on both.",
    "host_events_dropped": "A host had to drop events (camera down and the like), since Redis was away for long.",
    "host_lost": "A perceive host is silent; its cameras are down until it reports again.",
    "host_refused": "There are too many perceive hosts; another one is not followed.",
    "host_stream_mended": "A stream between hosts had no ID left for another entry; it was replaced once it was empty.",
    "camera_epoch_mended": "Numbers of a camera's hosts left no room for others, or Redis had lost some; mended.",
    "host_model_differs": "A host embeds with another model; its vectors are rejected.",
    "host_stopped": "A perceive host has ended in order.",
    "host_up": "A perceive host reports: which cameras, which version.",
    "observations_missing": "Observations that a host had put on the stream have not come; Redis or a fault lost them.",
    "observations_unsent": "A host ended while Redis was away; these observations are lost.",
    "camera_reassigned": "A camera moved to another worker.",
    "embedded_redis_ended": "The embedded Redis ended or hung; it is started again.",
    "embedded_redis_start_failed": "The embedded Redis could not be started again this time; it is tried again.",
    "embedded_redis_started": "The embedded Redis runs: which server, and where.",
    "engine_chosen": "Which engine serves a network, and why.",
    "engine_failed": "An engine failed while serving; another one serves.",
    "engine_not_swapped": "A compiled engine was not used: it failed, or disagreed with float32.",
    "engine_swapped": "A compiled engine has taken over.",
    "erasure_delayed": "An erasure could not be finished yet; it is tried again.",
    "event_invalid": "Client: an entry of the stream is no event; skipped.",
    "event_spoilt": "A spooled event cannot be read; it is sent as it is.",
    "events_lost": "Events are lost (stale, damaged or by Redis); `daemon.dropped` reports them.",
    "folder_made_private": "The embedded Redis' folder was readable by others; its mode is 0700 now.",
    "identities_reset_other_model": "Known people belong to another embedder; matching starts empty, numbers continue.",
    "identities_restored": "Identities continue from the last run.",
    "instruction_invalid": "An entry of the instruction stream is no instruction; skipped.",
    "instruction_stream_mended": "The instruction stream was full up to the last ID; entries were `dropped` for room.",
    "instruction_stream_restarted": "The instruction stream was deleted or restored; it is read from its start.",
    "instructions_readable": "The instruction stream can be read again.",
    "instructions_unreadable": "The instruction stream cannot be read now.",
    "lease_forged": "The site's lease was no running daemon's (unreadable, or to last too long); it is replaced.",
    "lease_lost": "Another daemon has taken over the site; this one ends.",
    "lease_not_released": "The lease could not be given back; it expires by itself.",
    "lease_not_renewed": "The lease could not be renewed this time.",
    "lease_wait": "Another daemon holds the site; waiting for its lease to expire.",
    "library_message": "A library that the daemon uses has logged a warning or an error.",
    "link_away": "Observations cannot be sent to Redis, or read from it, now.",
    "link_back": "Observations go through Redis again.",
    "link_full": "A perceive host has waited 5 s for room: identification is too slow, or stopped.",
    "link_has_room": "Observations are sent again after the link was full.",
    "link_message_invalid": "A message between our processes cannot be read; dropped.",
    "link_records_lost": "Records that a process had sent did not arrive before it was killed or had to end.",
    "live_key_invalid": "A key of ours is of another type and is replaced, or is not UTF-8 and left alone.",
    "live_keys_restored": "Redis had lost data; the live keys are written again.",
    "live_keys_unreadable": "The Redis user may not read the live keys (HGETALL).",
    "monitoring_failed": "Code that only counts or reports failed; the daemon continues.",
    "mqtt_connected": "Outlet: connected to the MQTT broker; the state is published whole.",
    "mqtt_lost": "Outlet: the connection to the MQTT broker broke; it is tried again.",
    "mqtt_refused": "Outlet: the MQTT broker refuses the login.",
    "overload_began": "More to do than the machine can handle; frame rates fall.",
    "overload_over": "All cameras get their frames again.",
    "perception_restarted": "A hung stage was replaced with a fresh set of networks.",
    "previews_unavailable": "Live pictures for the console cannot be published; perception continues.",
    "publish_blocked": "Events cannot be handed over, since the disk hangs.",
    "redis_away": "Redis does not serve; events wait on disk.",
    "redis_away_at_stop": "The daemon ended while Redis was away; events wait on disk for the next start.",
    "redis_back": "Redis serves again.",
    "redis_lost_events": "Redis lost events: those in the spool go again (`resent`), others are `gone`.",
    "spool_damaged": "The spool's file is damaged and set aside (`kept_as`); readable events are kept.",
    "redis_evicted_keys": "Redis has deleted keys for want of memory; the daemon's are written again.",
    "redis_may_evict": "Redis deletes keys by itself when memory is short; set `maxmemory-policy noeviction`.",
    "redis_tls_unverified": "`redis.tls: unverified`: any certificate is accepted.",
    "snapshot_failed": "A snapshot was not written; the journal continues.",
    "standby_not_observed": "The metrics port is taken, so a daemon on standby cannot be scraped.",
    "standby_took_over": "The daemon that ran the site is gone; this one continues.",
    "standby_waits": "Another daemon runs the site; this one waits.",
    "settings_applied": "A changed cams.yaml was applied: how many cameras.",
    "settings_failed": "A changed cams.yaml could not be applied; traceback. The daemon continues.",
    "settings_need_restart": "These keys of cams.yaml have changed and apply from the next start on.",
    "settings_not_watched": "The folder of cams.yaml cannot be watched; only SIGHUP reads it again.",
    "settings_refused": "A changed cams.yaml is faulty and was refused as a whole.",
    "camera_edited": "An admin changed cams.yaml through the API: which camera, what, who.",
    "spool_full": "The spool is full: the least important events are dropped.",
    "spool_has_room": "The spool is no longer full.",
    "spool_stuck": "Making room in the spool failed.",
    "spool_unwritable": "The spool cannot be written; events are in memory only.",
    "spool_writable": "The spool can be written again.",
    "state_key_invalid": "A key of the site on Redis cannot be read; it is replaced.",
    "stage_stuck": "A pipeline stage hung.",
    "state_mismatch": "The stored state is not as it was left, for instance a damaged snapshot.",
    "store_dropping_crops": "The tracklet store cannot keep up or cannot be written.",
    "stored_track_broken": "A stored track cannot be read; left alone.",
    "stored_track_not_relabelled": "A stored track could not get its corrected ID.",
    "stream_other_writer": "Another writer is on the event stream; own events moved behind its entries.",
    "stream_restarted": "Client: the stream was deleted or has lower IDs than before; it is read from its new start.",
    "system_clock_set": "The system's clock was set; visits and matching continue.",
    "feed_interrupted": "Console: events cannot be read now; tried again.",
    "search_unavailable": "Console: the networks of a search cannot be loaded.",
    "web_ended": "The web console ended; it is started again.",
    "event_refused": "Console: an event is invalid and not shown; only the first is logged.",
    "feed_failed": "Console: reading events failed by a fault of the program; traceback. It is tried again.",
    "review_refused": "Console: a stored review is invalid and ignored; only the first is logged.",
    "stored_track_refused": "Console: a stored track is invalid and not shown; only the first is logged.",
    "topology_refused": "Console: the topology on Redis is invalid and not shown; only the first is logged.",
    "camera_tls_unverified": "`tls: unverified` of a camera: any certificate is accepted.",
    "spool_moved": "The spool was moved from the folder of an earlier version.",
    "web_start_failed": "The web console could not be started (no process or memory left); it is tried again.",
    "web_not_started": "The web console cannot start as it is configured; its own message has the reason.",
    "web_request_failed": "Console: a request failed by a fault of the program.",
    "webhook_back": "Outlet: an event that had been refused was accepted.",
    "webhook_event_skipped": "Outlet: an event was refused for `--give-up-s` and is skipped.",
    "webhook_refused": "Outlet: the webhook's receiver did not accept an event; it is sent again.",
    "worker_killed": "A worker did not end when asked to, and was killed.",
    "worker_lost": "A worker crashed, hung or failed; it is started again.",
}
_LEVELS = ("debug", "info", "warning", "error", "exception", "critical")
Found = tuple[str, str, tuple[str, ...]]
"""Event name, level, names of the fields."""


def page() -> str:
    """Generate the page."""
    levels: dict[str, set[str]] = {}
    fields: dict[str, dict[str, None]] = {}
    top = Path(reid_stream.__file__).parent
    for path in sorted(top.rglob("*.py")):
        for name, level, names in _events(ast.parse(path.read_text(encoding="utf-8"))):
            levels.setdefault(name, set()).add("error" if level == "exception" else level)
            fields.setdefault(name, {}).update(dict.fromkeys(names))
    rows = [
        (
            f"`{name}`",
            ", ".join(sorted(levels[name])),
            _meaning(name),
            ", ".join(f"`{one}`" for one in fields[name]),
        )
        for name in sorted(levels)
    ]
    return head("Log events", _TEXT) + "\n" + table(("event", "level", "meaning", "fields"), rows)


def _meaning(name: str) -> str:
    if (found := _MEANING.get(name) or _EVENTS.get(name)) is None:
        raise ValueError(f"log event {name} must have a meaning in {__file__}, or the name of a published event")
    return found


def _events(tree: ast.AST) -> Iterator[Found]:
    for node in ast.walk(tree):
        match node:
            case ast.Call(
                func=ast.Attribute(value=ast.Name(id="_log"), attr=level),
                args=[ast.Constant(value=str(name)), *_],
                keywords=keywords,
            ) if level in _LEVELS:
                yield name, level, tuple(k.arg for k in keywords if k.arg is not None and k.arg != "exc_info")
