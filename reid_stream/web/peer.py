"""Find the user of this machine who made a connection over loopback.

The other end of our connection is a socket of this machine, too, whose owner the kernel knows. It is asked by
sock_diag(7), one exact question a connection; where that is forbidden, `/proc/net/tcp` is searched (proc_net_tcp(5)),
which takes longer the more sockets there are.
"""

import os
import pwd
import socket
import struct
import sys
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

Address = tuple[str, int]
"""IP address and port."""
_TABLES = {4: Path("/proc/net/tcp"), 6: Path("/proc/net/tcp6")}
_ESTABLISHED = 1
"""The only state that counts: in later ones the process may be gone, and the owner is then given as 0."""
_NETLINK_SOCK_DIAG, _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST = 4, 20, 1
_HEADER = struct.Struct("=IHHII")
"""nlmsghdr: length, type, flags, sequence, port."""
_QUESTION = struct.Struct("=BBBxI2s2s16s16sIII")
"""inet_diag_req_v2: family, protocol, extensions, states, ports, addresses, interface, cookie."""
_ANSWER = struct.Struct("=BBBB48xIIIII")
"""inet_diag_msg: family, state, timer, retransmits, (socket), expires, two queues, owner, inode."""
_NO_COOKIE = 0xFFFFFFFF
_TIMEOUT_S = 1.0


def is_supported() -> bool:
    """Return whether this system can report the owner of a socket."""
    return _TABLES[4].exists()


def uid_of(peer: Address, ours: Address) -> int | None:
    """Return the user ID of the process at the other end of a connection; None if it is not known.

    Args:
        peer: address of the other end.
        ours: address of this end.
    """
    try:
        ends = ip_address(peer[0]), ip_address(ours[0])
    except ValueError:
        return None
    try:
        uid = _asked((ends[0], peer[1]), (ends[1], ours[1]))
    except OSError:
        uid = _searched((ends[0], peer[1]), (ends[1], ours[1]))
    return None if uid == _overflow_uid() else uid


_End = tuple[IPv4Address | IPv6Address, int]


def _asked(peer: _End, ours: _End) -> int | None:
    """Ask the kernel for one socket.

    Raises:
        OSError: it does not answer such questions.
    """
    (source, source_port), (target, target_port) = peer, ours
    family = socket.AF_INET if source.version == 4 else socket.AF_INET6
    question = _QUESTION.pack(
        family,
        socket.IPPROTO_TCP,
        0,
        _NO_COOKIE,
        source_port.to_bytes(2, "big"),
        target_port.to_bytes(2, "big"),
        source.packed,
        target.packed,
        0,
        _NO_COOKIE,
        _NO_COOKIE,
    )
    head = _HEADER.pack(_HEADER.size + len(question), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as kernel:
        kernel.settimeout(_TIMEOUT_S)
        kernel.send(head + question)
        answer = kernel.recv(4096)
    kind = _HEADER.unpack_from(answer)[1]
    if kind != _SOCK_DIAG_BY_FAMILY:  # NLMSG_ERROR: there is no such socket
        return None
    _, state, _, _, _, _, _, uid, _ = _ANSWER.unpack_from(answer, _HEADER.size)
    return int(uid) if state == _ESTABLISHED else None


def _searched(peer: _End, ours: _End) -> int | None:
    """Search the table of sockets; None where there is none."""
    wanted = [_written(peer), _written(ours)]
    try:
        lines = _TABLES[peer[0].version].read_text(encoding="ascii").splitlines()[1:]
    except OSError:
        return None
    for line in lines:
        parts = line.split()
        if parts[1:3] == wanted and int(parts[3], 16) == _ESTABLISHED:
            return int(parts[7])
    return None


def user_name(uid: int) -> str:
    """Return the name of a user, or the number where it has none, as in containers."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _written(end: _End) -> str:
    """Write an address as the kernel does: 32-bit words in the machine's byte order."""
    packed = end[0].packed
    words = [packed[at : at + 4] for at in range(0, len(packed), 4)]
    return "".join(f"{int.from_bytes(word, sys.byteorder):08X}" for word in words) + f":{end[1]:04X}"


def _overflow_uid() -> int:
    """Return the ID that stands for all users outside our user namespace."""
    try:
        return int(Path("/proc/sys/kernel/overflowuid").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 65534


def may_enter(uid: int | None) -> bool:
    """Return whether a user of this machine runs this process, or is root, who may read everything anyway."""
    return uid in (os.geteuid(), 0)
