"""Measurements and fault injection that need a checkout; `python -m benchmarks --help`."""
