"""How long a search on the page takes in a browser: from the last key to the rows on the screen."""

import argparse
import os
from statistics import median
from time import sleep

from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.remote.webdriver import WebDriver

from benchmarks import catalogue
from benchmarks.servers import serving
from features.browser import browser

TARGET_MS = 300
# Common words, rare ones, several, parts of words, and what nobody sells.
SEARCHES = (
    *("kettle", "red", "compact", "garden", "élan"),
    *("astrolabe", "rosewood", "astrolabe rosewood", "rosewood astrolabe lamp"),
    *("juno teapot", "navy jacket", "chef's knife white", "fjord heritage desk grey"),
    *("ket", "oo", "a", "chair", "12"),
    *("zither", "copper astrolabe"),
)
# A fast typist, whose keys come before the page begins to search; and a slow one, of whose
# keys each begins a search that the next one overtakes.
PACES = {"60 ms a key": 0.06, "200 ms a key": 0.2}

WATCH = """
    const list = document.getElementById("search_results");
    const text = document.getElementById("search_text");
    text.addEventListener("input", () => { window.typed = performance.now(); });
    new MutationObserver(() => {
      window.shown = 0;
      if (list.dataset.state === "loading") return;
      // What is changed now is painted in the next frame, and that has ended after this task.
      requestAnimationFrame(() => setTimeout(() => { window.shown = performance.now(); }));
    }).observe(list, { attributeFilter: ["data-state"] });
"""
TOOK = """
    const [searched, done] = arguments;
    const list = document.getElementById("search_results");
    const look = () => {
      const asked = new URLSearchParams(location.search).get("q") ?? "";
      const ended = asked === searched && list.dataset.state !== "loading" && window.shown;
      ended ? done([list.dataset.state, window.shown - window.typed]) : setTimeout(look, 5);
    };
    look();
"""


def main() -> None:
    """Load the catalogue, search it on the page, and say how long that took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--products", type=int, default=catalogue.PRODUCTS)
    count = parser.parse_args().products
    with catalogue.postgresql() as environment:
        catalogue.load(environment, count)
        # A client that goes away is no news here.
        environment["LOG_LEVEL"] = "ERROR"
        environment["WEB_CONCURRENCY"] = str(os.cpu_count())
        with serving("service", environment) as server, browser() as driver:
            for pace, seconds in PACES.items():
                report(f"{count:,} products, {pace}", search_all(driver, server.url, seconds))


def search_all(driver: WebDriver, url: str, seconds: float) -> dict[str, float]:
    """Return the milliseconds that each search took; ``seconds`` are between its keys."""
    driver.get(url)
    driver.execute_script(WATCH)
    return {words: search(driver, words, seconds) for words in SEARCHES}


def search(driver: WebDriver, words: str, seconds: float) -> float:
    """Type the words in place of those of before; return the milliseconds until rows are seen."""
    driver.execute_script("document.getElementById('search_text').select()")
    for letter in words:
        ActionChains(driver).send_keys(letter).perform()
        sleep(seconds)
    state, milliseconds = driver.execute_async_script(TOOK, words)
    if state == "failed":
        raise RuntimeError(f"the search for {words} failed")
    return float(milliseconds)


def report(title: str, took: dict[str, float]) -> None:
    """Print what each search took, the median and the worst."""
    print(title)
    for words, milliseconds in took.items():
        print(f"{milliseconds:8.0f} ms  {words}")
    worst = max(took.values())
    met = "met" if worst <= TARGET_MS else "not met"
    print(f"median {median(took.values()):.0f} ms, worst {worst:.0f} ms; {TARGET_MS} ms is {met}")


if __name__ == "__main__":
    main()
