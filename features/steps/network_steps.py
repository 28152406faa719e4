"""What the network between the page and the service does."""

from behave import given, then, when
from behave.runner import Context


@given("answers to {kind} are held back")
@when("answers to {kind} are held back")
def hold(context: Context, kind: str) -> None:
    context.network.hold(kind)


@when("the answer to the next of the {kind} is held back")
def hold_next(context: Context, kind: str) -> None:
    context.network.hold(kind, is_once=True)


@when("the answer to the next of the {kind} is lost")
def lose(context: Context, kind: str) -> None:
    context.network.lose(kind)


@then("an answer to {kind} is on its way")
def is_on_its_way(context: Context, kind: str) -> None:
    context.page.expect(lambda: context.network.holds(kind), True, f"an answer to {kind}")


@when("the answers arrive")
def mend(context: Context) -> None:
    context.network.mend()
