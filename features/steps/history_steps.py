"""The history of products: who has changed what, and what is put back."""

from behave import given, then, when
from behave.runner import Context
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from features.steps.catalogue_steps import typed

ENTRIES = "#history_entries > li"


@given('a colleague has set the {member} of "{name}" to "{value}"')
@given('a colleague has set the {member} of "{name}" to ""')
def has_changed(context: Context, member: str, name: str, value: str = "") -> None:
    context.colleague.change(name, **{member: typed(member, value)})


@given('a colleague has changed the rating of "{name}" {count:d} times')
def has_changed_often(context: Context, name: str, count: int) -> None:
    for number in range(count):
        context.colleague.change(name, rating=number + 10)


@when('I change the rating in the database of "{name}" to {rating:d}')
def change_in_database(context: Context, name: str, rating: int) -> None:
    product = context.colleague.find(name)
    number = product["id"]
    context.service.execute(f"UPDATE products SET rating = {rating} WHERE id = {number}")  # noqa: S608  # numbers


@then("the history says")
def history_says(context: Context) -> None:
    expected = [(row["change"], row["members"]) for row in context.table]

    def seen() -> list[tuple[str, str]]:
        entries = context.page.all(ENTRIES)
        return [(text(entry, "p").split(", ")[0], text(entry, "ul")) for entry in entries]

    def text(entry: WebElement, selector: str) -> str:
        return entry.find_element(By.CSS_SELECTOR, selector).text

    context.page.expect(seen, expected, "the history")


@then("the history has {count:d} changes")
def history_has(context: Context, count: int) -> None:
    context.page.expect(lambda: len(context.page.all(ENTRIES)), count, "the history")


@then('the history cannot be shown: "{words}"')
def history_failed(context: Context, words: str) -> None:
    context.page.expect_within(lambda: context.page.text("#history_note"), words, "the history")


@when('I restore what was before "{words}"')
def restore(context: Context, words: str) -> None:
    def restored() -> bool:
        for entry in context.page.all(ENTRIES):
            if words in entry.text:
                entry.find_element(By.CSS_SELECTOR, "[data-action='fill']").click()
                return True
        return False

    context.page.wait(restored, f"{words} is in the history")
