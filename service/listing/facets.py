"""Facets: how many products of a filter have each status and category, and their prices."""

from typing import Any

from sqlalchemy import (
    CTE,
    ColumnElement,
    Select,
    Text,
    and_,
    cast,
    func,
    literal,
    null,
    select,
    true,
    union_all,
)

from service.database import Recipe, execute
from service.listing import Listing
from service.listing.statements import Filter, conditions
from service.models import Status, products
from service.schemas import MAX_CATEGORIES

NO_PRICE = cast(null(), products.c.price.type)
# The conditions of each facet; its own counts ignore them.
STATUS = {"status", "statuses"}
CATEGORY = {"category", "categories", "no_category", "categories_or_none"}
PRICE = {"price", "min_price", "max_price"}


def facets(listing: Listing) -> dict[str, Any]:
    """Return the facets of a listing's filter, in one round trip."""
    rows = execute(Recipe(_statement, (listing.filter,)), listing.values)
    ((total, lowest, highest),) = [row[2:] for row in rows if row[0] == "price"]
    statuses = {value: count for facet, value, count, *_ in rows if facet == "status"}
    categories = [(value, int(count)) for facet, value, count, *_ in rows if facet == "category"]
    categories.sort(key=lambda facet: (-facet[1], facet[0] is None, facet[0]))
    return {
        "total": int(total or 0),
        "status": {status: int(statuses.get(status, 0)) for status in Status},
        "category": [{"value": value, "count": count} for value, count in categories],
        "price": None if lowest is None else {"min": float(lowest), "max": float(highest)},
    }


def _statement(filter_: Filter) -> Select[Any]:
    """Return the statement of the facets: it groups the products once, then sums the groups."""
    groups = _groups(filter_)
    by_status = _counted("status", groups, groups.c.status, _only(filter_, CATEGORY, groups))
    by_category = _counted("category", groups, groups.c.category, _only(filter_, STATUS, groups))
    most_frequent = (
        by_category.order_by(func.sum(groups.c.count).desc(), groups.c.category.nulls_last())
        .limit(MAX_CATEGORIES)
        .subquery()
    )
    prices = select(
        literal("price").label("facet"),
        null().label("value"),
        func.sum(groups.c.count).label("count"),
        func.min(groups.c.lowest).label("lowest"),
        func.max(groups.c.highest).label("highest"),
    ).where(_only(filter_, STATUS | CATEGORY, groups))
    rows = union_all(prices, by_status, select(most_frequent)).subquery()
    return select(rows).execution_options(prepare=not filter_)


def _groups(filter_: Filter) -> CTE:
    """Group the products by status and category, with all conditions but those of the facets.

    The conditions on prices apply to a group's count, but not to its lowest and highest price.
    """
    status, category, price = (products.c[name] for name in ("status", "category", "price"))
    return (
        select(
            status,
            category,
            func.count().filter(_only(filter_, PRICE)).label("count"),
            func.min(price).label("lowest"),
            func.max(price).label("highest"),
        )
        .where(_only(filter_, set(filter_) - STATUS - CATEGORY - PRICE))
        .group_by(status, category)
        .cte("facet_groups")
    )


def _counted(
    facet: str, groups: CTE, value: ColumnElement[Any], condition: ColumnElement[bool]
) -> Select[Any]:
    """Return the rows of a facet: each value with the count of its products."""
    count = func.sum(groups.c.count)
    counted: Select[Any] = (
        select(
            literal(facet).label("facet"),
            cast(value, Text).label("value"),
            count.label("count"),
            NO_PRICE.label("lowest"),
            NO_PRICE.label("highest"),
        )
        .where(condition)
        .group_by(value)
        .having(count > 0)
    )
    return counted


def _only(filter_: Filter, names: set[str], groups: CTE | None = None) -> ColumnElement[bool]:
    """Return the conditions of these names, on the columns of ``groups`` if it is given."""
    kept = tuple(name for name in filter_ if name in names)
    return and_(true(), *conditions(kept, products.c if groups is None else groups.c))
