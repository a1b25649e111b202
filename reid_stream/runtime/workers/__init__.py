"""The first half many times, each in a process of its own: cameras spread over them, crashes mended."""
