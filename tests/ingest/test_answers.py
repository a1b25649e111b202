"""An HTTP response as FFmpeg gets it, however the camera writes it and the network splits it."""

import io

import numpy as np
import pytest
from PIL import Image

from reid_stream.ingest.http_answers import HttpAnswers


def jpeg(shade: int, **options: object) -> bytes:
    """Return a small JPEG image; two of different shades differ."""
    pixels = np.random.default_rng(shade).integers(0, 255, (16, 24, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", **options)
    return out.getvalue()


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace;boundary=frame\r\n\r\n"
THUMBNAIL = b"Exif\0\0" + jpeg(9)
IMAGES = [jpeg(1), jpeg(2, progressive=True), jpeg(3, restart_marker_rows=1), jpeg(4, exif=THUMBNAIL)]
TYPE = b"Content-Type: image/jpeg\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"


def parts(passed: bytes) -> list[bytes]:
    """Return the images of what FFmpeg gets, checking their boundaries and lengths."""
    head, _, rest = passed.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace;boundary=image\r\n")
    images = []
    while rest:
        head, _, rest = rest.partition(b"\r\n\r\n")
        before, length = head.split(b"Content-Length: ")
        assert before == b"--image\r\n" + TYPE
        images.append(rest[: int(length)])
        assert rest[int(length) :][:2] == b"\r\n"
        rest = rest[int(length) + 2 :]
    return images


def body(
    *, boundary: bytes = b"--frame\r\n", fields: bytes = TYPE, less: int | None = None, after: bytes = b""
) -> bytes:
    """Return the images in parts, each followed by `after`; lengths are wrong by `less`, or not stated."""
    return b"".join(
        boundary
        + fields
        + (b"" if less is None else b"Content-Length: %d\r\n" % (len(one) - less))
        + b"\r\n"
        + one
        + after
        for one in IMAGES
    )


BODIES = {
    "as it should be": body(less=0, after=b"\r\n"),
    "no length": body(after=b"\r\n"),
    "nothing after an image": body(),
    "length too small": body(less=7, after=b"\r\n"),
    "length too large": body(less=-300, after=b"\r\n"),
    "padding": body(less=-300, after=bytes(300) + b"\r\n"),
    "no first boundary": body(less=0, after=b"\r\n").removeprefix(b"--frame\r\n"),
    "no boundary": body(less=0, boundary=b""),
    "another boundary": body(boundary=b"something else\n", after=b"\n"),
    "bare line feeds": body(after=b"\n", fields=TYPE.replace(b"\r", b"")),
    "another type": body(fields=b"content-type:image/jpg\r\n", after=b"\r\n--frame--\r\n"),
    "no header": body(fields=b""),
    "preamble": b"text before\r\n\r\n--\r\n" + body(),
    "sound between": body(
        after=b"\r\n--frame\r\nContent-Type: audio/basic\r\n\r\n" + bytes(range(256)) * 2 + b"\xff\xd8\xff "
    ),
    "nothing but images": b"".join(IMAGES),
}


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("is_chunked", [False, True])
def test_parts_get_right_boundaries_and_lengths_wherever_the_network_cuts_them(name: str, is_chunked: bool) -> None:
    whole, sent = BODIES[name], BODIES[name]
    if is_chunked:
        sent = b"".join(
            b"%x;x=y\r\n%s\r\n" % (len(whole[at : at + 99]), whole[at : at + 99]) for at in range(0, len(whole), 99)
        )
    sent = (HEAD.removesuffix(b"\r\n") + CHUNKED if is_chunked else HEAD) + sent
    for size in (1, 13, 1000, len(sent)):
        answers = HttpAnswers()
        assert parts(b"".join(answers.answered(sent[at : at + size]) for at in range(0, len(sent), size))) == IMAGES


def test_an_image_that_is_cut_off_ends_with_the_next_one() -> None:
    cut = IMAGES[0][:-60]
    assert parts(HttpAnswers().answered(HEAD + b"--frame\r\n\r\n" + cut + b"\r\n" + body())) == [cut, *IMAGES]


@pytest.mark.parametrize("kind", ["image/jpeg", "text/html", "application/octet-stream", ""])
@pytest.mark.parametrize("name", ["as it should be", "no first boundary", "nothing but images"])
def test_parts_and_images_that_are_not_called_multipart(kind: str, name: str) -> None:
    head = f"HTTP/1.1 200 OK\r\n{f'Content-Type: {kind}' + chr(13) + chr(10) if kind else ''}\r\n".encode()
    sent = head + BODIES[name]
    for size in (1, len(sent)):
        answers = HttpAnswers()
        assert parts(b"".join(answers.answered(sent[at : at + size]) for at in range(0, len(sent), size))) == IMAGES


@pytest.mark.parametrize(
    "head",
    [
        b"ICY 200 OK\r\nContent-Type: multipart/x-mixed-replace\r\n\r\n",
        b"ICY 200 OK\nContent-Type: multipart/x-mixed-replace\n\n",
        b"HTTP/2 200\r\nContent-Type:multipart/x-mixed-replace\r\n\r\n",
        b"\r\nHTTP/1.1  200  OK\r\nContent-Length: 0\r\nContent-Type: multipart/mixed;\r\n boundary=frame\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-type : multipart/related\r\n\r\n",
        b"",
    ],
)
def test_headers_of_odd_forms(head: bytes) -> None:
    assert parts(HttpAnswers().answered(head + BODIES["as it should be"])) == IMAGES


def test_a_header_of_bare_line_feeds_gets_crlf_wherever_the_network_cuts_it() -> None:
    head, video = b"HTTP/1.1 200 OK\nContent-Type: video/mp2t\nConnection: close\n\n", b"G" + bytes(99)
    for cut in range(1, len(head + video)):
        answers = HttpAnswers()
        passed = answers.answered((head + video)[:cut]) + answers.answered((head + video)[cut:])
        assert passed == head.replace(b"\n", b"\r\n") + video


def test_parts_without_any_image_are_refused() -> None:
    answers = HttpAnswers()
    answers.answered(HEAD + b"--frame\r\nContent-Type: text/plain\r\n\r\n" + bytes(5 << 20))
    assert answers.refusal == "sends parts, but no JPEG images"


@pytest.mark.parametrize(
    ("fields", "closes"),
    [(b"", True), (b"Connection: keep-alive\r\n", True), (b"Connection: Close\r\n", False),
     (b"Content-Length: 3\r\n", False), (b"Transfer-Encoding: chunked\r\n", False)],
)  # fmt: skip
def test_a_body_that_ends_with_the_connection_is_stated_so(fields: bytes, closes: bool) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n" + fields
    sent = b"3\r\nabc\r\n0\r\n\r\n"
    passed = HttpAnswers().answered(head + b"\r\n" + sent)
    assert passed == head + (b"Connection: close\r\n" if closes else b"") + b"\r\n" + sent


@pytest.mark.parametrize("name", ["md5", "Md5", '"md5"', "MD5"])
def test_a_digest_by_md5_in_small_letters_is_passed_on_in_capitals(name: str) -> None:
    challenge = f'HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Digest realm="r", algorithm={name}, nonce="n"\r\n\r\n'
    answers = HttpAnswers()
    passed = answers.answered(challenge.encode()).decode()
    assert f"algorithm={'MD5' if name[0] != chr(34) else chr(34) + 'MD5' + chr(34)}, nonce" in passed
    assert not answers.wants_other


PICTURE_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\n\r\n"


@pytest.mark.parametrize("count", [1, 2])
def test_a_snapshot_passes_with_its_length_once_it_is_whole(count: int) -> None:
    for is_closed in (True, False):
        answers = HttpAnswers()
        passed = answers.answered(PICTURE_HEAD + IMAGES[3] * count)
        passed += answers.ended() if is_closed else b"".join(answers.fell_silent() for _ in range(4))
        length = b"\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(IMAGES[3])
        assert passed == PICTURE_HEAD.removesuffix(b"\r\n\r\n") + length + IMAGES[3]


@pytest.mark.parametrize("stated", [-40, 0, 9999])
def test_a_snapshot_gets_its_true_length(stated: int) -> None:
    head = PICTURE_HEAD.replace(b"\r\n\r\n", b"\r\nContent-Length: %d\r\n\r\n" % (len(IMAGES[1]) + stated))
    passed = HttpAnswers().answered(head + IMAGES[1])
    assert passed == PICTURE_HEAD.removesuffix(b"\r\n") + b"Content-Length: %d\r\n\r\n" % len(IMAGES[1]) + IMAGES[1]
