"""Frames in, detections out: one batch over all cameras."""
