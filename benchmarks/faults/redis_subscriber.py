"""Run a subscriber as users write it, as a process: `python -m benchmarks.faults.redis_subscriber FILE SITE`.

Every event becomes a line of the file, its position first, from which the program resumes when it is
killed and restarted. The address comes from the environment, since `ps` shows arguments.
"""

import os
import subprocess
import sys
from pathlib import Path

from pydantic import SecretStr

from reid_stream.config.settings import Redis
from reid_stream.publish.subscribe import subscribe

_URL, _USER, _PASSWORD = "DRILL_URL", "DRILL_USER", "DRILL_PASSWORD"


def start(file: Path, site: str, url: str, login: Redis) -> "subprocess.Popen[bytes]":
    """Run it as a process; its output is written beside the file."""
    secret = login.password.get_secret_value() if login.password is not None else ""
    environment = {**os.environ, _URL: url, _USER: login.username or "", _PASSWORD: secret}
    with file.with_suffix(".err").open("ab") as errors:
        return subprocess.Popen(
            [sys.executable, "-m", __name__, str(file), site],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=errors,
            stderr=errors,
        )


def received(file: Path) -> list[str]:
    """Return the ids of the events it received, in their order."""
    return [line.split()[1] for line in _lines(file)]


def follow(file: Path, site: str) -> None:
    """Write events until the daemon has stopped."""
    lines = _lines(file)
    # A truncated line is an event that was not received.
    file.write_text("".join(f"{line}\n" for line in lines))
    start_at = lines[-1].split()[0] if lines else "0"
    settings = Redis(username=os.environ[_USER], password=SecretStr(os.environ[_PASSWORD]))
    with (
        file.open("ab", buffering=0) as out,
        subscribe(os.environ[_URL], site=site, start=start_at, settings=settings) as events,
    ):
        for event in events:
            out.write(f"{event.position} {event.id}\n".encode())
            if event.type.endswith(".daemon.stopped.v1"):
                return


def _lines(file: Path) -> list[str]:
    text = file.read_text() if file.exists() else ""
    return text.splitlines() if text.endswith("\n") else text.splitlines()[:-1]


if __name__ == "__main__":
    follow(Path(sys.argv[1]), sys.argv[2])
