"""Training of embedders and detectors: train, evaluate, calibrate, export; see docs/training."""

PROJECT = "reid-stream"
"""Whose package `trainer` this is: another project on the package index has the name, too."""
