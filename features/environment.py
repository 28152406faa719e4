"""What is there before the first scenario, and what each scenario begins and ends with."""

import re
import secrets
from contextlib import ExitStack
from pathlib import Path

from behave.model import Scenario, Status, Step
from behave.runner import Context

from features.accessibility import look
from features.browser import HEIGHT, WIDTH, browser, script_faults
from features.catalogue import Colleague, OwnService, service_under_test
from features.network import Network
from features.page import Page

FAILURES = Path("build/behave")
# No word that a scenario searches for is a part of a word without a vowel.
CONSONANTS = "bcdfghjklmnpqrstvwxz"


def before_all(context: Context) -> None:
    """Start the service and the browser; both end with the run."""
    run = ExitStack()
    context.add_cleanup(run.close)
    context.service = run.enter_context(service_under_test())
    context.driver = run.enter_context(browser())
    context.network = Network(context.service.url)
    run.callback(context.network.close)


def before_scenario(context: Context, scenario: Scenario) -> None:
    """Give each scenario a word of its own: it finds nothing but its own products."""
    if "own_service" in scenario.effective_tags and not isinstance(context.service, OwnService):
        scenario.skip("it stops the service, and this one is not ours to stop")
        return
    word = "".join(secrets.choice(CONSONANTS) for _ in range(16))
    context.colleague = Colleague(context.service.url, word)
    context.add_cleanup(context.colleague.remove_all)
    is_slow = "slow_network" in scenario.effective_tags
    url = context.network.url if is_slow else context.service.url
    context.page = Page(context.driver, url, word)
    context.add_cleanup(context.page.close)
    context.add_cleanup(context.network.mend)
    look(context.driver, (WIDTH, HEIGHT))


def after_step(context: Context, step: Step) -> None:
    """Keep a picture of what a person would see at a step that failed."""
    if step.status == Status.failed:
        FAILURES.mkdir(parents=True, exist_ok=True)
        name = re.sub(r"\W+", "-", f"{step.filename} {step.line}")
        context.driver.save_screenshot(str(FAILURES / f"{name}.png"))


def after_scenario(context: Context, scenario: Scenario) -> None:
    """Fail where a script of the page failed, or its security policy was hurt."""
    if scenario.status != Status.skipped:
        faults = script_faults(context.driver)
        assert not faults, faults
