"""The web console and the HTTP API: a subscriber of one site that people look at.

    Redis stream ─▶ feed (SiteView, latest events) ─┐
    tracklet store ─▶ track_index, pictures ────────┼─▶ api/ (JSON, server-sent events) ─▶ pages (HTML)
    instructions ◀── operators.client ──────────────┘

`site` holds these parts, `app` puts them behind `guard` (who may ask what), `server` runs it.
"""
