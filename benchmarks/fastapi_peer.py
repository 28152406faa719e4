"""FastAPI in its own tuned idiom: async SQLAlchemy ORM on asyncpg, `response_model`, uvloop.

Reads and the one-statement insert run in autocommit, and a connection goes back to its pool
without a rollback: that spares FastAPI two round trips a request.
"""

from collections.abc import Sequence
from typing import Annotated, Literal, get_args

from fastapi import FastAPI, HTTPException, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Enum, Numeric, String, func, select
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

MAX_INT = 2**31 - 1
Status = Literal["active", "disabled", "inactive"]

# The place of the database is in libpq's environment variables, which asyncpg reads as well.
engine = create_async_engine(
    "postgresql+asyncpg://",
    isolation_level="AUTOCOMMIT",
    pool_size=8,
    max_overflow=0,
    pool_reset_on_return=None,
)
Session = async_sessionmaker(engine, expire_on_commit=False)
app = FastAPI()


class Base(DeclarativeBase):
    """The root of the one table."""


class Product(Base):
    """A row of the service's table."""

    __tablename__ = "products"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(255))
    img_url: Mapped[str]
    description: Mapped[str | None]
    price: Mapped[float] = mapped_column(Numeric(12, 2, asdecimal=False))
    rating: Mapped[int]
    category: Mapped[str | None]
    status: Mapped[str] = mapped_column(Enum(*get_args(Status), name="status"))


class NewProduct(BaseModel):
    """What a client sends."""

    name: Annotated[str, Field(min_length=1, max_length=255)]
    img_url: Annotated[str, Field(min_length=1, max_length=2048)]
    description: Annotated[str | None, Field(max_length=10_000)] = None
    price: Annotated[float, Field(ge=0, le=9_999_999_999.99)]
    rating: Annotated[int, Field(ge=0, le=MAX_INT)] = 0
    category: Annotated[str | None, Field(max_length=255)] = None
    status: Status = "active"


class StoredProduct(BaseModel):
    """What a client gets."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    name: str
    img_url: str
    description: str | None
    price: float
    rating: int
    category: str | None
    status: Status


@app.get("/products/{product_id}", response_model=StoredProduct)
async def read_product(product_id: int) -> Product:
    """Read a product."""
    async with Session() as session:
        product = await session.get(Product, product_id)
    if product is None:
        raise HTTPException(404)
    return product


@app.get("/products", response_model=list[StoredProduct])
async def list_products(
    request: Request,
    response: Response,
    *,
    limit: Annotated[int, Query(ge=1, le=1000)],
    cursor: int = 0,
    category: str | None = None,
    status: Status | None = None,
    sort: Literal["id", "-price"] = "id",
) -> Sequence[Product]:
    """Give a page of products; its cursor is the id of the last one."""
    page = select(Product).limit(limit + 1)
    if cursor:
        page = page.where(Product.id > cursor)
    if category is not None:
        page = page.where(func.fold(Product.category) == func.fold(category))
    if status is not None:
        page = page.where(Product.status.in_([status]))
    page = page.order_by(*([Product.price.desc()] if sort == "-price" else []), Product.id)
    async with Session() as session:
        products = (await session.scalars(page)).all()
    if len(products) > limit:
        products = products[:limit]
        following = request.url.include_query_params(cursor=products[-1].id)
        response.headers["Link"] = f'<{following}>; rel="next"'
    return products


@app.post("/products", status_code=201, response_model=StoredProduct)
async def create_product(new: NewProduct, response: Response) -> Product:
    """Create a product."""
    product = Product(**new.model_dump())
    async with Session() as session:
        session.add(product)
        await session.commit()
    response.headers["Location"] = f"/products/{product.id}"
    return product
