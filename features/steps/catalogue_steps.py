"""What is in the catalogue, what a colleague does, and how the service is."""

import secrets
from typing import Any

from behave import given, then, when
from behave.model import Table
from behave.runner import Context

PICTURE = "https://img.example.com/product.jpg"
NUMBERS = {"price": float, "rating": int}


def typed(member: str, cell: str) -> object:
    """Return the value of a member as JSON has it; a cell without anything is null."""
    return NUMBERS.get(member, str)(cell) if cell else None


def products(table: Table) -> list[dict[str, Any]]:
    """Return the products of a table, with a picture and a price where it gives none."""
    return [
        {"img_url": PICTURE, "price": 10}
        | {name: typed(name, row[name]) for name in table.headings}
        for row in table
    ]


@given("these products")
def add_products(context: Context) -> None:
    for product in products(context.table):
        context.colleague.add(**product)


@given('{count:d} products called "{name}" and a number')
def add_many_products(context: Context, count: int, name: str) -> None:
    for number in range(1, count + 1):
        context.colleague.add(name=f"{name} {number:02}", img_url=PICTURE, price=number)


@when('a colleague sets the {member} of "{name}" to "{value}"')
def change_as_colleague(context: Context, member: str, name: str, value: str) -> None:
    context.colleague.change(name, **{member: typed(member, value)})


@when('a colleague deletes "{name}"')
def delete_as_colleague(context: Context, name: str) -> None:
    context.colleague.remove(name)


@then("the catalogue has")
def has_products(context: Context) -> None:
    members = context.table.headings
    expected = [{name: typed(name, row[name]) for name in members} for row in context.table]

    def stored() -> list[dict[str, Any]]:
        products = context.colleague.products()
        return [{name: product[name] for name in members} for product in products]

    context.page.expect(stored, expected, "what is in the catalogue")


@then("the catalogue is empty")
def is_empty(context: Context) -> None:
    context.page.expect(context.colleague.products, [], "what is in the catalogue")


@given("the service is down")
@when("the service goes down")
def stop_service(context: Context) -> None:
    context.add_cleanup(context.service.start)
    context.service.stop()


@when("the service is back")
def start_service(context: Context) -> None:
    context.service.start()


@when("the database is lost")
def lose_database(context: Context) -> None:
    context.add_cleanup(context.service.find_table)
    context.service.lose_table()


@when("the database is back")
def find_database(context: Context) -> None:
    context.service.find_table()


@when("the service hangs")
def freeze_service(context: Context) -> None:
    context.add_cleanup(context.service.thaw)
    context.service.freeze()


@when("the service goes on")
def thaw_service(context: Context) -> None:
    context.service.thaw()


@given("only holders of a token may write")
def demand_token(context: Context) -> None:
    context.token = secrets.token_urlsafe()
    context.add_cleanup(context.service.start)
    context.service.start(API_TOKENS=f"staff={context.token}")
