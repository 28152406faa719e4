"""The page at /, what it is made of, and what browsers are allowed to do with any answer."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.datastructures import Headers

from service import demo
from service.files.importing import MAX_FILE_BYTES
from service.files.reading import MAX_ROWS
from service.models import (
    CATEGORY_LENGTH,
    DESCRIPTION_LENGTH,
    IMG_URL_LENGTH,
    MAX_PRICE,
    MAX_RATING,
    NAME_LENGTH,
    PRICE_DECIMALS,
)
from service.schemas import MAX_SEARCH_LENGTH
from tests.factories import product_body

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"
MODULES = sorted(Path("service/static/page").glob("*.js"))
CLOSED = {"default-src": "'none'", "frame-ancestors": "'none'"}
NAMES = {
    "input": [
        "product_id product_name product_img_url product_price product_rating product_category",
        "search_text filter_category filter_min_price filter_max_price",
    ],
    "textarea": ["product_description"],
    "select": ["product_status filter_status"],
    "button": ["new-btn save-btn delete-btn clear-btn search-btn reset-btn"],
    "tbody": ["search_results"],
    "span": ["result_count"],
    "p": ["flash_message"],
}


class Elements(HTMLParser):
    """The start tags of a page, in their order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def by_id(self, name: str) -> tuple[str, dict[str, str]]:
        (found,) = [each for each in self.tags if each[1].get("id") == name]
        return found

    def links(self) -> Iterator[str]:
        for _, attributes in self.tags:
            yield from (attributes[name] for name in ("src", "href") if name in attributes)


@pytest.fixture
def client(sqlite_app: Flask) -> FlaskClient:
    """Give a client on one database: the page asks none."""
    return sqlite_app.test_client()


@pytest.fixture
def page(client: FlaskClient) -> str:
    return client.get("/", headers={"Accept": BROWSER}).text


@pytest.fixture
def elements(page: str) -> Elements:
    return Elements(page)


def ask(client: FlaskClient, path: str, method: str = "GET") -> tuple[int, Headers]:
    """Return the status and the headers of an answer, and close the file that it may be of."""
    with client.open(path, method=method) as response:
        return response.status_code, response.headers


def policy(header: str) -> dict[str, str]:
    directives = (directive.strip().partition(" ") for directive in header.split(";"))
    return {name: sources for name, _, sources in directives}


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        (BROWSER, "text/html; charset=utf-8"),
        ("text/html", "text/html; charset=utf-8"),
        ("text/html, */*", "text/html; charset=utf-8"),
        ("application/json;q=0.5, text/html;q=0.9", "text/html; charset=utf-8"),
        (None, "application/json"),
        ("*/*", "application/json"),
        ("application/json", "application/json"),
        ("application/json, text/html;q=0.9", "application/json"),
        ("image/png", "application/json"),
    ],
)
def test_only_who_prefers_html_gets_the_page(
    client: FlaskClient, accept: str | None, content_type: str
) -> None:
    response = client.get("/", headers={"Accept": accept} if accept else {})

    assert response.status_code == 200
    assert response.headers["Content-Type"] == content_type
    assert response.headers["Vary"] == "Accept"


def test_others_learn_what_this_service_is(client: FlaskClient) -> None:
    service = client.get("/").get_json()

    assert (service["name"], service["version"]) == (
        "products",
        client.application.config["VERSION"],
    )
    assert "/products/{id}" in service["paths"]


@pytest.mark.parametrize(
    ("tag", "name"),
    [(tag, name) for tag, names in NAMES.items() for name in " ".join(names).split()],
)
def test_the_page_has_the_fixed_names(elements: Elements, tag: str, name: str) -> None:
    assert elements.by_id(name)[0] == tag


def test_the_title_says_what_it_is_about(page: str) -> None:
    assert "<title>Products</title>" in page


@pytest.mark.parametrize(
    ("name", "limits"),
    [
        ("product_name", {"data-max-length": NAME_LENGTH}),
        ("product_img_url", {"data-max-length": IMG_URL_LENGTH}),
        ("product_description", {"data-max-length": DESCRIPTION_LENGTH}),
        ("product_category", {"data-max-length": CATEGORY_LENGTH}),
        ("product_price", {"data-max": MAX_PRICE, "data-decimals": PRICE_DECIMALS}),
        ("product_rating", {"data-max": MAX_RATING, "data-decimals": 0}),
        ("search_text", {"maxlength": MAX_SEARCH_LENGTH}),
        ("filter_category", {"maxlength": MAX_SEARCH_LENGTH}),
        ("import_file", {"data-max-bytes": MAX_FILE_BYTES, "data-max-rows": MAX_ROWS}),
    ],
)
def test_the_limits_are_those_of_the_service(
    elements: Elements, name: str, limits: dict[str, object]
) -> None:
    _, attributes = elements.by_id(name)

    assert (
        limits.items()
        <= {
            limit: type(most)(attributes[limit])  # type: ignore[call-arg]  # of str, int or Decimal
            for limit, most in limits.items()
        }.items()
    )


@pytest.mark.parametrize(
    ("name", "kind", "value"),
    [
        ("name", "required", ""),
        ("name", "blank", " "),
        ("name", "too-long", "x" * (NAME_LENGTH + 1)),
        ("img_url", "blank", "\t"),
        ("description", "too-long", "x" * (DESCRIPTION_LENGTH + 1)),
        ("category", "too-long", "x" * (CATEGORY_LENGTH + 1)),
        ("price", "pattern-told", "abc"),
        ("price", "too-fine", 9.999),
        ("price", "too-small", -1),
        ("price", "too-large", 10**10),
        ("rating", "pattern-told", "abc"),
        ("rating", "too-fine", 4.5),
        ("rating", "too-small", -1),
        ("rating", "too-large", 2**31),
    ],
)
def test_the_page_says_of_a_fault_what_the_service_says(
    client: FlaskClient, elements: Elements, name: str, kind: str, value: object
) -> None:
    _, attributes = elements.by_id(f"product_{name}")

    refused = client.post("/products", json=product_body(**{name: value}))

    assert refused.get_json()["errors"] == [
        {"pointer": f"/{name}", "detail": attributes[f"data-{kind}"]}
    ]


def test_the_statuses_can_be_chosen_by_name(page: str) -> None:
    select = page.partition('id="product_status"')[2].partition("</select>")[0]

    assert re.findall(r'<option value="(\w+)">(\w+)<', select) == [
        ("active", "Active"),
        ("inactive", "Inactive"),
        ("disabled", "Disabled"),
    ]


def test_the_page_is_made_of_files_of_this_service_alone(
    client: FlaskClient, elements: Elements
) -> None:
    links = list(elements.links())

    assert {link: ask(client, link)[0] for link in links} == dict.fromkeys(links, 200)
    assert all(re.match(r"/static/page/[a-z]+\.(js|css|svg)$", link) for link in links)


def test_nothing_of_the_page_is_inline(elements: Elements) -> None:
    assert all(tag != "style" for tag, _ in elements.tags)
    assert all("src" in attributes for tag, attributes in elements.tags if tag == "script")
    assert not [
        name for _, attributes in elements.tags for name in attributes if re.match("on|style", name)
    ]


def test_every_module_is_fetched_at_once(elements: Elements) -> None:
    preloaded = {
        attributes["href"]
        for _, attributes in elements.tags
        if attributes.get("rel") == "modulepreload"
    }

    assert preloaded == {f"/static/page/{module.name}" for module in MODULES}


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.name)
def test_a_module_imports_modules_that_are_there_and_inserts_text_as_text(module: Path) -> None:
    text = module.read_text()

    assert not re.search(
        "innerHTML|outerHTML|insertAdjacentHTML|document.write|eval|Function", text
    )
    imports = re.findall(r'^(?:import|\} from|import .* from) "(.*)";$', text, re.MULTILINE)
    assert {module.parent / path for path in imports} <= set(MODULES)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 200),
        ("GET", "/health", 200),
        ("GET", "/openapi.json", 200),
        ("GET", "/products", 200),
        ("HEAD", "/products?limit=1", 200),
        ("OPTIONS", "/products", 200),
        ("POST", "/products", 415),
        ("GET", "/products?limit=0", 400),
        ("GET", "/products/7", 404),
        ("DELETE", "/products/7", 204),
        ("DELETE", "/", 405),
        ("GET", "/nowhere", 404),
        ("GET", "/static/page/main.js", 200),
        ("GET", "/static/page/nowhere.js", 404),
        ("GET", "/apidocs/swagger-ui.css", 200),
    ],
)
def test_a_browser_may_do_nothing_with_an_answer(
    client: FlaskClient, method: str, path: str, status: int
) -> None:
    answered, headers = ask(client, path, method)

    assert answered == status
    assert policy(headers["Content-Security-Policy"]) == CLOSED
    assert headers.getlist("X-Content-Type-Options") == ["nosniff"]
    assert headers.getlist("Referrer-Policy") == ["no-referrer"]


@pytest.mark.parametrize("path", ["/static/page/main.js", "/apidocs/swagger-ui.css"])
def test_a_file_that_is_not_meant_is_a_problem(client: FlaskClient, path: str) -> None:
    response = client.get(path, headers={"If-Match": '"x"'})

    assert (response.status_code, response.mimetype) == (412, "application/problem+json")
    assert response.get_json()["status"] == 412
    assert response.content_length == len(response.data)


def test_nor_with_an_answer_of_500(sqlite_app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise RuntimeError

    monkeypatch.setitem(sqlite_app.view_functions, "operations.get_health", fail)
    monkeypatch.setitem(sqlite_app.config, "PROPAGATE_EXCEPTIONS", value=False)

    response = sqlite_app.test_client().get("/health")

    assert response.status_code == 500
    assert policy(response.headers["Content-Security-Policy"]) == CLOSED
    assert response.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    ("path", "pictures"), [("/", "* data:"), ("/apidocs", "'self' data:")], ids=["page", "apidocs"]
)
def test_a_page_may_use_this_service_alone_and_show_pictures(
    client: FlaskClient, path: str, pictures: str
) -> None:
    response = client.get(path, headers={"Accept": BROWSER})

    assert response.headers.getlist("X-Content-Type-Options") == ["nosniff"]
    assert response.headers.getlist("Referrer-Policy") == ["no-referrer"]
    (header,) = response.headers.getlist("Content-Security-Policy")
    assert policy(header) == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "connect-src": "'self'",
        "font-src": "'self'",
        "img-src": pictures,
        "frame-ancestors": "'none'",
        "form-action": "'self'",
        "base-uri": "'none'",
    }


def test_the_demo_catalogue_has_pictures_of_this_service(client: FlaskClient) -> None:
    pictures = {str(product["img_url"]) for product in demo.products(500)}

    assert len(pictures) > len(demo.CATEGORIES)
    types = {ask(client, picture)[1]["Content-Type"] for picture in pictures}
    assert types == {"image/svg+xml; charset=utf-8"}
