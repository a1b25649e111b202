"""Run a command on a real pseudo-terminal, as a user does."""

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Mapping
from pathlib import Path


def set_size(terminal: int, columns: int, lines: int) -> None:
    """Give a terminal a size."""
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))


class Terminal:
    """A process with a terminal of its own for standard input, output and error."""

    def __init__(self, *arguments: str | Path, environ: Mapping[str, str], columns: int = 80, lines: int = 24) -> None:
        self._master, slave = pty.openpty()
        set_size(slave, columns, lines)
        kept = {key: value for key, value in environ.items() if key not in ("COLUMNS", "LINES", "NO_COLOR")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "reid_stream", *map(str, arguments)],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**kept, "TERM": "xterm-256color"},
            # A new session whose controlling terminal this is: closing it sends SIGHUP.
            preexec_fn=_take_terminal,  # noqa: PLW1509 (two system calls)
        )
        os.close(slave)
        self.shown = b""

    def read(self, timeout_s: float = 60, until: Callable[[bytes], bool] = lambda _shown: False) -> bytes:
        """Read until the process ends, or until a condition of what was shown so far."""
        end = time.monotonic() + timeout_s
        while not until(self.shown):
            assert time.monotonic() < end, self.shown[-2000:]
            if select.select([self._master], [], [], 0.2)[0]:
                try:
                    more = os.read(self._master, 65536)
                except OSError:  # the other end is closed
                    break
                if not more:
                    break
                self.shown += more
            elif self.process.poll() is not None:
                break
        return self.shown

    def close(self) -> None:
        """Close the terminal window."""
        os.close(self._master)
        self._master = -1

    def end(self, timeout_s: float = 60) -> int:
        """Read to the end and return the exit status."""
        self.read(timeout_s)
        return self.process.wait(timeout_s)

    def kill(self) -> None:
        """Make sure that nothing is left."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
        if self._master >= 0:
            self.close()


def _take_terminal() -> None:
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def show(*arguments: str | Path, environ: Mapping[str, str], columns: int = 80, lines: int = 24) -> tuple[int, bytes]:
    """Run to the end; return the exit status and everything that the terminal was sent."""
    terminal = Terminal(*arguments, environ=environ, columns=columns, lines=lines)
    try:
        code = terminal.end()
    finally:
        terminal.kill()
    return code, terminal.shown
