"""The start of an HTTP response as FFmpeg gets it, however the network splits it."""

import pytest

from reid_stream.ingest.answers import HttpAnswers

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace;boundary=frame\r\n\r\n"
JPEG = b"\xff\xd8 picture \xff\xd9"
PART = b"Content-Type: image/jpeg\r\nContent-Length: 13\r\n\r\n" + JPEG
FIRST = b"--frame\r\n" + PART + b"\r\n--frame\r\n" + PART


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(FIRST, id="as it should be"),
        pytest.param(b"\r\n" + FIRST, id="empty line"),
        pytest.param(FIRST.removeprefix(b"--frame\r\n"), id="no first boundary"),
        pytest.param(b"\r\n" + FIRST.removeprefix(b"--frame\r\n"), id="empty line, no first boundary"),
        pytest.param(b"text before\r\n" + FIRST, id="preamble"),
    ],
)
def test_multipart_starts_with_a_boundary_wherever_the_network_cuts_it(body: bytes) -> None:
    whole = HEAD + body
    for cut in range(1, len(whole)):
        answers = HttpAnswers()
        passed = answers.answered(whole[:cut]) + answers.answered(whole[cut:])
        assert passed.removeprefix(HEAD).lstrip(b"\r\n") == FIRST
        assert not answers.has_odd_parts


def test_an_image_without_a_header_gets_one_and_another_type_is_noted() -> None:
    answers = HttpAnswers()
    passed = answers.answered(HEAD + JPEG + b"\r\n--frame\r\n" + PART)
    assert passed == HEAD + b"--frame\r\nContent-Type: image/jpeg\r\n\r\n" + JPEG + b"\r\n--frame\r\n" + PART
    for odd in (
        FIRST.replace(b"image/jpeg", b"image/jpg"),
        FIRST.replace(b"Content-Type: image/jpeg\r\n", b""),
        FIRST.replace(b"Content-Length: 13\r\n", b"").replace(b"\r\n", b"\n"),
        b"text before\r\n\r\n" + FIRST.replace(b"image/jpeg", b"audio/basic"),
    ):
        answers = HttpAnswers()
        assert answers.answered(HEAD + odd) == b""
        assert answers.has_odd_parts
        assert answers.is_refused
        assert HttpAnswers(takes_jpeg_stream=True).answered(HEAD + odd) == HEAD + odd


def test_a_header_of_bare_line_feeds_gets_crlf_wherever_the_network_cuts_it() -> None:
    whole = HEAD.replace(b"\r\n", b"\n") + FIRST.replace(b"\r\n", b"\n")
    for cut in range(1, len(whole)):
        answers = HttpAnswers()
        passed = answers.answered(whole[:cut]) + answers.answered(whole[cut:])
        assert passed == HEAD + FIRST.replace(b"\r\n", b"\n")


def test_chunks_that_cut_the_header_of_a_part_are_seen_through() -> None:
    head = HEAD.replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n")
    body = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (FIRST[:13], FIRST[13:40], FIRST[40:]))
    for cut in range(1, len(head + body)):
        answers = HttpAnswers()
        assert answers.answered((head + body)[:cut]) + answers.answered((head + body)[cut:]) == head + body
        assert not answers.has_odd_parts


@pytest.mark.parametrize(
    ("fields", "closes"),
    [(b"", True), (b"Connection: keep-alive\r\n", True), (b"Connection: Close\r\n", False),
     (b"Content-Length: 3\r\n", False), (b"Transfer-Encoding: chunked\r\n", False)],
)  # fmt: skip
def test_a_body_that_ends_with_the_connection_is_stated_so(fields: bytes, closes: bool) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n" + fields
    passed = HttpAnswers().answered(head + b"\r\n3\r\nabc\r\n")
    assert passed == head + (b"Connection: close\r\n" if closes else b"") + b"\r\n3\r\nabc\r\n"


@pytest.mark.parametrize("name", ["md5", "Md5", '"md5"', "MD5"])
def test_a_digest_by_md5_in_small_letters_is_passed_on_in_capitals(name: str) -> None:
    challenge = f'HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Digest realm="r", algorithm={name}, nonce="n"\r\n\r\n'
    answers = HttpAnswers()
    passed = answers.answered(challenge.encode()).decode()
    assert f"algorithm={'MD5' if name[0] != chr(34) else chr(34) + 'MD5' + chr(34)}, nonce" in passed
    assert not answers.wants_sha


def test_chunked_parts_get_their_boundary_as_a_chunk() -> None:
    head = HEAD.replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n")
    body = b"%x\r\n%s\r\n" % (len(PART), PART)
    for cut in range(1, len(head + body)):
        answers = HttpAnswers()
        passed = answers.answered((head + body)[:cut]) + answers.answered((head + body)[cut:])
        assert passed == head + b"9\r\n--frame\r\n\r\n" + body


PICTURE_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\n\r\n"
PICTURE = b"\xff\xd8\xff\xe0 picture \xff\xd9"


@pytest.mark.parametrize("between", [b"", b"\r\n"])
def test_pictures_one_after_another_are_a_stream_wherever_the_network_cuts_it(between: bytes) -> None:
    whole = PICTURE_HEAD + between.join([PICTURE] * 3)
    for cut in range(1, len(whole)):
        answers = HttpAnswers()
        assert answers.answered(whole[:cut]) + answers.answered(whole[cut:]) == b""
        assert answers.is_jpeg_stream
    answers = HttpAnswers(takes_jpeg_stream=True)
    assert answers.answered(whole[:20]) + answers.answered(whole[20:]) + answers.answered(PICTURE) == whole + PICTURE


@pytest.mark.parametrize("count", [1, 2])
def test_a_snapshot_passes_with_its_length_once_it_is_whole(count: int) -> None:
    for is_closed in (True, False):
        answers = HttpAnswers()
        passed = answers.answered(PICTURE_HEAD + PICTURE * count)
        passed += answers.ended() if is_closed else b"".join(answers.fell_silent() for _ in range(4))
        length = b"\r\nContent-Length: %d\r\n\r\n" % len(PICTURE)
        assert passed == PICTURE_HEAD.removesuffix(b"\r\n\r\n") + length + PICTURE
        assert not answers.is_jpeg_stream
