"""The rooms of the package: which may import which, and which know nothing of products."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SERVICE = Path(__file__).parent.parent / "service"
# What each room may import of the service, besides itself: imports point down.
ALLOWED: dict[str, set[str]] = {
    "config": {"database_uri"},
    "database_uri": set(),
    "server": {"config"},
    "metrics": {"config"},
    "database": {"config"},
    "common": {"config", "database", "server"},
    "http": {"config", "common", "database", "metrics"},
    "models": {"database"},
    "schemas": {"common", "database", "http", "models"},
    "listing": {"common", "database", "http", "models", "schemas"},
    "changes": {"common", "database", "http", "models", "schemas"},
    "files": {"common", "database", "http", "listing", "models", "schemas"},
    "openapi": {"common", "config", "files", "http", "models", "schemas"},
    "routes": {
        *("changes", "common", "database", "files", "http", "listing", "models", "openapi"),
        "schemas",
    },
}
GENERAL = {"common", "database", "database_uri", "http", "server"}


def room_of(path: Path) -> str:
    """Return the folder or the module below the package that a file belongs to."""
    return path.relative_to(SERVICE).with_suffix("").parts[0]


def imported_rooms(source: Path) -> Iterator[str]:
    """Yield the rooms that a file imports."""
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "service":
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("service."):
            yield str(node.module).split(".")[1]


SOURCES = [path for path in sorted(SERVICE.rglob("*.py")) if room_of(path) in ALLOWED]


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(SERVICE)))
def test_imports_point_down(source: Path) -> None:
    room = room_of(source)

    assert set(imported_rooms(source)) - {room} <= ALLOWED[room]


@pytest.mark.parametrize(
    "source",
    [path for path in SOURCES if room_of(path) in GENERAL],
    ids=lambda path: str(path.relative_to(SERVICE)),
)
def test_a_general_room_knows_nothing_of_products(source: Path) -> None:
    assert "product" not in source.read_text().lower()
