"""Cameras are found by WS-Discovery: against a responder that speaks it over real multicast, on loopback."""

import re
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from benchmarks.ports import free_port
from reid_stream.ingest import onvif
from reid_stream.ingest.onvif import GROUP, OnvifDevice, devices, discover

ANSWER = """<?xml version="1.0" encoding="UTF-8"?>
<SOAP-ENV:Envelope xmlns:SOAP-ENV="http://www.w3.org/2003/05/soap-envelope"
 xmlns:wsa="http://schemas.xmlsoap.org/ws/2004/08/addressing"
 xmlns:d="http://schemas.xmlsoap.org/ws/2005/04/discovery" xmlns:dn="http://www.onvif.org/ver10/network/wsdl">
<SOAP-ENV:Header><wsa:MessageID>uuid:1</wsa:MessageID><wsa:RelatesTo>{to}</wsa:RelatesTo></SOAP-ENV:Header>
<SOAP-ENV:Body><d:ProbeMatches><d:ProbeMatch>
<wsa:EndpointReference><wsa:Address>urn:uuid:2</wsa:Address></wsa:EndpointReference>
<d:Types>dn:NetworkVideoTransmitter</d:Types>
<d:Scopes>onvif://www.onvif.org/type/video_encoder onvif://www.onvif.org/name/AXIS%20P3245
 onvif://www.onvif.org/hardware/P3245-LV</d:Scopes>
<d:XAddrs>{addresses}</d:XAddrs><d:MetadataVersion>1</d:MetadataVersion>
</d:ProbeMatch></d:ProbeMatches></SOAP-ENV:Body></SOAP-ENV:Envelope>"""
CAMERA = "http://10.0.0.5/onvif/device_service"


def answer(to: str, addresses: str = CAMERA) -> bytes:
    return ANSWER.format(to=to, addresses=addresses).encode()


@contextmanager
def responder(answers: Callable[[str], list[bytes]], askers: list[tuple[str, int]] | None = None) -> Iterator[int]:
    """A device on loopback: joins the group, answers questions for network video transmitters; yields its port.

    `askers` gets the addresses of those who ask.
    """
    port = free_port()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind(("", port))
        joined = struct.pack("=4s4s", socket.inet_aton(GROUP), socket.inet_aton("127.0.0.1"))
        listening.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, joined)
        listening.settimeout(0.1)
        ended = threading.Event()

        def serve() -> None:
            while not ended.is_set():
                try:
                    question, asker = listening.recvfrom(65_507)
                except TimeoutError:
                    continue
                if askers is not None:
                    askers.append(asker)
                text = question.decode()
                assert "n:NetworkVideoTransmitter" in text
                found = re.search("<w:MessageID>(.*?)</w:MessageID>", text)
                assert found is not None
                for one in answers(found[1]):
                    listening.sendto(one, asker)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield port
        finally:
            ended.set()
            thread.join(5)


def ask_at(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    """Let `discover` ask at a port of ours, for a shorter time."""
    monkeypatch.setattr(onvif, "PORT", port)
    monkeypatch.setattr(onvif, "LISTEN_S", 1.2)


def test_a_device_that_answers_is_found_once_with_its_address_and_names(monkeypatch: pytest.MonkeyPatch) -> None:
    noise = [b"", b"\xff" * 100, b"<a/>", answer("uuid:another", "http://10.0.0.6/x")]
    with responder(lambda message: [*noise, answer(message), answer(message)]) as port:
        ask_at(monkeypatch, port)
        assert discover() == [OnvifDevice("10.0.0.5", "AXIS P3245", "P3245-LV")]


def test_a_flood_of_one_address_hides_no_device_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onvif, "_MOST", 30)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as flood:
        flood.bind(("127.0.0.2", 0))
        listening: list[tuple[str, int]] = []

        def answers(message: str) -> list[bytes]:
            for number in range(60):
                flood.sendto(answer(message, f"http://10.0.1.{number}/x"), listening[0])
            return [answer(message)]

        with responder(answers, listening) as port:
            ask_at(monkeypatch, port)
            found = {device.host for device in discover()}
    assert "10.0.0.5" in found
    assert len(found) <= 21


def test_an_answer_states_a_bounded_number_of_devices() -> None:
    match = "<d:ProbeMatch><d:XAddrs>http://10.1.{}.{}/x</d:XAddrs></d:ProbeMatch>"
    many = "".join(match.format(number // 250, number % 250) for number in range(800))
    body = answer("uuid:1").replace(b"</d:ProbeMatches>", many.encode() + b"</d:ProbeMatches>")
    assert len(body) < 65_507
    assert len(devices(body, "uuid:1", "10.0.0.5")) == 16
    assert devices(answer("uuid:1", " ".join([CAMERA] * 1500)), "uuid:1", "10.0.0.5")


def test_without_a_device_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    ask_at(monkeypatch, free_port())
    assert discover() == []


@pytest.mark.parametrize(
    ("addresses", "host"),
    [
        ("http://[fe80::1]/onvif http://10.0.0.5/onvif", "10.0.0.5"),
        ("http://10.0.0.7/onvif http://10.0.0.5:8080/onvif", "10.0.0.5"),
        ("http://10.0.0.7/onvif", "10.0.0.7"),
        ("http://[2001:db8::5]/onvif", "2001:db8::5"),
    ],
)
def test_of_several_addresses_the_one_that_answered_counts(addresses: str, host: str) -> None:
    (device,) = devices(answer("uuid:1", addresses), "uuid:1", "10.0.0.5")
    assert device.host == host


@pytest.mark.parametrize(
    "body",
    [
        answer("uuid:2"),
        answer("uuid:1", "http://camera.example.org/onvif"),
        answer("uuid:1", "http://[broken/ 10.0.0.5"),
        answer("uuid:1")[:-20],
        b'<!DOCTYPE a [<!ENTITY b "cc">]>' + answer("uuid:1").partition(b"?>")[2],
        b"<?xml version='1.0' encoding='nonsense'?><a/>",
        ('<!DOCTYPE a [<!ENTITY b "cc">]>' + answer("uuid:1").decode().partition("?>")[2]).encode("utf-16"),
    ],
    ids=[
        "of another question",
        "a name",
        "no address",
        "cut off",
        "with entities",
        "odd encoding",
        "entities in UTF-16",
    ],
)
def test_answers_that_are_none_are_left_out(body: bytes) -> None:
    assert devices(body, "uuid:1", "10.0.0.5") == []


def test_names_are_plain_and_short() -> None:
    body = answer("uuid:1").replace(b"AXIS%20P3245", b"%1b%5b31m" + b"x" * 500)
    (device,) = devices(body, "uuid:1", "10.0.0.5")
    assert device.name == "[31m" + "x" * 96
