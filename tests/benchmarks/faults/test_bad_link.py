"""A link between network namespaces carries real TCP: whole while packets overtake each other, nothing while cut."""

import json
import os
import subprocess
import sys

import pytest

from benchmarks.faults.bad_link import unshare

_SENT = """
import json, socket, subprocess, sys, threading, time
from benchmarks.faults.bad_link import HERE, Namespace, open_here

assert open_here()
server = socket.create_server((HERE, 7777))
with Namespace(1) as host:
    code = f"import socket; s = socket.create_connection(('{HERE}', 7777))\\n"
    code += "for n in range(100): s.sendall(bytes([n % 251]) * 3000)"
    host.link.delay_s, host.link.jitter_s = 0.001, 0.01
    sender = subprocess.Popen([*host.enter, sys.executable, "-c", code])
    connection, _ = server.accept()
    came = bytearray(connection.recv(1000))
    host.link.is_cut = True
    connection.settimeout(0.3)
    try:
        while page := connection.recv(100_000):
            came += page
        was_cut = False
    except TimeoutError:
        was_cut = len(came) < 300_000
    host.link.is_cut = False
    connection.settimeout(20)
    while page := connection.recv(100_000):
        came += page
    sender.wait(20)
    is_whole = bytes(came) == b"".join(bytes([n % 251]) * 3000 for n in range(100))
    print(json.dumps([was_cut, is_whole, host.link.lost > 0, host.link.overtaken > 0]))
"""


@pytest.mark.skipif(not unshare(), reason="network namespaces need root or user namespaces, and iproute2")
def test_a_link_is_cut_and_late_and_tcp_gets_over_it() -> None:
    done = subprocess.run(
        [*unshare(), sys.executable, "-c", _SENT],
        env={**os.environ, "REID_STREAM_DRILL_NAMESPACE": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [True, True, True, True]
