"""Files that a person exports and imports."""

import re
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from behave import given, then, when
from behave.runner import Context
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select

from features.browser import DOWNLOADS
from features.page import FIELDS, Page
from features.steps.everyone_steps import go
from features.steps.staff_steps import choose

COLUMNS = ["row", "product", "column", "old", "new"]
# While it comes, a file is called otherwise.
IS_WHOLE = re.compile(r"[^.].*\.(csv|jsonl|txt)")
KINDS_OF_FILES = {
    "a workbook": b"PK\x03\x04\x14\x00\x06\x00",
    "a picture": b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR",
    "nothing": b"",
    "9 MiB": b"id,price\n" + b"\n" * 9 * 1024 * 1024,
    "10,001 rows": b"id,price\n" + b"1,1\n" * 10_001,
}
DROP = """
    const [name, text] = arguments;
    const dataTransfer = new DataTransfer();
    dataTransfer.items.add(new File([text], name));
    const options = { dataTransfer, bubbles: true, cancelable: true };
    document.querySelector("#products").dispatchEvent(new DragEvent("drop", options));
"""


def written(context: Context, text: str) -> str:
    """Return a text with the ids of the products that are named in it, and the scenario's word."""
    for product in context.colleague.products() if "{" in text else ():
        text = text.replace(f"{{{product['name']}}}", str(product["id"]))
    return text.replace("{word}", context.page.word).replace("→", "\t") + "\n"


def give(context: Context, name: str, content: bytes) -> None:
    """Choose a file in the dialog of the import."""
    folder = TemporaryDirectory()
    context.add_cleanup(folder.cleanup)
    path = Path(folder.name) / name
    path.write_bytes(content)
    if not context.page.all("#import_dialog"):
        context.page.press("Import…")
    context.page.one("#import_file").send_keys(str(path))


@when('I choose the file "{name}" with')
def choose_file(context: Context, name: str) -> None:
    give(context, name, written(context, context.text).encode())


@when('I choose a file in "{encoding}" with')
def choose_encoded_file(context: Context, encoding: str) -> None:
    give(context, "old.csv", written(context, context.text).encode(encoding))


@when('I choose a file of which {count:d} rows are "{row}"')
def choose_long_file(context: Context, count: int, row: str) -> None:
    rows = "\n".join(["id,price", *[row] * count])
    give(context, "long.csv", written(context, rows).encode())


@when('I choose a file "{name}" of {kind}')
def choose_kind_of_file(context: Context, name: str, kind: str) -> None:
    give(context, name, KINDS_OF_FILES[kind])


@when('I drop the file "{name}" with')
def drop_file(context: Context, name: str) -> None:
    context.driver.execute_script(DROP, name, written(context, context.text))


@when("I paste the cells")
def paste_cells(context: Context) -> None:
    context.page.press("Import…")
    context.page.set("cells", written(context, context.text))


@when('I go to "cells" by keyboard and type')
def type_cells(context: Context) -> None:
    go(context.page, FIELDS["cells"])
    context.page.type_over(written(context, context.text))


@when('I say that the column "{heading}" is "{member}"')
def map_column(context: Context, heading: str, member: str) -> None:
    select = context.page.one(f"#import_columns select[aria-label='What the column {heading} is']")
    Select(select).select_by_visible_text(member)


@then("the columns are")
def columns_are(context: Context) -> None:
    def seen() -> list[list[str]]:
        rows = context.page.all("#import_columns tbody tr")
        return [
            [
                row.find_element(By.CSS_SELECTOR, "th").text,
                row.find_element(By.CSS_SELECTOR, "option:checked").text,
            ]
            for row in rows
        ]

    expected = [[row["column"], row["is"]] for row in context.table]
    context.page.expect(seen, expected, "the columns")


@then('the plan is "{counts}"')
def plan_is(context: Context, counts: str) -> None:
    def seen() -> str:
        return ", ".join(" ".join(it.text.split()) for it in context.page.all("#import_counts li"))

    context.page.expect(seen, counts, "the plan")
    assert "Nothing is written yet." in context.page.text("#import_plan")


@then("these cells change")
def cells_change(context: Context) -> None:
    expected = [[row[name] for name in COLUMNS] for row in context.table]

    def seen() -> list[list[str]]:
        rows = context.page.all("#import_cells_changed tr")
        return [[cell.text for cell in row.find_elements(By.TAG_NAME, "td")] for row in rows]

    context.page.expect(seen, expected, "the changed cells")


@then("the faults are")
def faults_are(context: Context) -> None:
    def seen() -> list[list[str]]:
        context.driver.execute_script(
            "document.querySelectorAll('#import_faults details').forEach(it => { it.open = true })"
        )
        return [
            [
                group.find_element(By.TAG_NAME, "summary").text,
                ", ".join(row.text for row in group.find_elements(By.TAG_NAME, "li")),
            ]
            for group in context.page.all("#import_faults details")
        ]

    expected = [[row["kind"], row["rows"]] for row in context.table]
    context.page.expect(seen, expected, "the faults")


@then('I am warned of "{words}"')
def is_warned(context: Context, words: str) -> None:
    context.page.expect_within(lambda: context.page.text("#import_there"), words, "the warning")


@then('it is different now: "{words}"')
def is_different(context: Context, words: str) -> None:
    context.page.expect_within(
        lambda: " ".join(context.page.text("#import_different").split()), words, "the difference"
    )


@then('the import says "{words}"')
def import_says(context: Context, words: str) -> None:
    context.page.expect_within(lambda: context.page.text("#import_done"), words, "the result")


@then('the import fails with "{words}"')
def import_fails(context: Context, words: str) -> None:
    failure = "#import_failure[role='alert']"
    context.page.expect_within(lambda: context.page.text(failure), words, "the failure")


@then('the import is about "{name}"')
def import_is_about(context: Context, name: str) -> None:
    context.page.expect(lambda: context.page.text("#import_source"), name, "the file")


@when('I follow the import to "{name}"')
def follow_import(context: Context, name: str) -> None:
    choose(context, "#import_dialog li a", name)


@then('"cells" has what I pasted')
def has_cells(context: Context) -> None:
    assert context.page.value("cells").strip()


@then('the export is of "{words}"')
def export_is_of(context: Context, words: str) -> None:
    context.page.expect(lambda: context.page.text("#export_count"), words, "the export")


@given("nothing has been downloaded")
def clear_downloads(context: Context) -> None:
    shutil.rmtree(DOWNLOADS, ignore_errors=True)
    DOWNLOADS.mkdir(parents=True)


@when('I export as "{kind}"')
def export(context: Context, kind: str) -> None:
    choose(context, "#export_menu a", kind)


def downloaded(context: Context) -> Path:
    """Return the one file that was downloaded, as soon as it is whole."""

    def found() -> Path | None:
        files = [it for it in DOWNLOADS.iterdir() if IS_WHOLE.fullmatch(it.name)]
        return files[0] if files and files[0].stat().st_size else None

    page: Page = context.page
    return page.wait(found, "a file is downloaded")


@then('I get a file "{ending}" that begins with "{start}" and has "{words}"')
def get_file(context: Context, ending: str, start: str, words: str) -> None:
    path = downloaded(context)
    text = path.read_text(encoding="utf-8")
    assert path.name.endswith(ending), path.name
    assert text.replace("\ufeff", "<BOM>").startswith(start), text
    assert words in text, text


@then('the file does not have "{words}"')
def file_has_not(context: Context, words: str) -> None:
    assert words not in downloaded(context).read_text(encoding="utf-8")


@then("I get a file with")
def get_file_with(context: Context) -> None:
    path = downloaded(context)
    text = path.read_text(encoding="utf-8-sig").strip()
    expected = written(context, context.text).strip()
    assert text.splitlines() == expected.splitlines(), text


@then("I get a file with {count:d} rows")
def get_file_with_rows(context: Context, count: int) -> None:
    lines = downloaded(context).read_text(encoding="utf-8-sig").splitlines()
    assert len(lines) == count + 1, len(lines)
