"""Training of embedders and detectors: train, evaluate, calibrate, export; see docs/training."""

PROJECT = "reid-stream"
"""Marks this package `trainer` as reid-stream's: another project on the package index has the same name."""
