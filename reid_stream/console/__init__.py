"""Terminal output of the daemon and the commands."""
