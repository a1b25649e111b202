"""Outlets: programs of their own that read the event stream and pass it on; they can die without harm to the daemon."""
