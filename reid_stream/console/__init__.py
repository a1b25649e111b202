"""What the daemon shows to the person who started it."""
