"""Simulate people who walk through cameras, with known truth and the vectors of real crops."""
