"""Text of a file in any of the usual encodings; bytes that cannot be decoded are marked in it."""

import codecs
import re
from io import TextIOWrapper
from typing import BinaryIO

BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
# Python's names. Other codecs are no character sets, or are slow by design, such as punycode.
UNICODE = {
    "utf-8": "utf-8-sig",
    "utf-8-sig": "utf-8-sig",
    "utf-16": "utf-16",
    "utf-16-le": "utf-16",
    "utf-16-be": "utf-16",
}
SINGLE_BYTE_OR_ASIAN = re.compile(
    r"ascii|iso8859-\d+|cp125[0-8]|cp(437|737|775|85[0258]|86[0-69]|874|932|949)|koi8-[rtu]"
    r"|mac-[a-z]+|big5|gb2312|gbk|gb18030|shift_jis|euc_jp|euc_kr|tis-620"
)
MARKED_BYTE = re.compile("[\udc00-\udcff]")
ERRORS = "service.files.mark"


class EncodingError(ValueError):
    """The encoding is not known, or contradicts the byte order mark."""


def _mark(error: UnicodeError) -> tuple[str, int]:
    """Replace each byte by an unpaired surrogate, which no decoder returns for valid text."""
    assert isinstance(error, UnicodeDecodeError)  # noqa: S101  # for mypy
    wrong = error.object[error.start : error.end]
    return "".join(chr(0xDC00 + byte) for byte in wrong), error.end


codecs.register_error(ERRORS, _mark)


def is_known(charset: str) -> bool:
    """Return whether a file may have this encoding."""
    try:
        name = codecs.lookup(charset).name
    except (LookupError, ValueError):
        return False
    return name in UNICODE or SINGLE_BYTE_OR_ASIAN.fullmatch(name) is not None


def open_text(stream: BinaryIO, charset: str) -> TextIOWrapper:
    """Return the text of a seekable stream: in ``charset``, or UTF-8 if that is empty.

    A byte order mark of UTF-8 or UTF-16 goes before the default. Line ends are kept. Raises
    ``EncodingError`` if the mark contradicts ``charset``.
    """
    name = codecs.lookup(charset or "utf-8").name
    start = stream.read(3)
    stream.seek(0)
    marked = next((found for mark, found in BYTE_ORDER_MARKS.items() if start.startswith(mark)), "")
    if charset and marked and UNICODE.get(name) != marked:
        raise EncodingError(f"has the byte order mark of {marked.removesuffix('-sig').upper()}")
    if name == "utf-16" and not marked:
        raise EncodingError("has no byte order mark: name utf-16le or utf-16be")
    # Without a mark, the byte order of UTF-16 is the one that the charset names.
    encoding = marked or ("utf-8-sig" if name == "utf-8" else name)
    return TextIOWrapper(stream, encoding, ERRORS, newline="")


def undecodable(text: str, charset: str) -> str | None:
    """Return what is wrong with a text that has a marked byte; None if it has none."""
    if text.isascii() or not (found := MARKED_BYTE.search(text)):
        return None
    byte = ord(found[0]) - 0xDC00
    return (
        f"has the byte 0x{byte:02X}, which is not {charset or 'UTF-8'}: "
        "save the file as UTF-8, or name its charset"
    )


def readable(text: str) -> str:
    r"""Return the text with each marked byte as ``\xNN``."""
    return MARKED_BYTE.sub(lambda found: f"\\x{ord(found[0]) - 0xDC00:02x}", text)
