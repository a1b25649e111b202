"""Inference engines: one protocol, one library per module, chosen by `load`."""
