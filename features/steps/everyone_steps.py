"""Keyboard alone, a phone, the dark, enlarged, and by ear."""

from behave import given, then, when
from behave.runner import Context

from features.accessibility import LOOKS, PHONE, faults, look
from features.page import BUTTONS, FIELDS, Page

PLACES = BUTTONS | FIELDS
MOST_TABS = 100


@given("I use a phone")
def use_phone(context: Context) -> None:
    context.driver.set_window_size(*PHONE)


@then("everyone can use the page")
def everyone_can_use(context: Context) -> None:
    size = context.driver.get_window_size()
    found = []
    for name, appearance in LOOKS.items():
        look(context.driver, *appearance)
        found += [f"{name}: {fault}" for fault in faults(context.driver)]
    look(context.driver, (size["width"], size["height"]))
    assert not found, "\n".join(found)


@when('I go to "{place}" by keyboard and press {key}')
def go_and_press(context: Context, place: str, key: str) -> None:
    go(context.page, PLACES[place])
    context.page.press_key(key)


@when('I go to the row of "{name}" by keyboard and press {key}')
def go_to_row(context: Context, name: str, key: str) -> None:
    go(context.page, f"{context.page.row(name)} [data-action='edit']")
    context.page.press_key(key)


@when("I go to the heading of {column} by keyboard and press {key}")
def go_to_heading(context: Context, column: str, key: str) -> None:
    go(context.page, f"th[data-sort='{column}'] button")
    context.page.press_key(key)


@when("I type")
def type_fields(context: Context) -> None:
    context.page.settle_editor()
    for field, value in context.table[0].items():
        go(context.page, FIELDS[field])
        context.page.type_over(context.page.typed(field, value))


@then("what I am told is announced")
def is_announced(context: Context) -> None:
    message = context.page.one("#flash_message:not(:empty)")
    assert message.get_attribute("role") in {"status", "alert"}
    assert message.get_attribute("aria-live") in {"polite", "assertive"}


def go(page: Page, selector: str) -> None:
    """Press Tab, or Shift and Tab, until the focus is there; it must be seen all the way."""
    page.one(selector)
    for _ in range(MOST_TABS):
        if page.focused(selector):
            return
        page.step_focus(backwards=page.is_before_focus(selector))
        page.expect(page.focus_is_seen, True, f"whether one sees the focus on {page.focus()}")
    raise AssertionError(f"{selector} cannot be reached with Tab")
