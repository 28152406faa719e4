"""What others do to the catalogue, as the page shows it."""

from behave import then, when
from behave.runner import Context
from selenium.webdriver.common.action_chains import ActionChains

from features.page import BUTTONS
from features.steps.catalogue_steps import PICTURE

PAUSE = "setTimeout(arguments[1], arguments[0])"


@when("I look at another tab")
def look_away(context: Context) -> None:
    context.page.hide()


@when("I look at another tab for {seconds:d} seconds")
def look_away_for(context: Context, seconds: int) -> None:
    context.page.hide()
    context.asked = context.network.count("feeds")
    context.driver.execute_async_script(PAUSE, seconds * 1000)


@then("the changes have not been asked for meanwhile")
def not_asked(context: Context) -> None:
    assert context.asked > 0
    assert context.network.count("feeds") == context.asked


@when("I come back")
def come_back(context: Context) -> None:
    context.page.show()


@when('a colleague adds "{name}"')
def add_as_colleague(context: Context, name: str) -> None:
    context.colleague.add(name=name, img_url=PICTURE, price=10)


@when('a colleague adds the inactive "{name}"')
def add_inactive_as_colleague(context: Context, name: str) -> None:
    context.colleague.add(name=name, img_url=PICTURE, price=10, status="inactive")


@when('I point at the row of "{name}" and have the focus there')
def point_at_row(context: Context, name: str) -> None:
    context.row = context.page.row(name)
    ActionChains(context.driver).move_to_element(context.page.one(context.row)).perform()
    link = context.page.one(f"{context.row} [data-action='edit']")
    context.driver.execute_script("arguments[0].focus()", link)
    context.page.expect_within(lambda: context.page.text("#status_tabs"), "3", "the counts")
    context.top = context.page.top_of(context.row)


@then('the row of "{name}" has not moved')
def has_not_moved(context: Context, name: str) -> None:
    assert context.page.row(name) == context.row
    assert context.page.top_of(context.row) == context.top


@then('"{button}" says "{words}"')
def button_says(context: Context, button: str, words: str) -> None:
    context.page.expect(lambda: context.page.text(BUTTONS[button]), words, button)


@then('the editor tells "{words}"')
def editor_tells(context: Context, words: str) -> None:
    context.page.expect_within(lambda: context.page.text("#editor_news"), words, "the editor")


@then("the editor tells nothing")
def editor_tells_nothing(context: Context) -> None:
    context.page.expect(lambda: context.page.text("#editor_news"), "", "the editor")


@when("the record of changes is another one")
def other_record(context: Context) -> None:
    context.service.execute("UPDATE product_change_log SET identity = 'another'")
