"""Logs and metrics of the running daemon."""
