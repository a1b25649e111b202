"""The running daemon: its loop, its threads and its worker processes."""
