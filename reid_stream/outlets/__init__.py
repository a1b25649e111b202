"""Outlets: separate programs that read the event stream and pass it on; their failure does not affect the daemon."""
