"""Lists of values as one: in a bind parameter, whatever their length; and in a result."""

from typing import Any

from sqlalchemy import JSON, BindParameter, ColumnElement, Text, bindparam
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement


class OneOf(FunctionElement[Any]):
    """Whether an expression is equal to an item of a list; see ``one_of``.

    It has no type: SQLAlchemy would compare a Boolean with 1 on SQLite, which then uses no index.
    """

    name = "one_of"
    inherit_cache = True


def one_of(expression: ColumnElement[Any], items: BindParameter[Any]) -> OneOf:
    """Return the condition that an expression is equal to an item of the bound list."""
    array = ARRAY(expression.type).with_variant(JSON(), "sqlite")
    return OneOf(expression, bindparam(items.key, type_=array))


@compiles(OneOf, "postgresql")
def _any(element: OneOf, compiler: SQLCompiler, **kw: Any) -> str:
    expression, items = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"({expression} = ANY({items}))"


@compiles(OneOf, "sqlite")
def _in_json(element: OneOf, compiler: SQLCompiler, **kw: Any) -> str:
    expression, items = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"({expression} IN (SELECT value FROM json_each({items})))"  # noqa: S608  # compiled SQL


class Joined(FunctionElement[str]):
    """The numbers of all rows of an ordered subquery, in their order, as text with commas."""

    name = "joined"
    type = Text()
    inherit_cache = True


@compiles(Joined, "postgresql")
def _string_agg(element: Joined, compiler: SQLCompiler, **kw: Any) -> str:
    return f"string_agg({compiler.process(element.clauses, **kw)}::text, ',')"


@compiles(Joined, "sqlite")
def _group_concat(element: Joined, compiler: SQLCompiler, **kw: Any) -> str:
    return f"group_concat({compiler.process(element.clauses, **kw)}, ',')"
