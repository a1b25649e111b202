"""Detections in, tracks out, one camera at a time."""
