"""Rows of a CSV or JSON Lines file: read one by one, validated, with all their faults.

A file is read in constant memory, however it is written: lines, records, columns and rows are
bounded.
"""

import csv
import json
import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from io import TextIOWrapper
from typing import Any, BinaryIO, NamedTuple

from werkzeug.exceptions import RequestEntityTooLarge

from service.common.error_handlers import MAX_ERRORS, InvalidRequest
from service.files import COLUMNS, CSV, ETAG
from service.files.cells import REQUIRED, VALUE_OF, etag
from service.files.encoding import EncodingError, open_text, readable, undecodable
from service.http.json_body import parse_object
from service.schemas import checked_patch

MAX_ROWS = 10_000
# Also counts the rows that are empty.
MAX_LINES = 10 * MAX_ROWS
# In characters. A cell may have 131,072, the limit of Python's csv.
MAX_RECORD_LENGTH = 1024 * 1024
MAX_HEADINGS = 1_000
# After so many quotes that are not closed, the rest of the file is not read.
MAX_UNCLOSED = 100
MAX_VALUE_LENGTH = 100
SEPARATORS = ",;\t"
SEPARATOR_LINE = re.compile(r'"?sep=(.)"?[\r\n]*', re.IGNORECASE)
REQUIRED_MEMBERS = ("name", "img_url", "price")

CSV_ERRORS = {
    "unexpected end of data": "has a quote that is not closed",
    "field larger": "has a cell of more than 131,072 characters, or a quote that is not closed",
}
UNQUOTED = "has a quote inside a cell that is not doubled, or text after a closing quote"
TOO_LONG = f"is longer than {MAX_RECORD_LENGTH:,} characters, or has a quote that is not closed"


class Fault(NamedTuple):
    """What is wrong with a cell; without a column, with a row or with the file."""

    row: int
    column: str | None
    value: str | None
    detail: str


@dataclass(frozen=True)
class Options:
    """How a file is read, and what an import does with it."""

    match: str = "id"
    """The member that finds the product of a row: id or name."""
    members: Mapping[str, str] = field(default_factory=dict)
    """The member of each renamed heading, as ``normalized`` returns it; empty: ignored."""
    skip_faulty: bool = False
    max_price_change: Decimal | None = None
    """In percent."""
    charset: str = ""
    is_limited: bool = True


@dataclass(slots=True)
class Row:
    """A row of a file: the valid values of its members, and its faults."""

    number: int
    columns: dict[str, Any] = field(default_factory=dict)
    members: frozenset[str] = frozenset()
    """The members that the row has, valid or not."""
    etag: str | None = None
    faults: list[Fault] = field(default_factory=list)
    is_heading: bool = False
    """Whether it stands for the heading line and the file: its faults cannot be left out."""
    headings: Mapping[str, str] = field(default_factory=dict)
    """The headings of the members, in the row of the heading line."""


class Record(NamedTuple):
    """A CSV record, or what is wrong with it."""

    number: int
    cells: list[str]
    fault: str | None = None


def normalized(heading: str) -> str:
    """Return a heading without case, blanks and underscores."""
    return re.sub(r"[\s_]+", "", heading).casefold()


MEMBER_OF_HEADING = {normalized(name): name for name in (*COLUMNS, ETAG)}


def read(stream: BinaryIO, mimetype: str, options: Options) -> Iterator[Row]:
    """Yield the rows of a seekable file of type CSV or JSON Lines; empty ones are left out.

    Faults of the file and of its heading line are those of row 1, which ``is_heading``. Raises
    ``RequestEntityTooLarge`` if the file has too many rows and ``options.is_limited``.
    """
    try:
        text = open_text(stream, options.charset)
    except EncodingError as error:
        fault = Fault(1, None, None, f"The file {error}, but charset is {options.charset}")
        yield Row(1, faults=[fault], is_heading=True)
        return
    rows = _csv_rows(text, options) if mimetype == CSV else _json_rows(text, options)
    count = 0
    for row in rows:
        count += not row.is_heading
        if options.is_limited and count > MAX_ROWS:
            raise RequestEntityTooLarge(f"The file has more than {MAX_ROWS:,} rows")
        yield row
    text.detach()


def _require_few(number: int, options: Options) -> None:
    if options.is_limited and number > MAX_LINES:
        raise RequestEntityTooLarge(f"The file has more than {MAX_LINES:,} lines")


def _json_rows(text: TextIOWrapper, options: Options) -> Iterator[Row]:
    number = 0
    while line := text.readline(MAX_RECORD_LENGTH + 1):
        number += 1
        _require_few(number, options)
        if len(line) > MAX_RECORD_LENGTH:
            yield Row(
                number,
                faults=[Fault(number, None, shown(line.rstrip()), TOO_LONG)],
                is_heading=True,
            )
            return
        if not line.isspace():
            yield _json_row(number, line, options)


def _json_row(number: int, line: str, options: Options) -> Row:
    if detail := undecodable(line, options.charset):
        return Row(number, faults=[Fault(number, None, shown(line.rstrip()), detail)])
    try:
        members, errors = parse_object(line.strip().encode())
    except InvalidRequest as error:
        detail = error.errors[0]["detail"]
        return Row(number, faults=[Fault(number, None, shown(line.rstrip()), detail)])
    given = dict(members)
    draft = _Draft(number, members, lambda name: _json_text(given[name]) if name in given else None)
    draft.details = {_member(each["pointer"]): each["detail"] for each in errors[:MAX_ERRORS]}
    tag = members.pop(ETAG, None)
    if isinstance(tag, str):
        members[ETAG] = etag(tag)
    elif tag is not None:
        draft.details[ETAG] = "must be a string"
    if options.match == "name" and members.get("id") is not None:
        draft.details["id"] = "must not be given with match=name"
    return draft.row(options)


def _member(pointer: str) -> str:
    return pointer.removeprefix("/").replace("~1", "/").replace("~0", "~")


def _json_text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str).strip('"')


@dataclass(slots=True)
class _Draft:
    """A row before its members are validated."""

    number: int
    members: dict[str, Any]
    text_of: Callable[[str], str | None]
    """Returns what the file has for a member."""
    headings: Mapping[str, str] = field(default_factory=dict)
    """The names of members in the file, where they are different."""
    details: dict[str, str] = field(default_factory=dict)
    """What is wrong, by member; an empty name stands for the row."""

    def row(self, options: Options) -> Row:
        """Return the row with all that is wrong with it."""
        tag = self.members.pop(ETAG, None)
        if self.members.get("id", ...) is None:
            del self.members["id"]
        names = frozenset(self.members) | self.details.keys()
        columns, errors = checked_patch(self.members)
        details = errors | self.details
        if tag and options.match == "id" and "id" not in names:
            details.setdefault(ETAG, "needs an id")
        if options.match == "name" and "name" not in names:
            details["name"] = REQUIRED
        # In the order of the row.
        places = {name: place for place, name in enumerate(self.headings or self.members)}
        ordered = sorted(details, key=lambda name: places.get(name, len(places)))
        faults = [self._fault(name, details[name]) for name in ordered]
        return Row(self.number, columns, names, tag, faults)

    def _fault(self, name: str, detail: str) -> Fault:
        column = shown(self.headings.get(name, name)) or None
        return Fault(self.number, column, shown(self.text_of(name)), detail)


class _Lines:
    """The lines of a text for ``csv.reader``, which can be put back."""

    def __init__(self, text: TextIOWrapper) -> None:
        self._text = text
        self._put_back: deque[str] = deque()
        self._record: list[str] = []
        self._length = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        left = MAX_RECORD_LENGTH - self._length
        line = self._put_back.popleft() if self._put_back else self._text.readline(left + 1)
        if not line:
            raise StopIteration
        self._record.append(line)
        if len(line) > left:
            raise csv.Error(TOO_LONG)
        self._length += len(line)
        return line

    def begin_record(self) -> None:
        """Forget the lines of the last record."""
        self._record.clear()
        self._length = 0

    @property
    def is_one_too_long(self) -> bool:
        """Whether the first line of the record is too long, so that its end is not known."""
        return self._length == 0

    def put_back(self, first: int) -> int:
        """Have the lines of the record read again, from ``first`` on; return their number."""
        again = self._record[first:]
        self._put_back.extendleft(reversed(again))
        self.begin_record()
        return len(again)


def _records(lines: _Lines, separator: str, options: Options) -> Iterator[Record]:
    """Yield the records; after one that is not closed, go on with the line after its first."""
    reader = csv.reader(lines, delimiter=separator, strict=True)
    number = unclosed = 0
    while True:
        number += 1
        _require_few(number, options)
        lines.begin_record()
        try:
            yield Record(number, next(reader))
        except StopIteration:
            return
        except csv.Error as error:
            is_last = unclosed == MAX_UNCLOSED or lines.is_one_too_long
            yield Record(number, [], _csv_error(error))
            if is_last:
                return
            unclosed += lines.put_back(1) > 0
            reader = csv.reader(lines, delimiter=separator, strict=True)


def _csv_error(error: csv.Error) -> str:
    message = str(error)
    if message == TOO_LONG:
        return message
    return next((text for start, text in CSV_ERRORS.items() if message.startswith(start)), UNQUOTED)


def _separator(lines: _Lines) -> str:
    """Return the separator: that of a ``sep=`` line, or the most frequent of the heading line."""
    line = ""
    with suppress(csv.Error):
        line = next((line for line in lines if not line.isspace()), "")
    if (named := SEPARATOR_LINE.fullmatch(line)) and named[1] in SEPARATORS:
        return named[1]
    lines.put_back(0)
    return max(SEPARATORS, key=re.sub('"[^"]*"', "", line).count)


def _csv_rows(text: TextIOWrapper, options: Options) -> Iterator[Row]:
    lines = _Lines(text)
    records = _records(lines, _separator(lines), options)
    heading = next((record for record in records if record.fault or any(record.cells)), None)
    if heading is None:
        yield Row(1, faults=[Fault(1, None, None, "The file is empty")], is_heading=True)
        return
    table = _Table(heading, options)
    yield table.heading_row
    if not table.heading_row.members:
        return
    for record in records:
        if record.fault:
            yield Row(record.number, faults=[Fault(record.number, None, None, record.fault)])
        elif any(cell and not cell.isspace() for cell in record.cells):
            yield table.row(record)


class _Table:
    """The heading line of a CSV file, and the rows below it."""

    def __init__(self, heading: Record, options: Options) -> None:
        self.heading_row = Row(heading.number, is_heading=True)
        self._options = options
        self._columns: list[str] = []
        """The member of each column; empty if it is ignored."""
        if heading.fault:
            self._add(None, heading.fault)
        elif len(heading.cells) > MAX_HEADINGS:
            self._add(None, f"has more than {MAX_HEADINGS:,} columns")
        else:
            for text in heading.cells:
                self._columns.append(self._member(text))
            if options.match == "name" and "name" not in self._columns:
                self._add("name", "is required with match=name")
        self._names = dict(zip(self._columns, heading.cells, strict=False))
        self._unnamed = [i for i, text in enumerate(heading.cells) if not text.strip()]
        self.heading_row.members = frozenset(self._columns) - {""}
        self.heading_row.headings = self._names
        if not any(self._columns) and not self.heading_row.faults:
            self._add(None, "has no column of a product")

    def _add(self, heading: str | None, detail: str) -> None:
        value = None if heading is None else shown(heading)
        self.heading_row.faults.append(Fault(self.heading_row.number, value, None, detail))

    def _member(self, heading: str) -> str:
        name = normalized(heading)
        if not name:
            return ""
        member = self._options.members.get(name, MEMBER_OF_HEADING.get(name))
        if member is None:
            detail = undecodable(heading, self._options.charset)
            self._add(heading, detail or "is not a column of a product; map it, or ignore it")
            return ""
        if member and member in self._columns:
            self._add(heading, f"is a second column for {member}")
            return ""
        if member == "id" and self._options.match == "name":
            self._add(heading, "must not be given with match=name; ignore it")
            return ""
        return member

    def row(self, record: Record) -> Row:
        """Return the row of a record."""
        cells = record.cells + [""] * (len(self._columns) - len(record.cells))
        texts = dict(zip(self._columns, cells, strict=False))
        draft = _Draft(record.number, {}, texts.get, self._names)
        for member, cell in texts.items():
            if not member:
                continue
            if detail := undecodable(cell, self._options.charset):
                draft.details[member] = detail
                continue
            try:
                draft.members[member] = VALUE_OF[member](cell)
            except ValueError as error:
                draft.details[member] = str(error)
        if any(cells[place].strip() for place in self._unnamed):
            draft.details[""] = "has a cell without a heading"
        if any(cell.strip() for cell in cells[len(self._columns) :]):
            draft.details[""] = "has more cells than headings"
        return draft.row(self._options)


def shown(text: str | None) -> str | None:
    r"""Return a text as a fault shows it: cut, and with bytes that are no text as ``\xNN``."""
    if text is None or len(text) <= MAX_VALUE_LENGTH:
        return text if text is None else readable(text)
    return readable(text[:MAX_VALUE_LENGTH]) + "…"
