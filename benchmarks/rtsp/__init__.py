"""Real RTSP servers for drills, tests and measurements."""
