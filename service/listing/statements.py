"""The SQL of lists: filters, keyset pagination, counts and snapshots."""

from collections.abc import Callable, Iterator
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Select,
    String,
    Subquery,
    and_,
    bindparam,
    func,
    or_,
    select,
    true,
    union_all,
)
from sqlalchemy.sql.base import ReadOnlyColumnCollection

from service.database.lists import Joined, OneOf
from service.listing.cursor import Key
from service.models import ProductJSON, like, member_columns, products, search_text

# The conditions of a list. A statement is compiled once for each filter, so a filter does not
# depend on the values: each name is a condition with one bind parameter of that name.
Filter = tuple[str, ...]

LISTED = "listed"
LIMIT: BindParameter[Any] = bindparam("limit")
Columns = ReadOnlyColumnCollection[str, Any]


def _folded(columns: Columns) -> ColumnElement[str]:
    return func.search_key(columns.category, type_=String())


CONDITIONS: dict[str, Callable[[Columns, BindParameter[Any]], ColumnElement[bool]]] = {
    "word": lambda c, word: like(search_text(c), word),
    # The first condition is implied by the second one, but has the index.
    "name": lambda c, part: like(search_text(c), part) & like(func.search_key(c.name), part),
    # One value has a condition of its own: PostgreSQL uses the order of an index only with `=`,
    # not with `= ANY`. A category by price takes 0.2 ms instead of 68 ms at 300,000 products.
    "category": lambda c, category: _folded(c) == category,
    "categories": lambda c, categories: OneOf(_folded(c), categories),
    "no_category": lambda c, _: c.category.is_(None),
    "categories_or_none": lambda c, categories: or_(
        OneOf(_folded(c), categories), c.category.is_(None)
    ),
    "status": lambda c, status: c.status == status,
    "statuses": lambda c, statuses: OneOf(c.status, statuses),
    "price": lambda c, price: c.price == price,
    "min_price": lambda c, price: c.price >= price,
    "max_price": lambda c, price: c.price <= price,
    "rating": lambda c, rating: c.rating == rating,
    "min_rating": lambda c, rating: c.rating >= rating,
    "max_rating": lambda c, rating: c.rating <= rating,
    "id": lambda c, id_: c.id == id_,
    "ids": lambda c, ids: OneOf(c.id, ids),
    LISTED: lambda c, ids: OneOf(c.id, ids),
}


def conditions(filter_: Filter, columns: Columns = products.c) -> list[ColumnElement[bool]]:
    """Return the conditions of a filter on columns, with its names as bind parameters."""
    return [CONDITIONS[_kind(name)](columns, bindparam(name)) for name in filter_]


def _kind(name: str) -> str:
    return name.rstrip("0123456789")


def count(filter_: Filter) -> Select[Any]:
    """Return the statement that counts the matching products."""
    return (
        select(func.count())
        .select_from(products)
        .where(*conditions(filter_))
        .execution_options(prepare=not filter_)
    )


def count_up_to(filter_: Filter) -> Select[Any]:
    """Return the statement that counts the matching products, but at most ``most`` of them.

    PostgreSQL plans what is materialized as if all rows were needed, but reads no more than are:
    it trusts no guess of how soon a scan meets ``most`` rows, which may be late.
    """
    found = select(products.c.id).where(*conditions(filter_)).cte("found")
    found = found.prefix_with("MATERIALIZED", dialect="postgresql")
    first = select(found).limit(bindparam("most")).subquery()
    return select(func.count()).select_from(first).execution_options(prepare=False)


def count_among(filter_: Filter) -> Select[Any]:
    """Return the statement that counts the matches among the products that ``LISTED`` has.

    Left to itself, PostgreSQL finds rare words by the index of searches, in twice the time.
    """
    sample = select(products).where(OneOf(products.c.id, bindparam(LISTED))).cte("sample")
    sample = sample.prefix_with("MATERIALIZED", dialect="postgresql")
    counted = select(func.count()).select_from(sample).where(*conditions(filter_, sample.c))
    return counted.execution_options(prepare=False)


def highest_id() -> Select[Any]:
    """Return the statement of the highest id, which is null if there is no product."""
    return select(func.max(products.c.id))


def is_searched(filter_: Filter) -> bool:
    """Return whether a filter looks for a part of a text, which no order of an index has."""
    return any(_kind(name) in {"word", "name"} for name in filter_)


def is_indexed(sort: tuple[Key, ...]) -> bool:
    """Return whether an index has this order; none has that of several columns before the id."""
    return not sort[2:]


def sorted_ids(filter_: Filter, sort: tuple[Key, ...]) -> Select[Any]:
    """Return the statement of all matching ids in order, as decimal numbers with commas.

    One text takes a tenth of the memory that as many rows take.
    """
    found = _matching(filter_)
    ids = select(found.c.id).order_by(*_order(found.c, sort)).subquery()
    return select(Joined(ids.c.id)).execution_options(prepare=False)


def listed(filter_: Filter) -> Select[Any]:
    """Return the statement of the matching products that the parameter ``LISTED`` has.

    Its rows are an id and the product; they have no order.
    """
    found = _matching((*filter_, LISTED))
    return select(found.c.id, ProductJSON(*found.c)).execution_options(prepare=False)


def rows(
    filter_: Filter, sort: tuple[Key, ...], nulls: tuple[bool, ...] | None, skip: bool
) -> Select[Any]:
    """Return the statement of a page; its parameters are ``limit`` and, with ``skip``, ``offset``.

    ``nulls`` is None for the first page. Otherwise it says which values of the position are
    null, and ``after_0``, ``after_1`` and so on are parameters for the values.
    """
    found = _matching(filter_)
    if skip or not is_indexed(sort):
        page = _rendered_last(_page(select(found), found.c, sort, nulls), sort, skip=skip)
    else:
        columns = [ProductJSON(*found.c).label("product"), *(found.c[name] for name, _ in sort)]
        page = _page(select(*columns), found.c, sort, nulls)
        page = page.with_only_columns(page.selected_columns.product)
    # A connection keeps what it prepares: only the few statements that most clients send.
    return page.execution_options(prepare=not filter_ and is_indexed(sort))


def rows_among_next(
    filter_: Filter, sort: tuple[Key, ...], nulls: tuple[bool, ...] | None
) -> Select[Any]:
    """Return the statement of a page, which looks at the next ``near`` products only."""
    every = select(products).subquery(products.name)
    near = _page(select(every), every.c, sort, nulls, bindparam("near")).subquery(products.name)
    found = _matching(filter_, near.c)
    page = select(ProductJSON(*found.c)).order_by(*_order(found.c, sort))
    return page.limit(LIMIT).execution_options(prepare=False)


def rows_among_matches(
    filter_: Filter, sort: tuple[Key, ...], nulls: tuple[bool, ...] | None
) -> Select[Any]:
    """Return the statement of a page for which PostgreSQL finds all matches, and sorts them.

    Left to itself, it reads the products in order until it has a page. It expects matches in
    all parts of the order alike: two words take 1.3 s by name if the last names have them.
    """
    ranges = [and_(*range_) for range_ in _ranges(products.c, sort, nulls)] if nulls else []
    matching = select(*member_columns).where(or_(*ranges or [true()]), *conditions(filter_))
    found = matching.with_statement_hint("OFFSET 0", "postgresql").subquery(products.name)
    page = _rendered_last(_page(select(found), found.c, sort, None), sort)
    return page.execution_options(prepare=False)


def _matching(filter_: Filter, columns: Columns = products.c) -> Subquery:
    """Return the members of the matching products; nothing else may be in their JSON."""
    members = [columns[column.key] for column in member_columns]
    return select(*members).where(*conditions(filter_, columns)).subquery(products.name)


def _rendered_last(page: Select[Any], sort: tuple[Key, ...], *, skip: bool = False) -> Select[Any]:
    """Render only the rows of a page, and not those that are sorted or skipped before."""
    rows = (page.offset(bindparam("offset")) if skip else page).subquery(products.name)
    return select(ProductJSON(*rows.c)).order_by(*_order(rows.c, sort))


def _page(
    selected: Select[Any],
    columns: Columns,
    sort: tuple[Key, ...],
    nulls: tuple[bool, ...] | None,
    limit: BindParameter[Any] = LIMIT,
) -> Select[Any]:
    """Return the first rows after the position.

    This is the union of one SELECT for each range, because an index can return the first rows of
    one range without reading the others.
    """
    branches = [
        selected.where(*range_).order_by(*_order(columns, sort)).limit(limit)
        for range_ in (_ranges(columns, sort, nulls) if nulls else [[]])
    ]
    if len(branches) == 1:
        return branches[0]
    ranges = union_all(*(select(branch.subquery()) for branch in branches)).subquery()
    return select(ranges).order_by(*_order(ranges.c, sort)).limit(limit)


def _ranges(
    columns: Columns, sort: tuple[Key, ...], nulls: tuple[bool, ...]
) -> Iterator[list[ColumnElement[bool]]]:
    """Yield the conditions of each range after the position, the nearest range first.

    The first range has equal values in all columns but the last, and a later value there. The
    second one has equal values in all columns but the last two, and so on. Null sorts after all
    values.
    """
    sorted_ = [columns[name] for name, _ in sort]
    for last in reversed(range(len(sort))):
        equal = [
            column.is_(None) if nulls[i] else column == bindparam(f"after_{i}")
            for i, column in enumerate(sorted_[:last])
        ]
        for later in _later(sorted_[last], last, sort[last][1], nulls[last]):
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


def _order(columns: Columns, sort: tuple[Key, ...]) -> Iterator[ColumnElement[Any]]:
    for name, descends in sort:
        column, nullable = columns[name], products.c[name].nullable
        if descends:
            yield column.desc().nulls_first() if nullable else column.desc()
        else:
            yield column.asc().nulls_last() if nullable else column.asc()
