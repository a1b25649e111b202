"""What people decide about people: asked for on a Redis Stream, carried out by the daemon, kept for the record."""
