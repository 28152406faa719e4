"""The lowest price of the days before the latest reduction (Directive 98/6/EC, article 6a)."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.factories import product_body
from tests.helpers import execute, on_sqlite_only

PATH = "/products/1/lowest-price"
# A change: how many days ago it was made, and the members that it set; None is a deletion.
Change = tuple[float, dict[str, Any] | None]


def days_ago(days: float) -> datetime:
    return datetime.now(UTC) - timedelta(days=days)


def moment(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.") + f"{time.microsecond // 1000:03}Z"


def live_through(client: FlaskClient, changes: list[Change]) -> None:
    """Make changes of product 1, the first of which creates it, and date them back."""
    app = client.application
    for number, (days, members) in enumerate(changes):
        if number == 0:
            response = client.post(
                "/products", json=product_body(status="active") | (members or {})
            )
        elif members is None:
            response = client.delete("/products/1")
        elif client.get("/products/1").status_code == 404:
            body = product_body(status="active") | members
            response = client.put("/products/1", json=body, headers={"If-None-Match": "*"})
        else:
            response = client.patch("/products/1", json=members)
        assert response.status_code < 300, response.text
        latest = "(SELECT max(seq) FROM product_changes)"
        execute(
            app, f"UPDATE product_changes SET at = '{moment(days_ago(days))}' WHERE seq = {latest}"
        )


def begin_record(app: Flask, days: float) -> None:
    """Have the record of changes begin some days ago."""
    execute(app, f"UPDATE product_change_log SET complete_since = '{moment(days_ago(days))}'")


def lowest(client: FlaskClient, days: int = 30) -> dict[str, Any]:
    response = client.get(f"{PATH}?days={days}")
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.get_json()
    return found


def price(amount: float, **members: Any) -> dict[str, Any]:
    return {"price": amount, **members}


OFF, ON = {"status": "inactive"}, {"status": "active"}


@pytest.mark.parametrize(
    ("changes", "expected", "ago"),
    [
        # never reduced: the days before now
        ([(1, price(24.95))], 24.95, 0),
        ([(50, price(80)), (20, price(100))], 80, 0),
        ([(50, price(80)), (40, price(100))], 100, 0),
        # reduced: the days before, without the reduced price
        ([(50, price(80)), (20, price(100)), (5, price(90))], 80, 5),
        ([(50, price(80)), (45, price(100)), (5, price(90))], 100, 5),
        ([(50, price(100)), (5, price(90))], 100, 5),
        ([(50, price(100)), (5, price(90)), (4, price(120))], 100, 5),
        # the latest of several reductions
        ([(50, price(100)), (9, price(90)), (5, price(80))], 90, 5),
        ([(99, price(100)), (90, price(95)), (5, price(80))], 95, 5),
        # what is not a reduction
        ([(50, price(100)), (9, {"rating": 5})], 100, 0),
        # times while it is not active do not count
        ([(50, price(70)), (49, OFF), (20, price(100)), (19, ON), (5, price(90))], 100, 5),
        ([(50, price(100)), (20, OFF), (19, price(50)), (18, price(110)), (17, ON)], 100, 0),
        ([(9, price(100)), (8, {"status": "disabled"}), (7, price(50))], 100, 0),
        # a reduction while it is not active is none until it is active again
        ([(50, price(100)), (20, OFF), (19, price(80))], 100, 0),
        ([(50, price(100)), (20, OFF), (19, price(80)), (3, ON)], 100, 3),
        ([(50, price(100)), (20, price(80, **OFF))], 100, 0),
        # deleted and brought back
        ([(50, price(70)), (40, None), (9, price(100)), (5, price(90))], 100, 5),
        ([(50, price(100)), (9, None), (5, price(90))], 100, 5),
        # never active in the time
        ([(50, price(100, **OFF))], None, 0),
        ([(99, price(100)), (60, OFF), (5, price(90, **ON))], None, 5),
    ],
)  # fmt: skip
def test_the_lowest_price_before_the_latest_reduction(
    client: FlaskClient, changes: list[Change], expected: float | None, ago: int
) -> None:
    live_through(client, changes)
    begin_record(client.application, 365)

    found = lowest(client)

    assert found["price"] == expected
    assert list(found) == ["price", "from", "to", "complete"]
    begin, end = (datetime.fromisoformat(found[name]) for name in ("from", "to"))
    assert end - begin == timedelta(days=30)
    assert abs(days_ago(ago) - end) < timedelta(minutes=1)
    assert found["complete"] is True


def test_a_price_is_written_as_a_price(client: FlaskClient) -> None:
    live_through(client, [(1, price(10))])

    assert '"price": 10.0,' in client.get(PATH).text


def test_changes_at_the_same_time_are_in_their_order(client: FlaskClient) -> None:
    live_through(client, [(5, price(80)), (5, price(100)), (5, price(90))])
    execute(client.application, f"UPDATE product_changes SET at = '{moment(days_ago(5))}'")

    assert lowest(client)["price"] == 80


def test_the_days_are_a_parameter(client: FlaskClient) -> None:
    live_through(client, [(50, price(80)), (20, price(100)), (5, price(90))])

    assert [lowest(client, days)["price"] for days in (14, 16, 3650)] == [100, 80, 80]


@pytest.mark.parametrize(
    ("changes", "record", "pruned", "complete"),
    [
        ([(20, price(100))], 40, 0, True),
        ([(20, price(100))], 10, 0, True),  # created inside of the time
        ([(20, price(100)), (5, price(90))], 30, 1, False),  # its creation is not known
        ([(40, price(100)), (20, price(80)), (5, price(70))], 34, 1, False),
        ([(40, price(100)), (20, price(80)), (5, price(70))], 36, 1, True),
        ([(50, price(100)), (40, price(80)), (5, price(70))], 10, 1, True),  # known as of before
        ([(50, price(100))], 29, 1, False),
        ([(50, price(100))], 31, 1, True),
    ],
)
def test_incomplete_records_are_told(
    client: FlaskClient, changes: list[Change], record: float, pruned: int, complete: bool
) -> None:
    live_through(client, changes)
    begin_record(client.application, record)
    first = f"SELECT seq FROM product_changes ORDER BY seq LIMIT {pruned}"
    execute(client.application, f"DELETE FROM product_changes WHERE seq IN ({first})")

    assert lowest(client)["complete"] is complete


def test_a_product_that_is_not_there_has_no_price(client: FlaskClient) -> None:
    live_through(client, [(1, price(9)), (1, None)])

    for product_id in (1, 2):
        response = client.get(f"/products/{product_id}/lowest-price")
        assert response.status_code == 404
        assert response.get_json()["detail"] == f"Product {product_id} was not found"


@on_sqlite_only
@pytest.mark.parametrize("days", ["0", "3651", "x", "1.5", ""])
def test_wrong_days_are_refused(client: FlaskClient, days: str) -> None:
    response = client.get(f"{PATH}?days={days}")

    assert [error["parameter"] for error in response.get_json()["errors"]] == ["days"]
