"""Measurements: each names its floor, measures it in the same run, and gives the share that was reached."""
