"""Observations in, sightings out: who is the same person where."""
