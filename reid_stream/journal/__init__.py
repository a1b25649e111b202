"""Durable state of identification: a journal of its inputs, and snapshots of its state at intervals."""
