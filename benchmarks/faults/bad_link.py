"""Network namespaces whose only link this process carries, packet by packet: cut it, delay it, let packets overtake.

    with Namespace(1) as host:                  # 10.211.1.2, sees this process's namespace as HERE
        subprocess.Popen([*host.enter, "curl", ...])
        host.link.is_cut = True

Real TCP runs over it, since the packets are those of the kernel (a TUN device at each end). Needs the right to make
namespaces (root, or user namespaces), and no kernel module for bad networks, which many machines lack.
"""

import ctypes
import fcntl
import heapq
import os
import random
import selectors
import struct
import subprocess
import sys
import threading
import time
from types import TracebackType
from typing import Self

HERE = "10.211.0.1"
"""Address of the namespace that this process is in, as all others see it."""
_TUNSETIFF = 0x400454CA
_IFF_TUN_NO_PI = 0x1001
_MTU = 1500
_LOOK_S = 0.2
_PRIVATE = "REID_STREAM_DRILL_NAMESPACE"


def ip(*words: str) -> None:
    """Run `ip` (iproute2).

    Raises:
        subprocess.CalledProcessError: it is not permitted.
    """
    subprocess.run(["ip", *words], check=True, capture_output=True)


def unshare() -> list[str]:
    """Return the command that runs another one in a network namespace of its own; empty where none can be made."""
    for words in (["unshare", "--net"], ["unshare", "--net", "--map-root-user"]):
        try:
            if subprocess.run([*words, "ip", "link"], capture_output=True, check=False).returncode == 0:
                return words
        except OSError:
            continue
    return []


def in_private_namespace() -> int | None:
    """Run this very command again in a namespace of its own, and return its exit status.

    None where this already is such a process, or none can be made; nothing of the machine's network is changed.
    """
    words = unshare()
    if _PRIVATE in os.environ or not words:
        return None
    command = [*words, sys.executable, "-m", "benchmarks", *sys.argv[1:]]
    return subprocess.run(command, env={**os.environ, _PRIVATE: "1"}, check=False).returncode


def open_here() -> bool:
    """Give this namespace its addresses; False where it is not one of its own."""
    if _PRIVATE not in os.environ:
        return False
    ip("link", "set", "lo", "up")
    ip("address", "add", f"{HERE}/32", "dev", "lo")
    return True


class Link:
    """Carries packets between two TUN devices; every setting may be changed while it runs."""

    def __init__(self, first: int, second: int) -> None:
        """`first`, `second`: file descriptors of the devices; closed by `close`."""
        self.is_cut = False
        self.delay_s = 0.0
        """Least delay of a packet, each way, seconds."""
        self.jitter_s = 0.0
        """Most that is added to it, for each packet on its own, so that they overtake each other."""
        self.carried = self.lost = self.overtaken = 0
        self._ends = {first: second, second: first}
        self._late: list[tuple[float, int, int, bytes]] = []
        self._number, self._newest = 0, -1
        self._random = random.Random(1)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._carry_all, name="link", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End; the devices are gone."""
        self._closing.set()
        self._thread.join(5)
        for end in self._ends:
            os.close(end)

    def _carry_all(self) -> None:
        selector = selectors.DefaultSelector()
        for end in self._ends:
            selector.register(end, selectors.EVENT_READ)
        while not self._closing.is_set():
            wait_s = min(_LOOK_S, self._late[0][0] - time.monotonic()) if self._late else _LOOK_S
            for key, _ in selector.select(max(wait_s, 0)):
                self._take(key.fd, os.read(key.fd, 2 * _MTU))
            while self._late and self._late[0][0] <= time.monotonic():
                self._deliver(*heapq.heappop(self._late)[1:])
        selector.close()

    def _take(self, end: int, packet: bytes) -> None:
        if self.is_cut:
            self.lost += 1
            return
        self._number += 1
        due = time.monotonic() + self.delay_s + self._random.random() * self.jitter_s
        if self.delay_s or self.jitter_s or self._late:
            heapq.heappush(self._late, (due, self._number, self._ends[end], packet))
        else:
            self._deliver(self._number, self._ends[end], packet)

    def _deliver(self, number: int, end: int, packet: bytes) -> None:
        self.carried += 1
        self.overtaken += number < self._newest
        self._newest = max(self._newest, number)
        try:
            os.write(end, packet)
        except OSError:  # the device's queue is full, or its namespace is gone
            self.lost += 1


class Namespace:
    """A network namespace with one link to this one."""

    def __init__(self, number: int) -> None:
        """Make it. `number`: 1 to 254, of its own; its address is 10.211.<number>.2.

        Raises:
            OSError, subprocess.CalledProcessError: it is not permitted.
        """
        self.address = f"10.211.{number}.2"
        self._holder = subprocess.Popen(["unshare", "--net", "sleep", "infinity"], preexec_fn=_die_with_parent)  # noqa: PLW1509 (before any thread is started)
        _wait_for_namespace(self._holder.pid)
        self.enter = ["nsenter", "--target", str(self._holder.pid), "--net", "--"]
        here, there = f"h{number}", f"n{number}"
        ends = [_tun(here), _tun(there)]
        ip("link", "set", there, "netns", str(self._holder.pid))
        ip("address", "add", f"10.211.{number}.1", "peer", self.address, "dev", here)
        ip("link", "set", here, "mtu", str(_MTU), "up")
        for words in (
            ("link", "set", "lo", "up"),
            ("address", "add", self.address, "peer", f"10.211.{number}.1", "dev", there),
            ("link", "set", there, "mtu", str(_MTU), "up"),
            ("route", "add", "default", "dev", there),
        ):
            subprocess.run([*self.enter, "ip", *words], check=True, capture_output=True)
        self.link = Link(*ends)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.link.close()
        self._holder.kill()
        self._holder.wait()


def _tun(name: str) -> int:
    """Make a TUN device and return its file descriptor."""
    end = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(end, _TUNSETIFF, struct.pack("16sH", name.encode(), _IFF_TUN_NO_PI))
    return end


def _wait_for_namespace(pid: int) -> None:
    ours = os.readlink("/proc/self/ns/net")  # noqa: PTH115 (a magic link)
    until = time.monotonic() + 10
    while os.readlink(f"/proc/{pid}/ns/net") == ours and time.monotonic() < until:  # noqa: PTH115
        time.sleep(0.01)


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, 9)  # PR_SET_PDEATHSIG, SIGKILL
