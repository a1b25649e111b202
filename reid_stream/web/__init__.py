"""Web console and HTTP API of one site, a subscriber of its events.

    Redis stream ─▶ feed (SiteView, latest events) ─┐
    tracklet store ─▶ track_index, pictures ────────┼─▶ api/ (JSON, server-sent events) ─▶ pages (HTML)
    instructions ◀── operators.client ──────────────┘

`site` holds these parts, `app` puts them behind `guard` (who may ask what), `server` runs it.
"""
