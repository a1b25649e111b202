"""Cameras in, frames out: one thread per camera, the newest frame wins at the door.

`live.CameraSet` is the daemon's source, `replay.FastReplay` the one for files in step with the pipeline, `probe` what
`reid-stream check` asks.
"""
