"""A push of customer scores to a sandbox: rows for its customers, the real client, and a process of its own that can be killed.

`python activation_push.py URL LEDGER_URL direct|bulk FOLDER` pushes `wanted_scores` of every customer in the shop.
"""

import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
from shipped_syncs import push_customer_scores

from commerce_assets.activation.engine import PushReport
from commerce_assets.activation.ledger import ledger_frames
from commerce_assets.sandbox.documents import customer_doc, shop_doc
from commerce_assets.sandbox.store import Store
from commerce_assets.sources.shopify.auth import StaticToken
from commerce_assets.sources.shopify.bulk import run_mutation
from commerce_assets.sources.shopify.client import ShopifyClient
from commerce_assets.sources.shopify.throttle import Throttle

TOKEN = "sandbox-token"
OPENED = "2026-01-01T00:00:00Z"
CUSTOMERS_PAGE = """
query Customers($after: String) {
  customers(first: 100, after: $after) {
    nodes { id tags updatedAt metafields(first: 10) { nodes { namespace key value createdAt updatedAt } } }
    pageInfo { hasNextPage endCursor }
  }
}
"""


def fill_with_customers(store_dir: Path, count: int) -> None:
    """A shop with customers and nothing else; every tenth has a tag of the merchant's."""
    store_dir.mkdir(parents=True, exist_ok=True)
    store = Store(store_dir)
    store.set_shop(shop_doc("Pushed to", "pushed-to.myshopify.com", "GBP", "Europe/London", OPENED))
    tags: list[list[str]] = [["VIP of the shop"] if number % 10 == 0 else [] for number in range(count)]
    store.insert_many("Customer", [customer_doc(1000 + n, OPENED, email=f"c{n}@example.com", tags=tags[n]) for n in range(count)])
    store.close()


@contextmanager
def client_of(url: str) -> Iterator[ShopifyClient]:
    with ShopifyClient(url, "2026-10", StaticToken(url, TOKEN), throttle=Throttle()) as client:
        yield client


def customers_of(client: ShopifyClient) -> dict[str, dict[str, Any]]:
    """Every customer with tags and metafields, by gid."""
    found: dict[str, dict[str, Any]] = {}
    after: str | None = None
    while True:
        page = client.execute(CUSTOMERS_PAGE, {"after": after})["customers"]
        found.update({node["id"]: node for node in page["nodes"]})
        if not page["pageInfo"]["hasNextPage"]:
            return found
        after = page["pageInfo"]["endCursor"]


def metafields_of(customer: Mapping[str, Any], what: str = "value") -> dict[str, str]:
    return {f"{node['namespace']}.{node['key']}": node[what] for node in customer["metafields"]["nodes"]}


def wanted_scores(gids: Iterable[str]) -> pl.DataFrame:
    """Different, repeatable scores for each customer; every fifth has lapsed with high value."""
    numbers = pl.DataFrame({"customer_gid": sorted(gids)}).with_row_index("n")
    has_lapsed = pl.col("n") % 5 == 0
    lifecycle = pl.when(has_lapsed).then(pl.lit("lapsed")).otherwise(pl.lit("active"))
    tags = pl.concat_list(pl.concat_str(pl.lit("lifecycle:"), lifecycle), pl.when(has_lapsed).then(pl.lit("winback:high-value-lapsed")))
    return numbers.select(
        "customer_gid",
        rfm_segment=pl.when(has_lapsed).then(pl.lit("cant_lose")).otherwise(pl.lit("loyal")),
        lifecycle=lifecycle,
        is_vip=pl.col("n") % 3 == 0,
        monetary_value_amount=(pl.col("n").cast(pl.Int64) * 7919 % 100_000 / 100).cast(pl.Decimal(18, 4)),
        vip_tier=pl.when(pl.col("n") % 3 == 0).then(pl.lit("gold")).otherwise(pl.lit("none")),
        churn_risk=pl.when(has_lapsed).then(pl.lit("high")).otherwise(pl.lit("low")),
        predicted_value_amount=(pl.col("n").cast(pl.Int64) * 31 % 10_000 / 100).cast(pl.Decimal(18, 4)),
        next_order_expected_on=pl.when(~has_lapsed).then(pl.date(2026, 12, 4)),
        as_of_on=pl.date(2026, 11, 21),
        lifecycle_tags=tags.list.drop_nulls(),
    )


def push_scores(client: ShopifyClient, rows: pl.DataFrame, ledger_url: str, path: str, folder: Path, **options: Any) -> PushReport:
    def bulk(mutation: str, variables: Iterable[Mapping[str, Any]]) -> Iterable[Any]:
        return run_mutation(client, mutation, variables, folder, label="scores", progress=lambda text: None)

    return push_customer_scores(rows, client, ledger_url, bulk=bulk if path == "bulk" else None, bulk_threshold=0, **options)


def outcomes_of_latest_run(ledger_url: str) -> int:
    """How many outcomes the ledger holds of the run that began last."""
    frames = ledger_frames(ledger_url)
    latest = frames["activation_runs"].sort("started_at")["run_id"].last()
    return frames["activation_changes"].filter(pl.col("run_id") == latest)["outcome"].count()


def main(url: str, ledger_url: str, path: str, folder: str) -> None:
    with client_of(url) as client:
        push_scores(client, wanted_scores(customers_of(client)), ledger_url, path, Path(folder))


if __name__ == "__main__":
    main(*sys.argv[1:])
