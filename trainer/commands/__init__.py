"""Command line of `reid-train`: one file per command."""
