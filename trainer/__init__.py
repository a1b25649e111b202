"""Teach the embedder: train, evaluate, calibrate, export; see docs/training."""
