"""Tracks in, embeddings out: choose crops, run the re-ID network over all cameras at once."""
