"""Accuracy over every set with truth: scorecard, comparison of linkers, ablations."""
