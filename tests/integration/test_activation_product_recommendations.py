"""Recommendations pushed to the sandbox through the real client: lists arrive, nothing is written twice, others' things stay."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from activation_push import OPENED, client_of, metafields_of
from shipped_syncs import LISTS_NAMESPACE as NAMESPACE
from shipped_syncs import push_product_recommendations
from support import running_sandbox

from commerce_assets.activation.engine import PushReport
from commerce_assets.sandbox.documents import gid, product_doc, shop_doc, variant_doc
from commerce_assets.sandbox.store import Store
from commerce_assets.sources.shopify.client import ShopifyClient

pytestmark = pytest.mark.slow
PRODUCTS = 60
DELETE = "mutation Delete($input: ProductDeleteInput!) { productDelete(input: $input) { deletedProductId userErrors { message } } }"
DEFINITIONS = (
    "query { metafieldDefinitions(first: 20, ownerType: PRODUCT) { nodes { namespace key name type { name } access { storefront } } } }"
)
READ = """
query Products {
  products(first: 100) { nodes { id tags updatedAt metafields(first: 10) { nodes { namespace key value updatedAt } } } }
}
"""


def fill_with_products(store_dir: Path) -> None:
    store_dir.mkdir(parents=True, exist_ok=True)
    store = Store(store_dir)
    store.set_shop(shop_doc("Pushed to", "pushed-to.myshopify.com", "GBP", "Europe/London", OPENED))
    docs = [
        product_doc(
            number,
            f"Product {number}",
            f"product-{number}",
            OPENED,
            variants=[variant_doc(number, number, "Default Title", Decimal("10"), OPENED, sku=f"SKU-{number}")],
            tags=["merchant's"],
        )
        for number in range(1, PRODUCTS + 1)
    ]
    store.insert_many("Product", docs)
    store.close()


def wanted() -> pl.DataFrame:
    """Each product refers to the next two, and every third one to the one after them."""

    def nth(number: int) -> str:
        return gid("Product", (number - 1) % PRODUCTS + 1)

    numbers = range(1, PRODUCTS + 1)
    return pl.DataFrame(
        {
            "product_gid": [nth(n) for n in numbers],
            "related_product_gids": [[nth(n + 2), nth(n + 1)] for n in numbers],
            "complementary_product_gids": [[nth(n + 3)] if n % 3 == 0 else [] for n in numbers],
        },
        schema_overrides={"complementary_product_gids": pl.List(pl.String)},
    )


def products_of(client: ShopifyClient) -> dict[str, dict[str, Any]]:
    return {node["id"]: node for node in client.execute(READ)["products"]["nodes"]}


def push_to(client: ShopifyClient, rows: pl.DataFrame, ledger_url: str) -> PushReport:
    return push_product_recommendations(rows, client, ledger_url)


def test_lists_arrive_once_change_where_they_change_and_go_when_they_go(tmp_path: Path) -> None:
    ledger_url = f"sqlite:///{tmp_path / 'ops.sqlite'}"
    fill_with_products(tmp_path / "store")
    with running_sandbox(tmp_path / "store", "--plan", "plus") as sandbox, client_of(sandbox.url) as client:
        rows = wanted()
        report = push_to(client, rows, ledger_url)
        assert (report.status, report.creates, report.succeeded, report.failed) == ("succeeded", PRODUCTS, PRODUCTS, 0)
        after = products_of(client)
        for row in rows.iter_rows(named=True):
            held = metafields_of(after[row["product_gid"]])
            assert json.loads(held[f"{NAMESPACE}.related_products"]) == row["related_product_gids"]
            assert json.loads(held.get(f"{NAMESPACE}.complementary_products", "[]")) == row["complementary_product_gids"]
            assert after[row["product_gid"]]["tags"] == ["merchant's"]
        defined = client.execute(DEFINITIONS)["metafieldDefinitions"]["nodes"]
        assert {(one["namespace"], one["key"], one["type"]["name"], one["access"]["storefront"]) for one in defined} == {
            (NAMESPACE, "related_products", "list.product_reference", "PUBLIC_READ"),
            (NAMESPACE, "complementary_products", "list.product_reference", "PUBLIC_READ"),
        }

        again = push_to(client, rows, ledger_url)
        assert (again.planned, again.requests, again.unchanged) == (0, 0, PRODUCTS)

        changes, goes = gid("Product", 5), gid("Product", 9)
        changed = rows.filter(pl.col("product_gid") != goes).with_columns(
            related_product_gids=pl.when(pl.col("product_gid") == changes)
            .then(pl.col("related_product_gids").list.reverse())
            .otherwise("related_product_gids")
        )
        report = push_to(client, changed, ledger_url)
        assert (report.updates, report.removals, report.succeeded) == (1, 1, 2)
        final = products_of(client)
        assert sorted(key for key in final if final[key] != after[key]) == sorted([changes, goes])
        assert metafields_of(final[goes]) == {}
        assert push_to(client, changed, ledger_url).planned == 0


def test_a_deleted_product_and_a_reference_to_it_never_stop_the_others(tmp_path: Path) -> None:
    ledger_url = f"sqlite:///{tmp_path / 'ops.sqlite'}"
    fill_with_products(tmp_path / "store")
    with running_sandbox(tmp_path / "store", "--plan", "plus") as sandbox, client_of(sandbox.url) as client:
        deleted = gid("Product", 10)
        assert client.execute(DELETE, {"input": {"id": deleted}})["productDelete"]["userErrors"] == []
        report = push_to(client, wanted(), ledger_url)
        refer_to_it = wanted().filter(
            pl.col("related_product_gids").list.contains(deleted) | pl.col("complementary_product_gids").list.contains(deleted)
        )
        assert (report.failed, report.gone) == (refer_to_it.height, 1)
        assert report.succeeded == PRODUCTS - refer_to_it.height - 1
        assert all(deleted in reason for reason in report.failure_reasons)
