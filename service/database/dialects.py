"""Expressions that PostgreSQL and SQLite write differently."""

from typing import Any

from sqlalchemy import ColumnElement
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import NullType, TypeEngine


class Differing(FunctionElement[Any]):
    """An expression with a template for each database, in which ``{0}`` is its first clause.

    SQLAlchemy does not cache a statement with one. A subclass that has its own templates can say
    ``inherit_cache = True``.
    """

    inherit_cache = False

    def __init__(
        self,
        postgresql: str,
        sqlite: str,
        *clauses: ColumnElement[Any],
        type_: TypeEngine[Any] | None = None,
    ) -> None:
        super().__init__(*clauses)
        self.templates = {"postgresql": postgresql, "sqlite": sqlite}
        self.type = type_ or NullType()


@compiles(Differing)
def _write(element: Differing, compiler: SQLCompiler, **kw: Any) -> str:
    clauses = [compiler.process(clause, **kw) for clause in element.clauses]
    return element.templates[compiler.dialect.name].format(*clauses)
