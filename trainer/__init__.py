"""Teach the embedder: train, evaluate, calibrate, export; see README.md, Train."""
