"""Assign observations of all cameras to identities."""
