"""When all of a request is there, however it comes in pieces."""

from typing import Any, NoReturn, cast

import pytest
from gunicorn.config import Config
from gunicorn.http.errors import ParseException
from hypothesis import given
from hypothesis import strategies as st

from service.common.intake import EXCESS, LONGEST_HEAD, Intake, RefusedError
from service.common.worker import Parser, frozen

LONGEST = 1000
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\n"


def chunked(*chunks: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    body = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
    return POST + b"Transfer-Encoding: chunked\r\n\r\n" + body + end


WHOLE = [
    GET,
    POST + b"Content-Length: 0\r\n\r\n",
    POST + b"Content-Length: 5\r\n\r\nabcde",
    POST + b"Content-Length: %030d\r\n\r\nabcde" % 5,
    POST + b"content-length:5 \r\nA: b\r\n\r\n\r\n\r\n\r",
    POST + b"Content-Length: %d\r\n\r\n" % LONGEST + b"x" * LONGEST,
    chunked(),
    chunked(b"abc"),
    chunked(b"a", b"\r\n0\r\n\r\n", b"x" * 300, b"\r\n\r\n"),
    chunked(b"abc", end=b"0\r\nTrailer: x\r\nAnother: y\r\n\r\n"),
    chunked(b"abc", end=b"000;last=\r\n\r\n"),
    POST + b"Transfer-Encoding: chunked\r\n\r\n%030x\r\nabc\r\n0\r\n\r\n" % 3,
    POST + b"TRANSFER-ENCODING: gzip, Chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\n\r\n",
    chunked(b"x" * (LONGEST + EXCESS - 1)),
]


@pytest.mark.parametrize("sent", WHOLE, ids=lambda sent: repr(sent[:80]))
@pytest.mark.parametrize("step", [1, 2, 7, 100_000])
def test_a_request_is_whole_with_its_last_byte(sent: bytes, step: int) -> None:
    intake = Intake(LONGEST)
    seen = []
    starts = range(0, len(sent), step) if len(sent) < 5000 else [0, len(sent) - 1]
    for start, end in zip(starts, [*starts[1:], len(sent)], strict=True):
        intake.received += sent[start:end]
        seen.append(intake.is_whole())

    assert seen == [False] * (len(seen) - 1) + [True]
    assert intake.received == sent
    assert not intake.is_cut


@pytest.mark.parametrize("sent", WHOLE, ids=lambda sent: repr(sent[:80]))
def test_what_comes_after_a_request_is_kept(sent: bytes) -> None:
    intake = Intake(LONGEST, sent + GET)

    assert intake.is_whole()
    assert intake.received == sent + GET


@pytest.mark.parametrize(
    "sent",
    [
        POST + b"Content-Length: %d\r\n\r\n" % (LONGEST + 1),
        POST + b"Content-Length: 99999999999999999999\r\n\r\n",
        POST + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 16 + b"\r\n" + b"x" * 70_000,
        chunked(b"x" * (LONGEST + EXCESS), end=b""),
        chunked(*[b"x" * 1000] * 67, end=b"")[:-2],
    ],
    ids=lambda sent: repr(sent[:80]),
)
def test_the_end_of_a_body_that_is_too_large_is_not_awaited(sent: bytes) -> None:
    intake = Intake(LONGEST, sent)

    assert intake.is_whole()
    assert intake.is_cut


@pytest.mark.parametrize(
    "sent",
    [
        POST + b"Content-Length: x\r\n\r\n",
        POST + b"Content-Length: -5\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\n\r\n-5\r\nabc",
        POST + b"Transfer-Encoding: chunked\r\n\r\n5_0\r\nabc",
        POST + b"Transfer-Encoding: chunked\r\n\r\n\r\n\r\n",
        b"NONSENSE\r\n\r\n",
        b"\r\n\r\n",
    ],
)
def test_what_is_malformed_is_left_to_the_parser_at_once(sent: bytes) -> None:
    assert Intake(LONGEST, sent).is_whole()


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET / HTTP/1.1\r\nX: " + b"x" * LONGEST_HEAD, 431),
        (b"x" * LONGEST_HEAD + b"xx", 414),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * LONGEST_HEAD + b"\r\n\r\n", 431),
        (chunked(end=b"1;" + b"x" * (LONGEST_HEAD + 4 * EXCESS)), 413),
        (chunked(end=b"0\r\nX: " + b"x" * (LONGEST_HEAD + 4 * EXCESS)), 413),
    ],
    ids=lambda sent: repr(sent)[:40],
)
def test_no_more_is_held_than_can_be_used(sent: bytes, status: int) -> None:
    with pytest.raises(RefusedError) as refusal:
        Intake(LONGEST, sent).is_whole()

    assert refusal.value.status == status


@pytest.mark.parametrize("framing", [b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n"])
def test_an_expectation_is_met_once(framing: bytes) -> None:
    body = b"abc" if b"Length" in framing else b"3\r\nabc\r\n0\r\n\r\n"
    intake = Intake(LONGEST, POST + b"Expect: 100-continue\r\n" + framing + b"\r\n")

    assert not intake.is_whole()
    assert intake.expects_continue
    intake.received += body
    assert intake.is_whole()
    assert intake.received == POST + framing + b"\r\n" + body


def test_http_1_0_expects_nothing() -> None:
    old = b"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"
    intake = Intake(LONGEST, old)

    assert not intake.is_whole()
    assert not intake.expects_continue
    assert intake.received == old


LINE_ENDS = st.sampled_from([b"\r\n"] * 20 + [b"\n", b"\r", b"\r\n ", b"\r\n\t"])
NAMES = st.sampled_from(
    [
        *[b"Content-Length", b"content-length", b"Transfer-Encoding", b"TRANSFER-ENCODING"] * 2,
        *[b"Expect", b"Content_Length", b"Content-Length ", b"Transfer-Encoding\t", b"X"],
    ]
)
VALUES = st.sampled_from(
    [
        *[b"5", b" 5\t", b"0", b"05", b"0" * 20 + b"5", b"9" * 18, b"9" * 19, b"9" * 5000],
        *[b"", b"+5", b"5,5", b"5 5", b"\xb2", b"chunked", b"Chunked ", b"xchunked"],
        *[b"gzip, chunked", b"chunked, chunked", b"chunked;q=1", b"\x0bchunked", b"identity"],
        b"100-continue",
    ]
)
SIZES = st.sampled_from(
    [
        *[b"5", b"5 ", b"5\t", b"5\r", b"05", b"3", b"F", b"0" * 20 + b"5", b"f" * 15, b"f" * 16],
        *[b"0", b"00", b"0" * 20, b"0;x", b"5;a=b", b"5 ;a", b'5;a="\n"'],
        *[b"", b"g", b"+5", b"0x5"],
    ]
)
CONTENT = st.sampled_from([b"abcde", b"abc", b"", b"\r\n\r\nx", b"x" * 15])
ENDS = st.sampled_from(
    [b"", b"0\r\n\r\n", b"0\r\nX: y\r\n\r\n", b"0\r\nContent-Length: 3\r\n\r\n", b"0\r\n\n\r\n"]
)
VERSIONS = st.sampled_from([b"HTTP/1.1"] * 6 + [b"HTTP/1.0", b"HTTP/1.2"])


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """Return what is a request, or is none by very little, and perhaps what comes after it."""
    parts = [draw(st.sampled_from([b"", b"\r\n", b"\n"])), b"POST / ", draw(VERSIONS)]
    parts.append(draw(LINE_ENDS))
    for _ in range(draw(st.integers(0, 3))):
        parts += [draw(NAMES), b":", draw(VALUES), draw(LINE_ENDS)]
    parts.append(draw(LINE_ENDS))
    for _ in range(draw(st.integers(0, 3))):
        parts += [draw(SIZES), draw(LINE_ENDS), draw(CONTENT), draw(LINE_ENDS)]
    return b"".join([*parts, draw(ENDS), draw(st.sampled_from([b"", GET]))])


class WaitsError(Exception):
    """The parser wants to read what has not come."""


class Silence:
    """A client that sends no more."""

    def recv(self, number: int) -> NoReturn:
        raise WaitsError


SETTINGS = frozen(Config())


@given(requests())
def test_what_is_whole_is_read_to_the_same_end_without_waiting(sent: bytes) -> None:
    intake = Intake(LONGEST)
    for byte in sent:
        intake.received.append(byte)
        if intake.is_whole():
            break
    else:
        return
    parser = Parser(SETTINGS, cast(Any, Silence()), ("127.0.0.1", 1))
    parser.unreader.unread(bytes(intake.received))
    try:
        next(parser)
        if intake.is_chunked or not intake.is_cut:
            parser.check_body(LONGEST + 1)
    except (ParseException, StopIteration):
        return
    if not intake.is_cut:
        assert parser.finish()
        assert parser.unreader.take_buffered() == b""
