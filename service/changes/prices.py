"""The lowest price before a reduction (Directive 98/6/EC, article 6a), from the record of changes.

A change ends a state of its product: that in its ``before``. The product as it is now is the last
state. A state begins when the one before ends.
"""

from sqlalchemy import (
    BindParameter,
    Text,
    bindparam,
    cast,
    false,
    func,
    literal,
    or_,
    select,
    union_all,
)

from service.database import execute
from service.database.dialects import Differing
from service.database.times import earlier, now, rfc3339
from service.models import PRICE_DECIMALS, Op, Status, catalogue, change_log, changes

LAST = 2**63 - 2
AFTER_ALL = 2**63 - 1

_id: BindParameter[int] = bindparam("product_id")
_price_before = Differing(
    "CAST(CAST({0} AS json) ->> 'price' AS numeric)",
    "json_extract({0}, '$.price')",
    changes.c.before,
    type_=catalogue.c.price.type,
)
_status_before = Differing(
    "(CAST({0} AS json) ->> 'status')",
    "json_extract({0}, '$.status')",
    changes.c.before,
    type_=Text(),
)
_states = union_all(
    select(
        changes.c.seq,
        changes.c.at.label("ends"),
        _price_before.label("price"),
        _status_before.label("status"),
    ).where(changes.c.product_id == _id),
    select(literal(LAST), now, catalogue.c.price, cast(catalogue.c.status, Text)).where(
        catalogue.c.id == _id
    ),
).subquery("states")
_dated = select(
    _states, func.lag(_states.c.ends).over(order_by=_states.c.seq).label("begins")
).subquery("dated")
# Only the states in which the product was on sale, each with the price of the one before.
_on_sale = (
    select(_dated, func.lag(_dated.c.price).over(order_by=_dated.c.seq).label("last_price"))
    .where(_dated.c.status == Status.ACTIVE.value)
    .cte("on_sale")
)
_reduction = (
    select(_on_sale.c.seq, _on_sale.c.begins)
    .where(_on_sale.c.price < _on_sale.c.last_price)
    .order_by(_on_sale.c.seq.desc())
    .limit(1)
    .cte("reduction")
)
_to = func.coalesce(select(_reduction.c.begins).scalar_subquery(), now)
_from = earlier(_to, bindparam("days"))
_lowest = select(func.min(_on_sale.c.price)).where(
    _on_sale.c.seq < func.coalesce(select(_reduction.c.seq).scalar_subquery(), AFTER_ALL),
    _on_sale.c.ends > _from,
)
_first = (
    select(changes.c.op, changes.c.at)
    .where(changes.c.product_id == _id)
    .order_by(changes.c.seq)
    .limit(1)
    .cte("first")
)
_is_complete = or_(
    select(change_log.c.complete_since <= _from).scalar_subquery(),
    func.coalesce(
        select(or_(_first.c.op == Op.CREATE.value, _first.c.at <= _from)).scalar_subquery(), false()
    ),
)
_statement = select(_lowest.scalar_subquery(), rfc3339(_from), rfc3339(_to), _is_complete).where(
    catalogue.c.id == _id
)


def lowest(product_id: int, days: int) -> dict[str, object] | None:
    """Return the lowest price within the days before the latest reduction; None if no product.

    Without a reduction it is the lowest of the days before now. The price is null if the product
    was never on sale in that time.
    """
    rows = execute(_statement, {"product_id": product_id, "days": days})
    for price, begin, end, is_complete in rows:
        rounded = None if price is None else round(float(price), PRICE_DECIMALS)
        return {"price": rounded, "from": begin, "to": end, "complete": bool(is_complete)}
    return None
