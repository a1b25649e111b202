"""Perception on many hosts and identification on one, over `link.redis_receiver`.

perceive, host 1 .. n                                   identify, one per site
cameras ─▶ perception ─▶ `forwarding` ──observations──▶ receiver ─▶ identification ─▶ events
`host_sink` ───reports───────▶ `remote_perception`
`crops` ─────── crops ────────▶ tracklet store
"""
