"""What staff do beside the editor: in the rows, with several products, and with views."""

from behave import given, then, when
from behave.runner import Context
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from features.page import BUTTONS, FIELDS, SEARCH
from features.steps.catalogue_steps import PICTURE

ROW_FIELD = FIELDS["value in the row"]
ESCAPES = {"\\r": "\r", "\\n": "\n", "\\s": " "}
# As the browser tells of a key that an input method has taken, or of one on another layout.
KEY = """
    const [place, key, code, isComposing, ctrlKey] = arguments;
    const options = { key, code, isComposing, ctrlKey, bubbles: true, cancelable: true };
    (place ? document.querySelector(place) : document.activeElement)
      .dispatchEvent(new KeyboardEvent("keydown", options));
"""
SHARE = """
    const row = document.querySelector("#search_results tr[data-id]");
    return row.querySelector("[data-member=name]").offsetWidth / row.offsetWidth;
"""


def meant(text: str) -> str:
    """Return the text that a scenario means by one with escapes."""
    for escape, character in ESCAPES.items():
        text = text.replace(escape, character)
    return text


@given('a product "{name}" with the description "{description}" and the category "{category}"')
@given('a product "{name}" with the description "" and the category "{category}"')
def add_product(context: Context, name: str, category: str, description: str = "") -> None:
    context.described = meant(description)
    context.colleague.add(
        name=name,
        img_url=PICTURE,
        price=1,
        description=meant(description),
        category=meant(category),
    )


@then('the product "{name}" has the description "{description}" and the category "{category}"')
def product_has(context: Context, name: str, description: str, category: str) -> None:
    product = context.colleague.find(name)
    assert product["description"].startswith(meant(description)), product
    assert product["category"] == meant(category), product


@given("I have the catalogue open with {count} rows")
def open_with_rows(context: Context, count: str) -> None:
    context.page.open(limit=count)


@when("I open the page as it is")
def open_plain(context: Context) -> None:
    context.page.open_plain()


@when('the page is opened with a lowest price of "{text}"')
def open_with_price(context: Context, text: str) -> None:
    context.page.open(min_price=text)


@when("I leave the page")
def leave(context: Context) -> None:
    context.page.leave()


@when("I go forward")
def go_forward(context: Context) -> None:
    context.driver.forward()


@when('I change the {member} of "{name}" in its row')
def change_in_row(context: Context, member: str, name: str) -> None:
    context.page.click(f"{context.page.row(name)} [data-member='{member}'] [data-action='inline']")
    context.page.one(ROW_FIELD)


@when('I type "{text}" and press {key}')
def type_and_press(context: Context, text: str, key: str) -> None:
    context.page.type_over(text)
    context.page.press_key(key)


@when("in the row I press {key}")
def press_in_row(context: Context, key: str) -> None:
    context.page.one(ROW_FIELD).send_keys(getattr(Keys, key.upper()))


@then('in the row it says "{words}"')
def row_says(context: Context, words: str) -> None:
    context.page.expect_within(lambda: context.page.text("#inline_error"), words, "the row")


@then('the {kind} are counted "{counts}"')
def are_counted(context: Context, kind: str, counts: str) -> None:
    place = {"statuses": "#status_tabs button", "categories": "#category_facets button:has(small)"}
    context.page.expect(
        lambda: ", ".join(" ".join(it.text.split()) for it in context.page.all(place[kind])),
        counts,
        f"the counts of {kind}",
    )


@when('I choose the category "{name}"')
@when('I choose the category that is shown as "{name}"')
def choose_category(context: Context, name: str) -> None:
    choose(context, "#category_facets button", name)


@when('I choose the status "{name}"')
def choose_status(context: Context, name: str) -> None:
    choose(context, "#status_tabs button", name)


def choose(context: Context, selector: str, name: str) -> None:
    """Press the button whose text begins with a name."""

    def pressed() -> bool:
        for button in context.page.all(selector):
            if button.text.startswith(name):
                button.click()
                return True
        return False

    context.page.wait(pressed, f"{name} can be chosen")


@then("the preview says")
def preview_says(context: Context) -> None:
    expected = [dict(row.items()) for row in context.table]

    def seen() -> list[dict[str, str]]:
        rows = context.page.all("#bulk_preview tr")
        cells = [row.find_elements(By.CSS_SELECTOR, "th, td") for row in rows]
        return [
            dict(zip(("product", "old", "new"), (it.text for it in row), strict=True))
            for row in cells
        ]

    context.page.expect(seen, expected, "the preview")


@then('the result says "{words}"')
def result_says(context: Context, words: str) -> None:
    context.page.expect_within(lambda: context.page.text("#summary_changes"), words, "the result")


@then("{count} are selected")
def are_selected(context: Context, count: str) -> None:
    context.page.expect(lambda: context.page.text("#selected_count"), count, "the selection")


@then('"{name}" is selected')
def is_selected(context: Context, name: str) -> None:
    context.page.expect(lambda: context.page.text("#selected_count"), "1", "the selection")
    box = context.page.one(f"{context.page.row(name)} input[name='selected']")
    assert box.is_selected()


@when('I search for the id of "{name}"')
def search_id(context: Context, name: str) -> None:
    context.page.search_alone(str(context.colleague.find(name)["id"]))


@then('I am offered "{name}"')
def offered(context: Context, name: str) -> None:
    context.page.expect_within(lambda: context.page.text("#suggestion a"), name, "the offer")


@when("I press the offer")
def press_offer(context: Context) -> None:
    context.page.click("#suggestion a")


@when('I follow "{name}"')
def follow(context: Context, name: str) -> None:
    choose(context, "#saved_views a", name)


@then('the row of "{name}" is a link to it')
def is_link(context: Context, name: str) -> None:
    link = context.page.one(f"{context.page.row(name)} a[data-action='edit']")
    assert f"product={context.colleague.find(name)['id']}" in str(link.get_attribute("href"))


@when('I look at the picture of "{name}"')
def look_at_picture(context: Context, name: str) -> None:
    context.page.click(f"{context.page.row(name)} [data-action='picture']")


@then('the first product is "{name}"')
def first_product(context: Context, name: str) -> None:
    context.page.expect(lambda: (context.page.names() or [""])[0], name, "the first product")


@when('I press "{button}" twice')
def press_twice(context: Context, button: str) -> None:
    element = context.page.one(BUTTONS[button])
    context.driver.execute_script("arguments[0].click(); arguments[0].click()", element)


@when("I fill in while it saves")
def fill_in_while_saving(context: Context) -> None:
    for field, value in context.table[0].items():
        context.page.set(field, value)


@then('the editor is called "{title}"')
def editor_is_called(context: Context, title: str) -> None:
    context.page.expect_within(lambda: context.page.text("#editor_title"), title, "the title")


@then('the editor says "{words}"')
def editor_says(context: Context, words: str) -> None:
    context.page.expect_within(lambda: context.page.text("#editor_notice"), words, "the editor")


@then('the row of "{name}" has the focus')
def row_has_focus(context: Context, name: str) -> None:
    link = f"{context.page.row(name)} [data-action='edit']"
    context.page.expect(lambda: context.page.focused(link), True, "the focus")


@then("the page is {number} of {all_}")
def page_is(context: Context, number: str, all_: str) -> None:
    context.page.expect_within(
        lambda: context.page.text("#pager"), f"Page {number} of {all_}", "the page"
    )


@then('I see the products that begin with "{first}" and end with "{last}"')
def see_ends(context: Context, first: str, last: str) -> None:
    def ends() -> list[str]:
        names = context.page.names() or [""]
        return [names[0], names[-1]]

    context.page.expect(ends, [first, last], "the list")


@when('the key "{key}" of code "{code}" is pressed with Ctrl')
def press_with_control(context: Context, key: str, code: str) -> None:
    context.driver.execute_script(KEY, None, key, code, False, True)


@when('the key "{key}" is pressed in the search box while composing')
def compose_in_search(context: Context, key: str) -> None:
    context.driver.execute_script("document.querySelector(arguments[0]).focus()", SEARCH)
    context.driver.execute_script(KEY, SEARCH, key, key, True, False)


@when('the key "{key}" is pressed in "{field}" while composing')
def compose_in_field(context: Context, key: str, field: str) -> None:
    context.page.settle_editor()
    context.driver.execute_script(KEY, FIELDS[field], key, key, True, False)


@then("the search box has the focus")
def search_has_focus(context: Context) -> None:
    assert context.page.focused(SEARCH)


@then("I am told nothing")
def told_nothing(context: Context) -> None:
    context.page.expect(lambda: context.page.text("#flash_message"), "", "the message")


@then('"{button}" is there')
def is_there(context: Context, button: str) -> None:
    assert context.page.all(BUTTONS[button])


@then('"{button}" is not there')
def is_not_there(context: Context, button: str) -> None:
    context.page.expect(lambda: context.page.all(BUTTONS[button]), [], button)


@then('the address has the product "{name}"')
def address_has(context: Context, name: str) -> None:
    product = f"product={context.colleague.find(name)['id']}"
    context.page.expect_within(lambda: context.driver.current_url, product, "the address")


@then("the name has at least 40 % of the width")
def name_is_wide(context: Context) -> None:
    share = context.driver.execute_script(SHARE)
    assert share >= 0.4, share


@then("the category has its whole text as a tooltip")
def category_has_tooltip(context: Context) -> None:
    (product,) = context.colleague.products()
    cell = context.page.one("#search_results [data-member='category']")
    assert cell.get_attribute("title") == product["category"]


@then('the row of "{name}" is marked as new')
def is_marked(context: Context, name: str) -> None:
    context.page.one(f"{context.page.row(name)} .fresh")


@then("nothing holds the place of a product")
def no_placeholder(context: Context) -> None:
    context.page.expect(lambda: context.page.all(".skeleton"), [], "the placeholders")


@then("no picture is given")
def no_picture(context: Context) -> None:
    context.picture = context.page.one("#preview[data-state='empty']").screenshot_as_base64


@then("it does not look like no picture")
def looks_missing(context: Context) -> None:
    assert context.page.one("#preview").screenshot_as_base64 != context.picture


@when("I give a token with a letter that no token has")
def give_foreign_token(context: Context) -> None:
    context.page.set("token", f"{context.token}é")
    context.page.press("Use token")


@when("I give the token with what cannot be seen around it")
def give_padded_token(context: Context) -> None:
    context.page.set("token", f"\u200b{context.token}\ufeff")
    context.page.press("Use token")
