"""Perception in several worker processes: cameras assigned to them, failed workers replaced."""
