"""Find free TCP ports on loopback for servers of drills and tests."""

import random
import socket
from contextlib import suppress


def free_port() -> int:
    """Return a free port below those that systems give to outgoing connections, which could take it meanwhile."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
