"""What the network between the page and the service does."""

from random import Random

from behave import given, then, when
from behave.runner import Context

from features.wander import Wanderer


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


@given("a standby answers")
def lose_primary(context: Context) -> None:
    context.network.has_primary = False


@when("the primary answers")
def find_primary(context: Context) -> None:
    context.network.has_primary = True


@then("an answer to {kind} is on its way")
def is_on_its_way(context: Context, kind: str) -> None:
    context.page.expect(lambda: context.network.holds(kind), True, f"an answer to {kind}")


@when("the answers arrive")
def mend(context: Context) -> None:
    context.network.mend()


@when("I work {steps:d} steps at random with the seed {seed:d}")
def work(context: Context, steps: int, seed: int) -> None:
    random = Random(seed)  # noqa: S311  # it is to be repeated
    context.wanderer = Wanderer(context.page, context.network, context.colleague, random)
    context.wanderer.work(steps)


@then("the catalogue is what I meant and was told")
def is_as_told(context: Context) -> None:
    context.wanderer.finish()
    faults = context.wanderer.faults()
    assert not faults, faults
