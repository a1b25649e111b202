"""Operator instructions: submitted on a Redis Stream, carried out by the daemon, kept as a record."""
