"""The browser: Chromium, or Firefox with DRIVER=firefox; neither shows a window."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.remote.webdriver import WebDriver

WIDTH, HEIGHT = 1280, 900
DOWNLOADS = Path("build/downloads").absolute()
CHROMIUM_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--lang=en-US",
    "--force-prefers-reduced-motion",
)
# It is light or dark by a preference, and only the system's own scripts set one.
FIREFOX_FLAGS = ("--headless", "-remote-allow-system-access")
FIREFOX_PREFERENCES: dict[str, str | int] = {
    "intl.accept_languages": "en-US",
    "ui.prefersReducedMotion": 1,
    "browser.download.folderList": 2,
    "browser.download.dir": str(DOWNLOADS),
}


@contextmanager
def browser() -> Iterator[WebDriver]:
    """Open the browser that the environment asks for, and close it."""
    kind = os.environ.get("DRIVER", "chromium")
    driver = _firefox() if kind == "firefox" else _chromium()
    try:
        driver.set_window_size(WIDTH, HEIGHT)
        yield driver
    finally:
        driver.quit()


def script_faults(driver: WebDriver) -> list[str]:
    """Return the faults of scripts and of security that the browser has met since it was asked.

    Firefox does not tell.
    """
    if not isinstance(driver, webdriver.Chrome):
        return []
    sources = {"javascript", "security", "console-api"}
    return [line["message"] for line in driver.get_log("browser") if line["source"] in sources]


def _chromium() -> WebDriver:
    options = webdriver.ChromeOptions()
    for flag in CHROMIUM_FLAGS:
        options.add_argument(flag)
    options.add_experimental_option("prefs", {"download.default_directory": str(DOWNLOADS)})
    options.set_capability("goog:loggingPrefs", {"browser": "SEVERE"})
    program = _found("chromium", "chromium-browser", "google-chrome", "chrome")
    if program:
        options.binary_location = program
    return webdriver.Chrome(options, webdriver.ChromeService(_found("chromedriver")))


def _firefox() -> WebDriver:
    options = webdriver.FirefoxOptions()
    for flag in FIREFOX_FLAGS:
        options.add_argument(flag)
    for name, value in FIREFOX_PREFERENCES.items():
        options.set_preference(name, value)
    program = _found("firefox", "firefox-esr")
    if program:
        options.binary_location = program
    return webdriver.Firefox(options, webdriver.FirefoxService(_found("geckodriver")))


def _found(*programs: str) -> str | None:
    """Return the first of ``programs`` on this machine; without one, Selenium Manager looks."""
    return next(filter(None, map(shutil.which, programs)), None)
