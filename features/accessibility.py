"""What axe and the eye of somebody on a phone, in the dark or with weak sight would find."""

from selenium import webdriver
from selenium.webdriver.remote.webdriver import WebDriver
from selenium_axe_python.axe import Axe

from features.browser import HEIGHT, WIDTH

Size = tuple[int, int]

PHONE: Size = (320, 640)
# Colours differ by light and dark, places by the size: no look has both of two others.
# At 200 % a window has half as many pixels of the page to its width and its height.
LOOKS: dict[str, tuple[Size, bool]] = {
    "light": ((WIDTH, HEIGHT), False),
    "dark": ((WIDTH, HEIGHT), True),
    "on a phone in the dark": (PHONE, True),
    "at 200 %": ((WIDTH // 2, HEIGHT // 2), False),
}
AXE = """
    const [options, done] = arguments;
    axe.run(document, options).then(done, error => done({violations: [], failure: String(error)}));
"""
OPTIONS = {"resultTypes": ["violations"], "rules": {"target-size": {"enabled": True}}}
SIDEWAYS = """
    const { scrollWidth, clientWidth } = document.documentElement;
    return scrollWidth - clientWidth;
"""


def look(driver: WebDriver, size: Size, dark: bool = False) -> None:
    """Show the page in a window of this size, in light or dark."""
    driver.set_window_size(*size)
    if isinstance(driver, webdriver.Firefox):
        with driver.context(driver.CONTEXT_CHROME):
            name = "layout.css.prefers-color-scheme.content-override"
            driver.execute_script("Services.prefs.setIntPref(...arguments)", name, int(not dark))
    else:
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})


def faults(driver: WebDriver) -> list[str]:
    """Return what is wrong with the page as it looks now."""
    if not driver.execute_script("return 'axe' in window"):
        Axe(driver).inject()
    results = driver.execute_async_script(AXE, OPTIONS)
    found = [Axe.report([violation]) for violation in results["violations"]]
    if "failure" in results:
        found.append(results["failure"])
    sideways = driver.execute_script(SIDEWAYS)
    if sideways:
        found.append(f"it scrolls sideways by {sideways} pixels")
    return found
