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
    odd = HttpAnswers()
    assert odd.answered(HEAD + FIRST.replace(b"image/jpeg", b"image/jpg")) == HEAD + FIRST.replace(
        b"image/jpeg", b"image/jpg"
    )
    assert odd.has_odd_parts


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
