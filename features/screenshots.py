"""Makes the pictures of the page in docs/ anew, from the demo catalogue."""

from pathlib import Path
from tempfile import TemporaryDirectory

from features.accessibility import look
from features.browser import browser
from features.catalogue import Colleague, OwnService
from features.page import BUTTONS, Page

DOCS = Path(__file__).parent.parent / "docs"
SIZE = (1440, 900)


def main() -> None:
    """Take the pictures."""
    with TemporaryDirectory() as folder, browser() as driver:
        service = OwnService(Path(folder), "db-seed")
        page = Page(driver, service.url, "")
        take_list(page)
        take_import(page, Path(folder) / "autumn prices.csv")
        take_history(page, Colleague(service.url, ""))
        take_conflict(page, Colleague(service.url, ""))
        service.stop()


def take_list(page: Page) -> None:
    """Take the list with a product in the editor."""
    look(page.driver, SIZE)
    page.open_plain()
    page.wait(lambda: page.text("#status_tabs").count("9") >= 1, "the counts are there")
    page.click("#search_results tr:nth-child(3) [data-action='edit']")
    page.settle_editor()
    page.driver.save_screenshot(str(DOCS / "page-list.png"))


def take_history(page: Page, colleague: Colleague) -> None:
    """Take the history of the product in the editor, after a bulk change and one of a colleague."""
    page.press("Select all")
    page.press("Set price")
    page.set("by", "10")
    page.set("ending", ".95 ending")
    page.press("Apply")
    page.wait(lambda: "have been updated" in page.text("#flash_message"), "all is changed")
    page.click("#flash-close-btn")
    colleague.change(page.value("Name"), rating=5, status="inactive")
    page.press("History")
    page.one(BUTTONS["Undo this request"])
    page.driver.save_screenshot(str(DOCS / "page-history.png"))
    page.press("Product tab")


def take_conflict(page: Page, colleague: Colleague) -> None:
    """Take the choice between what two people have changed."""
    page.settle_editor()
    name = page.value("Name")
    colleague.change(name, price=24.95, category="Outdoor")
    page.set("Price", "19.95")
    page.set("Rating", "5")
    page.press("Save")
    page.one("#conflict_dialog tr[data-member]")
    page.driver.save_screenshot(str(DOCS / "page-conflict.png"))


def take_import(page: Page, file: Path) -> None:
    """Take what a file of prices would change."""
    prices = ["24.95", "29.95", "1,800", "22.95", "44.95"]
    rows = ["id;price", *(f"{number};{price}" for number, price in enumerate(prices, 2))]
    file.write_text("\n".join(rows))
    page.press("Import…")
    page.one("#import_file").send_keys(str(file))
    page.one("#import_cells_changed tr")
    page.driver.save_screenshot(str(DOCS / "page-import.png"))
    page.press("Close import")


if __name__ == "__main__":
    main()
