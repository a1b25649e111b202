"""Command line of `reid-train`: one file a command."""
