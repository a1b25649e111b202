"""Evaluation: retrieval, verification, calibration and plots."""
