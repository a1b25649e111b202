"""Identities in a Python loop (`follow`) and in videos (`annotate`), without Redis."""
