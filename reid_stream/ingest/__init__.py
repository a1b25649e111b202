"""Read cameras, one thread each, into an inbox that keeps the newest frame of each.

`live.CameraSet` is the daemon's source, `replay.FastReplay` the one for files in step with the pipeline, `probe` what
`reid-stream check` asks.
"""
