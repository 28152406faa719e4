"""The history of products: who has changed what, and what is put back."""

from behave import given, then, when
from behave.runner import Context
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from features.page import BUTTONS
from features.steps.catalogue_steps import typed
from features.steps.everyone_steps import go

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


DELETED = "#deleted_rows > li"


def deleted(context: Context) -> list[str]:
    """Return the names of what is listed as deleted."""
    return [name.text for name in context.page.all(f"{DELETED} strong")]


@then('the first of what was deleted is "{names}"')
def first_deleted(context: Context, names: str) -> None:
    expected = names.split(", ")
    context.page.expect(lambda: deleted(context)[: len(expected)], expected, "what was deleted")


@then("{count:d} are listed as deleted")
def count_deleted(context: Context, count: int) -> None:
    context.page.expect(lambda: len(deleted(context)), count, "what was deleted")


@then("more than {count:d} are listed as deleted")
def count_more_deleted(context: Context, count: int) -> None:
    context.page.expect(lambda: len(deleted(context)) > count, True, "what was deleted")


@then('"{name}" was deleted once')
def deleted_once(context: Context, name: str) -> None:
    button = context.page.one(bringing_back(context, name))
    number = button.find_element(By.XPATH, "..").get_attribute("data-id")
    assert len(context.page.all(f"{DELETED}[data-id='{number}']")) == 1


@then('"{name}" is not listed as deleted')
def not_deleted(context: Context, name: str) -> None:
    product = context.colleague.find(name)
    context.page.one("#deleted_dialog[aria-busy='false']")
    context.page.expect(
        lambda: context.page.all(f"{DELETED}[data-id='{product['id']}']"), [], "what was deleted"
    )


@when('I bring back "{name}"')
def bring_back(context: Context, name: str) -> None:
    context.page.click(bringing_back(context, name))


@when('I go to the bringing back of "{name}" by keyboard and press {key}')
def go_and_bring_back(context: Context, name: str, key: str) -> None:
    go(context.page, bringing_back(context, name))
    context.page.press_key(key)


@then("the next of what was deleted has the focus")
def next_has_focus(context: Context) -> None:
    button = f"{DELETED} button"
    context.page.expect(lambda: context.page.focused(button), True, "the focus")


def bringing_back(context: Context, name: str) -> str:
    """Return the selector of the button that brings back the last deleted of this name."""

    def found() -> str | None:
        for row in context.page.all(DELETED):
            if row.find_element(By.CSS_SELECTOR, "strong").text == name:
                return str(row.get_attribute("data-change"))
        return None

    change = context.page.wait(found, f"{name} is listed as deleted")
    return f"{DELETED}[data-change='{change}'] button"


@then('of what was deleted I am told "{words}"')
def told_of_deleted(context: Context, words: str) -> None:
    context.page.expect_within(lambda: context.page.text("#deleted_note"), words, "what is told")


@when('a colleague brings back "{name}" with the price "{price}"')
def bring_back_as_colleague(context: Context, name: str, price: str) -> None:
    context.colleague.bring_back(name, price=float(price))


@when("a colleague deletes everything")
def delete_all_as_colleague(context: Context) -> None:
    context.colleague.remove_all()


UNDONE = "#undo_rows > li"


@then('the request is offered as "{words}"')
def request_is_offered(context: Context, words: str) -> None:
    button = BUTTONS["Undo this request"]
    context.page.expect(lambda: context.page.text(button), words, "what is offered")


@then("what will be set back is")
def will_be_set_back(context: Context) -> None:
    expected = sorted((row["product"], row["how"]) for row in context.table)

    def seen() -> list[tuple[str, str]]:
        return sorted(entry(item) for item in context.page.all(UNDONE))

    def entry(item: WebElement) -> tuple[str, str]:
        name = item.find_element(By.CSS_SELECTOR, "strong").text
        return name, item.text.removeprefix(name).strip().replace("\n", ", ")

    context.page.expect(seen, expected, "what will be set back")


@then("{count:d} products will be set back")
def count_set_back(context: Context, count: int) -> None:
    context.page.one("#undo_dialog[aria-busy='false']")
    context.page.expect(lambda: len(context.page.all(UNDONE)), count, "what will be set back")


@then('"{name}" is left as it is')
def is_left(context: Context, name: str) -> None:
    context.page.expect(lambda: context.page.text("#undo_others li"), name, "what is left")


@then('undoing fails with "{words}"')
def undoing_fails(context: Context, words: str) -> None:
    context.page.expect_within(lambda: context.page.text("#undo_note"), words, "what is told")


@then('the lowest price says "{words}"')
@then('the lowest price says ""')
def lowest_price_says(context: Context, words: str = "") -> None:
    if words:
        context.page.expect_within(lambda: context.page.text("#lowest_price"), words, "the price")
    else:
        context.page.expect(lambda: context.page.text("#lowest_price"), "", "the price")


@when('the record of "{name}" begins today')
def begin_record(context: Context, name: str) -> None:
    number = context.colleague.find(name)["id"]
    context.service.execute(f"DELETE FROM product_changes WHERE product_id = {number}")  # noqa: S608  # a number
