"""The running daemon: its threads, its worker processes, and what watches them."""
