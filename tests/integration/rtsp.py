"""Real RTSP for tests: the server of the drills."""

from benchmarks.rtsp.clips import RtspServer, draw_clip, loop_clip, serve_clips, why_not

__all__ = ["RtspServer", "draw_clip", "loop_clip", "serve_clips", "why_not"]
