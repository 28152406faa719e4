"""Lists of values as one: in a bind parameter, whatever their length; and in a result."""

from typing import Any

from sqlalchemy import JSON, BindParameter, ColumnElement, Text, bindparam
from sqlalchemy.dialects.postgresql import ARRAY

from service.database.dialects import Differing


class OneOf(Differing):
    """Whether an expression is equal to an item of a bound list.

    It has no type: SQLAlchemy would compare a Boolean with 1 on SQLite, which then uses no index.
    """

    inherit_cache = True

    def __init__(self, expression: ColumnElement[Any], items: BindParameter[Any]) -> None:
        array = ARRAY(expression.type).with_variant(JSON(), "sqlite")
        super().__init__(
            "({0} = ANY({1}))",
            "({0} IN (SELECT value FROM json_each({1})))",
            expression,
            bindparam(items.key, type_=array),
        )


class Joined(Differing):
    """The numbers of all rows of an ordered subquery, in their order, as text with commas."""

    inherit_cache = True

    def __init__(self, number: ColumnElement[int]) -> None:
        super().__init__(
            "string_agg({0}::text, ',')", "group_concat({0}, ',')", number, type_=Text()
        )
