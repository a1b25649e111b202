"""Observations across the seam between perceive and identify: same records whatever carries them."""
