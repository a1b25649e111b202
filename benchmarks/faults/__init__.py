"""Drills: break cameras and Redis on purpose, look at what the daemon makes of it, and compare that with a bound."""
