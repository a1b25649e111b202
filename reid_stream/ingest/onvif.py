"""Find ONVIF cameras on the local networks by WS-Discovery: one question by multicast, answers within some seconds.

Every interface is asked, twice, since a datagram may be lost. Answers come from the network: they are bounded in size
and number, hold no document type, and must answer the question that was asked.

Source: WS-Discovery (April 2005) as the ONVIF Core Specification, section 7, uses it: a Probe for the type
NetworkVideoTransmitter to 239.255.255.250:3702; devices answer with their addresses and scopes. Written here since the
packages that do it are not kept or depend on one that is not (netifaces).
"""

import socket
import struct
import time
import uuid
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from itertools import islice
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree as ET

GROUP, PORT = "239.255.255.250", 3702
LISTEN_S = 3.0
"""Time to wait for answers, seconds."""
_QUESTION = """<?xml version="1.0" encoding="utf-8"?>
<e:Envelope xmlns:e="http://www.w3.org/2003/05/soap-envelope" xmlns:w="http://schemas.xmlsoap.org/ws/2004/08/addressing"
 xmlns:d="http://schemas.xmlsoap.org/ws/2005/04/discovery" xmlns:n="http://www.onvif.org/ver10/network/wsdl">
<e:Header><w:MessageID>{id}</w:MessageID><w:To>urn:schemas-xmlsoap-org:ws:2005:04:discovery</w:To>
<w:Action>http://schemas.xmlsoap.org/ws/2005/04/discovery/Probe</w:Action></e:Header>
<e:Body><d:Probe><d:Types>n:NetworkVideoTransmitter</d:Types></d:Probe></e:Body></e:Envelope>"""
_ADDRESSING = "{http://schemas.xmlsoap.org/ws/2004/08/addressing}"
_DISCOVERY = "{http://schemas.xmlsoap.org/ws/2005/04/discovery}"
_SCOPE = "onvif://www.onvif.org/"
_LONGEST = 65_507
"""Largest datagram, bytes."""
_MOST = 1000
"""Answers read at most."""
_MOST_OF_ONE = 20
"""Answers read of one address: it sends one to each question on each interface."""
_MOST_MATCHES = 16
"""Devices of one answer; a camera states itself alone."""
_MOST_ADDRESSES = 16
"""Service addresses of one device."""
_AGAIN_S = 0.5
_LONGEST_NAME = 100


@dataclass(frozen=True, slots=True)
class OnvifDevice:
    """A device that answered."""

    host: str
    """IP address."""
    name: str
    """As the device states it; empty if it does not."""
    hardware: str
    """Model, as the device states it; empty if it does not."""


def discover() -> list[OnvifDevice]:
    """Return the cameras that answer within `LISTEN_S`, by address; empty where no interface can send."""
    message = f"uuid:{uuid.uuid4()}"
    question = _QUESTION.format(id=message).encode()
    found: dict[str, OnvifDevice] = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.bind(("", 0))
        end = time.monotonic() + LISTEN_S
        again = time.monotonic() + _AGAIN_S
        _ask(asking, question)
        answers = Counter[str]()
        while answers.total() < _MOST and (now := time.monotonic()) < end:
            asking.settimeout(min(end, again) - now if again > now else end - now)
            try:
                answer, (source, _) = asking.recvfrom(_LONGEST)
            except TimeoutError:
                if again <= time.monotonic() < end:
                    again = end
                    _ask(asking, question)
                continue
            # Whoever sends more takes no place from others.
            if (seen := answers[source]) >= _MOST_OF_ONE:
                continue
            answers[source] = seen + 1
            for device in devices(answer, message, source):
                found.setdefault(device.host, device)
    return sorted(found.values(), key=lambda one: ip_address(one.host).packed)


def _ask(asking: socket.socket, question: bytes) -> None:
    for index, _ in socket.if_nameindex():
        # ip_mreqn: the group, no own address, the interface.
        where = struct.pack("=4s4si", socket.inet_aton(GROUP), socket.inet_aton("0.0.0.0"), index)  # noqa: S104
        with suppress(OSError):  # an interface that is down, or has no IPv4
            asking.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, where)
            asking.sendto(question, (GROUP, PORT))


def devices(answer: bytes, message: str, source: str) -> list[OnvifDevice]:
    """Return the devices of an answer; none of one that is damaged, or answers another message.

    Args:
        answer: datagram.
        message: ID of the question.
        source: address that it came from.
    """
    try:
        # As text, so that no other encoding hides a document type from the next line; a parser takes text as UTF-8.
        text = answer.decode("utf-8-sig")
        if "<!DOCTYPE" in text or "<!ENTITY" in text:
            return []
        root = ET.fromstring(text)  # noqa: S314 (without a document type there are no entities)
    except (ET.ParseError, ValueError, LookupError):
        return []
    if (root.findtext(f".//{_ADDRESSING}RelatesTo") or "").strip() != message:
        return []
    found = []
    for match in islice(root.iter(f"{_DISCOVERY}ProbeMatch"), _MOST_MATCHES):
        hosts = _hosts(match.findtext(f"{_DISCOVERY}XAddrs") or "")
        if not hosts:
            continue
        scopes = [scope for scope in (match.findtext(f"{_DISCOVERY}Scopes") or "").split() if scope.startswith(_SCOPE)]
        found.append(
            OnvifDevice(source if source in hosts else hosts[0], _scope(scopes, "name"), _scope(scopes, "hardware"))
        )
    return found


def _hosts(addresses: str) -> list[str]:
    """Return the hosts of service addresses that are IP addresses, IPv4 first."""
    hosts: list[str] = []
    for address in addresses.split(maxsplit=_MOST_ADDRESSES)[:_MOST_ADDRESSES]:
        with suppress(ValueError):
            host = urlsplit(address).hostname or ""
            ip_address(host)
            hosts.append(host)
    return sorted(hosts, key=lambda host: ip_address(host).version)


def _scope(scopes: list[str], kind: str) -> str:
    for scope in scopes:
        if scope.startswith(f"{_SCOPE}{kind}/"):
            text = unquote(scope.removeprefix(f"{_SCOPE}{kind}/"))
            return "".join(one for one in text if one.isprintable())[:_LONGEST_NAME]
    return ""
