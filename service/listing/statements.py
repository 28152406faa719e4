"""The SQL of lists: filters, keyset pagination and counts."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Select,
    and_,
    bindparam,
    func,
    select,
    union_all,
)
from sqlalchemy.sql.base import ReadOnlyColumnCollection

from service.listing.cursor import Key
from service.models import SEARCH_TEXT, ProductJSON, catalogue, like, product_json

Parameters = list[BindParameter[Any]]
CONDITIONS: dict[str, Callable[[Parameters], ColumnElement[bool]]] = {
    "word": lambda words: and_(*(like(SEARCH_TEXT, word) for word in words)),
    # The first condition is implied by the second one, but has the index.
    "name": lambda parts: (
        like(SEARCH_TEXT, parts[0]) & like(func.search_key(catalogue.c.name), parts[0])
    ),
    "category": func.search_key(catalogue.c.category).in_,
    "status": catalogue.c.status.in_,
    "lowest": lambda prices: catalogue.c.price >= prices[0],
    "highest": lambda prices: catalogue.c.price <= prices[0],
    "rating": lambda ratings: catalogue.c.rating == ratings[0],
    "min_rating": lambda ratings: catalogue.c.rating >= ratings[0],
    "id": catalogue.c.id.in_,
}


@dataclass(frozen=True)
class Filter:
    """The conditions of a list, each with the number of its values.

    The values are bind parameters, so that lists with the same conditions share a statement.
    """

    counts: tuple[tuple[str, int], ...]

    def conditions(self) -> list[ColumnElement[bool]]:
        """Return the conditions as SQL expressions."""
        return [
            CONDITIONS[name]([bindparam(f"{name}_{i}") for i in range(count)])
            for name, count in self.counts
        ]


@lru_cache(maxsize=256)
def count(filter_: Filter) -> Select[Any]:
    """Return the statement that counts the matching products."""
    return (
        select(func.count())
        .select_from(catalogue)
        .where(*filter_.conditions())
        .execution_options(prepare=not filter_.counts)
    )


@lru_cache(maxsize=256)
def rows(
    filter_: Filter, sort: tuple[Key, ...], nulls: tuple[bool, ...] | None, skip: bool
) -> Select[Any]:
    """Return the statement of a page; its parameters are ``limit`` and, with ``skip``, ``offset``.

    ``nulls`` is None for the first page. Otherwise it says which values of the position are
    null, and ``after_0``, ``after_1`` and so on are parameters for the values.
    """
    # No index has the order of several columns, so the rows are sorted. Then only the rows of the
    # page are rendered, not those that were sorted or skipped.
    is_rendered_last = skip or bool(sort[1:-1])
    columns = [product_json.label("product"), *(catalogue.c[name] for name, _ in sort)]
    selected = select(*(catalogue.c if is_rendered_last else columns))
    page = _page(selected.where(*filter_.conditions()), sort, nulls)
    if skip:
        page = page.offset(bindparam("offset"))
    if is_rendered_last:
        rows = page.subquery(catalogue.name)
        page = select(ProductJSON(*rows.c)).order_by(*_order(rows.c, sort))
    else:
        page = page.with_only_columns(page.selected_columns.product)
    return page.execution_options(prepare=not filter_.counts)


def _page(
    selected: Select[Any], sort: tuple[Key, ...], nulls: tuple[bool, ...] | None
) -> Select[Any]:
    """Return the first rows after the position.

    This is the union of one SELECT for each range, because an index can return the first rows of
    one range without reading the others.
    """
    branches = [
        selected.where(*conditions).order_by(*_order(catalogue.c, sort)).limit(bindparam("limit"))
        for conditions in (_ranges(sort, nulls) if nulls else [[]])
    ]
    if len(branches) == 1:
        return branches[0]
    ranges = union_all(*(select(branch.subquery()) for branch in branches)).subquery()
    return select(ranges).order_by(*_order(ranges.c, sort)).limit(bindparam("limit"))


def _ranges(sort: tuple[Key, ...], nulls: tuple[bool, ...]) -> Iterator[list[ColumnElement[bool]]]:
    """Yield the conditions of each range after the position, the nearest range first.

    The first range has equal values in all columns but the last, and a later value there. The
    second one has equal values in all columns but the last two, and so on. Null sorts after all
    values.
    """
    columns = [catalogue.c[name] for name, _ in sort]
    for last in reversed(range(len(sort))):
        equal = [
            column.is_(None) if nulls[i] else column == bindparam(f"after_{i}")
            for i, column in enumerate(columns[:last])
        ]
        for later in _later(columns[last], last, sort[last][1], nulls[last]):
            yield [*equal, later]


def _later(
    column: ColumnElement[Any], index: int, descends: bool, is_null: bool
) -> Iterator[ColumnElement[bool]]:
    """Yield the conditions that a column is after its value in the position."""
    value: BindParameter[Any] = bindparam(f"after_{index}")
    if descends:
        yield column.is_not(None) if is_null else column < value
    elif not is_null:
        yield column > value
        if column.nullable:
            yield column.is_(None)


def _order(
    columns: ReadOnlyColumnCollection[str, Any], sort: tuple[Key, ...]
) -> Iterator[ColumnElement[Any]]:
    for name, descends in sort:
        column, nullable = columns[name], catalogue.c[name].nullable
        if descends:
            yield column.desc().nulls_first() if nullable else column.desc()
        else:
            yield column.asc().nulls_last() if nullable else column.asc()
