"""Calls every operation of the service at the address in the first argument.

Does so with the client that openapi-python-client made of its document, and prints the status
codes by operation.
"""

import json
import sys
from importlib import import_module
from io import BytesIO
from pkgutil import walk_packages
from typing import Any

api, models, types = (
    import_module(f"products_client.{name}") for name in ("api", "models", "types")
)
client = import_module("products_client").Client(base_url=sys.argv[1])
operations = {
    module.name.rpartition(".")[2]: import_module(module.name)
    for module in walk_packages(api.__path__, f"{api.__name__}.")
    if not module.ispkg
}


def call(name: str, **arguments: Any) -> Any:
    return operations[name].sync_detailed(client=client, **arguments)


def file(text: str) -> Any:
    return types.File(BytesIO(text.encode()))


def kettle(price: float) -> Any:
    return models.ProductBody("Kettle", "https://img.example.com/kettle.jpg", price)


dear = call("create_product", body=kettle(59.95)).parsed
cheap = call("create_product", body=kettle(19.95)).parsed

calls: dict[str, dict[str, Any]] = {
    "create_product": {"body": kettle(49.95)},
    "list_products": {
        "status": [models.Status.ACTIVE],
        "id": [dear.id, cheap.id],
        "sort": ["status", "price"],
    },
    "get_facets": {"status": [models.Status.ACTIVE]},
    "get_product": {"id": dear.id},
    "replace_product": {"id": dear.id, "body": kettle(49.95)},
    "update_product": {"id": cheap.id, "body": models.ProductPatch(category="Kitchen")},
    "delete_product": {"id": cheap.id},
    "export_products_as_csv": {"dialect": models.ExportProductsAsCsvDialect.EXCEL},
    "export_products_as_json_lines": {"id": [dear.id]},
    "import_products": {"body": file(f'{{"id":{dear.id},"price":5}}\n'), "dry_run": True},
    "list_changes": {"limit": 10},
    "list_history": {"id": dear.id, "op": models.Op.UPDATE},
    "get_lowest_price": {"id": dear.id, "days": 30},
    "get_health": {},
    "get_readiness": {},
    "get_metrics": {},
    "get_open_api": {},
    "get_api_docs": {},
    "get_service": {},
}
assert set(calls) == set(operations), set(calls) ^ set(operations)

listed = call("list_products", **calls["list_products"]).parsed
assert [product.id for product in listed] == [cheap.id, dear.id], "sort has no effect"

missing = call("get_product", id=2**31 - 1).parsed
assert isinstance(missing, models.Problem), "the error is no problem document"

codes = {name: call(name, **arguments).status_code for name, arguments in calls.items()}
print(json.dumps(codes))
