"""Drills: inject faults into cameras and Redis, measure how the daemon reacts, and compare that with a bound."""
