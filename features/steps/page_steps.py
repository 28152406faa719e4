"""What a person sees and does on the page."""

from behave import given, then, when
from behave.runner import Context
from selenium.webdriver.common.by import By

from features.page import BUTTONS, FIELDS, SEARCH, is_usable

# One red pixel, as a PNG.
PICTURE = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ"
    "/pLvAAAAAElFTkSuQmCC"
)
FILTERS = {"category filter": "", "status filter": "Any", "lowest price": "", "highest price": ""}


def listed(names: str) -> list[str]:
    """Return the names of a list with commas."""
    return names.split(", ")


@given("I have the catalogue open")
def open_catalogue(context: Context) -> None:
    context.page.open()
    context.page.wait(lambda: context.page.rows() is not None, "the list is there")


@when("I open the same address in a new window")
def open_in_new_window(context: Context) -> None:
    context.page.open_again()


@when("I go back")
def go_back(context: Context) -> None:
    context.driver.back()


@when('I search for "{words}"')
def search(context: Context, words: str) -> None:
    context.page.search(words)


@given('I have chosen "{value}" as "{field}"')
@when('I choose "{value}" as "{field}"')
def choose(context: Context, value: str, field: str) -> None:
    context.page.set(field, value)
    context.page.press_key("Tab")


@when("I sort by {column}")
def sort(context: Context, column: str) -> None:
    context.page.click(f"th[data-sort='{column}'] button")


@when('I press "{button}"')
def press(context: Context, button: str) -> None:
    context.page.press(button)


@when("I press the key {key}")
def press_key(context: Context, key: str) -> None:
    context.page.press_key(key)


@when('I open "{name}"')
def open_product(context: Context, name: str) -> None:
    context.page.click(f"{context.page.row(name)} [data-action='edit']")


@when('I select "{names}"')
def select(context: Context, names: str) -> None:
    for name in listed(names):
        context.page.click(f"{context.page.row(name)} input[name='selected']")


@when("I fill in")
def fill_in(context: Context) -> None:
    context.page.settle_editor()
    for field, value in context.table[0].items():
        context.page.set(field, context.page.typed(field, value))


@when("I give the address of a picture")
def give_picture(context: Context) -> None:
    context.page.set("Picture", PICTURE)


@then('the title of the page is about "{words}"')
def has_title(context: Context, words: str) -> None:
    assert words in context.driver.title, context.driver.title


@then('I see the products "{first}" to "{last}"')
def see_from_to(context: Context, first: str, last: str) -> None:
    name, start = first.rsplit(" ", 1)
    numbers = range(int(start), int(last.rsplit(" ", 1)[1]) + 1)
    expected = [f"{name} {number:02}" for number in numbers]
    context.page.expect(context.page.names, expected, "the list")


@then('I see "{names}"')
def see(context: Context, names: str) -> None:
    context.page.expect(context.page.names, listed(names), "the list")


@then("no product is seen")
def see_none(context: Context) -> None:
    context.page.expect(context.page.names, [], "the list")


@then("I see these products")
def see_products(context: Context) -> None:
    expected = [dict(row.items()) for row in context.table]

    def seen() -> list[dict[str, str]]:
        rows = context.page.rows() or []
        return [{name: row[name] for name in context.table.headings} for row in rows]

    context.page.expect(seen, expected, "the list")


@then("{count} products are counted")
def see_count(context: Context, count: str) -> None:
    context.page.expect(lambda: context.page.text("#result_count"), count, "the count")


@then("the list says that it {state}")
def see_state(context: Context, state: str) -> None:
    states = {"failed": "failed", "loads": "loading"}
    context.page.expect(context.page.state, states[state], "the list")


@then('"{field}" is "{value}"')
def field_is(context: Context, field: str, value: str) -> None:
    context.page.expect(lambda: context.page.value(field), value, field)


@then("no filter is set")
def no_filter(context: Context) -> None:
    page = context.page
    page.expect(lambda: page.values(FILTERS), FILTERS, "the filters")
    page.expect(lambda: page.one(SEARCH).get_property("value"), "", "the search")


@then('"{button}" cannot be pressed')
def is_disabled(context: Context, button: str) -> None:
    context.page.expect(lambda: is_usable(context.page.one(BUTTONS[button])), False, button)


@then('"{button}" has the focus')
def has_focus(context: Context, button: str) -> None:
    context.page.expect(lambda: context.page.focused(BUTTONS[button]), True, "the focus")


@then("the editor shows")
def editor_shows(context: Context) -> None:
    expected = {
        field: context.page.typed(field, value) for field, value in context.table[0].items()
    }
    context.page.expect(lambda: context.page.values(expected), expected, "the editor")


@then("the editor is empty")
def editor_is_empty(context: Context) -> None:
    fields = ["Id", "Name", "Picture", "Description", "Price", "Category"]
    context.page.expect(
        lambda: context.page.values(fields), dict.fromkeys(fields, ""), "the editor"
    )


@then('I am told "{message}"')
def told(context: Context, message: str) -> None:
    context.page.expect(lambda: context.page.text("#flash_message"), message, "the message")


@then('I am told of "{words}"')
def told_of(context: Context, words: str) -> None:
    context.page.expect_within(lambda: context.page.text("#flash_message"), words, "the message")


@then('beside "{field}" it says nothing')
def no_fault(context: Context, field: str) -> None:
    error = f"{FIELDS[field]}_error"
    context.page.expect(lambda: context.page.text(error), "", f"what is beside {field}")


@then('beside "{field}" it says "{message}"')
def fault(context: Context, field: str, message: str) -> None:
    error = f"{FIELDS[field]}_error"
    context.page.expect_within(lambda: context.page.text(error), message, f"what is beside {field}")
    invalid = context.page.one(FIELDS[field]).get_attribute("aria-invalid")
    assert invalid == "true", f"{field} is not marked as invalid"


@then("the picture is seen")
def picture_seen(context: Context) -> None:
    width = "return document.querySelector('#preview img').naturalWidth"
    context.page.one("#preview img")
    context.page.expect(lambda: context.driver.execute_script(width), 1, "the width of the picture")


@then("a placeholder is seen for the picture")
def placeholder_seen(context: Context) -> None:
    context.page.one("#preview[data-state='missing']")
    assert not context.page.all("#preview img")


@then("I am asked to choose between")
def asked_to_choose(context: Context) -> None:
    def seen() -> list[dict[str, str]]:
        return [
            {
                "member": str(row.get_attribute("data-member")),
                "mine": row.find_element(By.CSS_SELECTOR, "td:nth-of-type(1)").text,
                "theirs": row.find_element(By.CSS_SELECTOR, "td:nth-of-type(2)").text,
            }
            for row in context.page.all("#conflict_dialog tr[data-member]")
        ]

    expected = [dict(row.items()) for row in context.table]
    context.page.expect(seen, expected, "the choice")


@when('I choose {choice} for "{member}" and {other} for "{another}"')
def choose_members(context: Context, choice: str, member: str, other: str, another: str) -> None:
    for name, whose in ((member, choice), (another, other)):
        context.page.click(f"#conflict_dialog input[name='pick_{name}'][value='{whose}']")


@then("I may leave the page")
def may_leave(context: Context) -> None:
    context.page.expect(context.page.warns_before_leaving, False, "a warning")


@then("I am warned when I leave the page")
def warned(context: Context) -> None:
    context.page.expect(context.page.warns_before_leaving, True, "a warning")


@then("the page has run nothing that was typed")
def ran_nothing(context: Context) -> None:
    assert context.driver.title != "ran"
    planted = "body script, [src='x'], [onerror], [onfocus]"
    assert not context.driver.find_elements(By.CSS_SELECTOR, planted)


@then('the summary names "{name}" alone')
def summary_names(context: Context, name: str) -> None:
    failures = "#summary_failures li"
    context.page.expect_within(lambda: context.page.text(failures), name, "the summary")
    assert len(context.page.all(failures)) == 1


@then("I am asked for a token")
def asked_for_token(context: Context) -> None:
    context.page.one("#api_token")


@when("I give a token that nobody has")
def give_wrong_token(context: Context) -> None:
    context.page.set("token", context.token[::-1])
    context.page.press("Use token")


@when("I give the token")
def give_token(context: Context) -> None:
    context.page.set("token", context.token)
    context.page.press("Use token")


@then("I am told that it is wrong")
def token_is_wrong(context: Context) -> None:
    context.page.one("#token_error:not(:empty)")
