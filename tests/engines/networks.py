"""Tiny networks for tests: those of the drills."""

from benchmarks.tiny_networks import answers, channel_means

__all__ = ["answers", "channel_means"]
