"""The commands of `flask` that import and export files of any size."""

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import click
from flask import Flask
from flask.cli import with_appcontext

from service.common.cli_commands import one_line_errors
from service.database import transaction
from service.files import CSV, JSON_LINES
from service.files.export import DEFAULT_DIALECT, DIALECTS, csv_file, json_lines_file
from service.files.parameters import MATCHES, known_charset, mapped_columns, percentage
from service.files.plan import Import, Plan
from service.files.reading import Options, Row, read
from service.listing.query import parse

MIMETYPES = {
    ".csv": CSV,
    ".tsv": CSV,
    ".txt": CSV,
    ".jsonl": JSON_LINES,
    ".ndjson": JSON_LINES,
}
# Rows between two updates of the progress bar.
UPDATE_ROWS = 1_000

ExistingFile = click.Path(exists=True, dir_okay=False, path_type=Path)
NewFile = click.Path(dir_okay=False, writable=True, path_type=Path)


def init_app(app: Flask) -> None:
    """Add the commands."""
    app.cli.add_command(products_import)
    app.cli.add_command(products_export)


def _parsed(parse: Callable[[str], Any]) -> Callable[..., Any]:
    """Return a callback of click that parses the text of an option, or all of its texts."""

    def callback(context: click.Context, option: click.Parameter, value: Any) -> Any:
        try:
            return parse(value) if value else value
        except ValueError as error:
            raise click.BadParameter(str(error)) from None

    return callback


@click.command("products-import")
@click.argument("file", type=ExistingFile)
@click.option("--dry-run", is_flag=True, help="Show what the file would change; store nothing.")
@click.option(
    "--match",
    type=click.Choice(MATCHES),
    default="id",
    show_default=True,
    help="Member that finds the product of a row.",
)
@click.option(
    "--column",
    multiple=True,
    metavar="HEADING:MEMBER",
    callback=_parsed(mapped_columns),
    help="Read a column of another name; HEADING: ignores it. Can be repeated.",
)
@click.option("--skip-faulty", is_flag=True, help="Leave faulty rows out.")
@click.option(
    "--max-price-change",
    metavar="PERCENT",
    callback=_parsed(percentage),
    help="A row that changes a price by more is faulty.",
)
@click.option(
    "--charset",
    default="",
    callback=_parsed(known_charset),
    help="Encoding of a file that is not UTF-8, such as windows-1252.",
)
@with_appcontext
def products_import(file: Path, dry_run: bool, column: Any, **options: Any) -> None:
    """Create and change the products that a CSV or JSON Lines file has.

    The import is one transaction: either all rows are imported, or none. The exit code is 1 if a
    row is faulty.
    """
    settings = Options(members=dict(column), is_limited=False, **options)
    mimetype = _mimetype(file)
    with (
        file.open("rb") as stream,
        one_line_errors(),
        transaction(writes=not dry_run) as connection,
    ):
        file_import = Import(connection, settings)
        with click.progressbar(length=file.stat().st_size, label="Reading") as bar:
            file_import.load(_watched(read(stream, mimetype, settings), stream, bar))
        _say("Comparing with the products")
        plan = file_import.plan(lock=not dry_run)
        _show_faults(plan)
        if dry_run:
            _show_counts("To create", "to update", plan)
        elif plan.faulty and not (settings.skip_faulty and plan.may_skip_faulty):
            raise click.ClickException(f"Nothing was imported: faulty rows: {plan.faulty:,}.")
        else:
            _say("Writing")
            file_import.apply(list_ids=False)
            _show_counts("Created", "updated", plan)
        file_import.close()
    if plan.faulty:
        sys.exit(1)


@click.command("products-export")
@click.argument("file", type=NewFile)
@click.option(
    "--dialect",
    type=click.Choice(list(DIALECTS)),
    default=DEFAULT_DIALECT,
    show_default=True,
    help="How a CSV file is written.",
)
@with_appcontext
def products_export(file: Path, dialect: str) -> None:
    """Write all products into a CSV or JSON Lines file."""
    listing = parse(b"")
    is_csv = _mimetype(file) == CSV
    pieces = csv_file(listing, DIALECTS[dialect]) if is_csv else json_lines_file(listing)
    with one_line_errors():
        count = listing.count()
        with (
            _replaced(file) as stream,
            click.progressbar(length=count, label="Writing") as bar,
        ):
            for piece in pieces:
                stream.write(piece)
                bar.update(piece.count(b"\n"))  # about as many products
    click.echo(f"Exported {count:,} products.")


@contextmanager
def _replaced(file: Path) -> Iterator[BinaryIO]:
    """Give a new file, which replaces ``file`` only if the block succeeds."""
    part = file.with_name(f"{file.name}.part")
    try:
        with part.open("wb") as stream:
            yield stream
        part.replace(file)
    except OSError as error:
        raise click.ClickException(f"{part} cannot be written: {error.strerror}") from None
    finally:
        part.unlink(missing_ok=True)


def _mimetype(file: Path) -> str:
    mimetype = MIMETYPES.get(file.suffix.lower())
    if mimetype is None:
        raise click.BadParameter(f"must end with {', '.join(MIMETYPES)}", param_hint="FILE")
    return mimetype


def _watched(rows: Iterable[Row], stream: BinaryIO, bar: Any) -> Iterator[Row]:
    """Yield the rows; show how much of the file is read."""
    for number, row in enumerate(rows):
        if number % UPDATE_ROWS == 0:
            bar.update(stream.tell() - bar.pos)
        yield row


def _say(step: str) -> None:
    if sys.stderr.isatty():
        click.echo(f"{step} ...", err=True)


def _show_faults(plan: Plan) -> None:
    """Write the faults as a table to standard error."""
    if not plan.faulty:
        return
    lines = [("row", "column", "value", "fault")]
    lines += [
        (str(fault.row), _printable(fault.column), _printable(fault.value), fault.detail)
        for fault in plan.faults
    ]
    widths = [max(map(len, column)) for column in list(zip(*lines, strict=True))[:3]]
    for line in lines:
        cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=False)]
        click.echo("  ".join([*cells, line[3]]), err=True)
    click.echo(f"Faulty rows: {plan.faulty:,}.", err=True)


def _printable(text: str | None) -> str:
    return "".join(
        char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text or ""
    )


def _show_counts(create: str, update: str, plan: Plan) -> None:
    click.echo(
        f"{create}: {plan.create:,}; {update}: {plan.update:,}; unchanged: {plan.unchanged:,}."
    )
