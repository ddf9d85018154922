"""An audience file of customers who agree, from a dbt model to the file, with the storefront asked for consent at the last moment."""

import csv
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pytest
from activation_push import OPENED, client_of
from support import running_sandbox

from commerce_assets.activation.declarations import DeclaredSync
from commerce_assets.config import Settings, load_settings
from commerce_assets.sandbox.documents import customer_doc, gid, shop_doc
from commerce_assets.sandbox.store import Store
from commerce_assets.service.syncs import push_sync, undo_run, wanted
from commerce_assets.sources.shopify.client import ShopifyClient

pytestmark = pytest.mark.slow
CUSTOMERS = 40
AUDIENCE = DeclaredSync.model_validate(
    {
        "name": "audience",
        "description": "Customers who agree, for Google.",
        "model": "sync_file__audience",
        "target": {"kind": "file", "folder": "audiences", "layout": "google_customer_match"},
        "key": {"column": "customer_gid", "pattern": "^gid://shopify/Customer/[0-9]+$"},
        "mode": "mirror",
        "consent": {"channel": "email"},
        "fields": [{"name": "email", "type": "email_sha256"}],
        "guards": {"max_removed_share": 1.0},
    }
)
WITHDRAW = """
mutation Withdraw($input: CustomerInput!) {
  customerUpdate(input: $input) { customer { id } userErrors { message } }
}
"""
DELETE = "mutation Delete($input: CustomerDeleteInput!) { customerDelete(input: $input) { deletedCustomerId userErrors { message } } }"


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[str]:
    """Forty customers; every fourth never agreed."""
    store = Store(tmp_path / "store")
    store.set_shop(shop_doc("Audience", "audience.myshopify.com", "GBP", "Europe/London", OPENED))
    agreed = ["NOT_SUBSCRIBED" if number % 4 == 0 else "SUBSCRIBED" for number in range(CUSTOMERS)]
    store.insert_many(
        "Customer", [customer_doc(1000 + n, OPENED, email=f"C{n}@Example.com", marketing=agreed[n]) for n in range(CUSTOMERS)]
    )
    store.close()
    with running_sandbox(tmp_path / "store", "--plan", "plus") as sandbox:
        yield sandbox.url


def build(settings: Settings) -> None:
    """The warehouse as dbt leaves it: the model, and who agreed when it was built."""
    with duckdb.connect(settings.build_path) as connection:
        for schema in ("sync", "marts"):
            connection.execute(f"create schema if not exists {schema}")
        connection.execute(
            "create or replace table marts.dim_customer as select 'gid://shopify/Customer/' || (1000 + n) as customer_gid, "
            f"n % 4 <> 0 as is_email_subscribed, false as is_sms_subscribed, false as is_deleted from range({CUSTOMERS}) as numbers(n)"
        )
        connection.execute(
            "create or replace table sync.sync_file__audience as select customer_gid, 'C' || (split_part(customer_gid, '/', 5)::int - 1000) || "
            "'@Example.com ' as email from marts.dim_customer"
        )


def in_file(settings: Settings) -> set[str]:
    with (settings.data_root / "exports" / "audiences" / "audience.csv").open(newline="") as file:
        return {row["Email"] for row in csv.DictReader(file)}


def hashed(*numbers: int) -> set[str]:
    return {hashlib.sha256(f"c{number}@example.com".encode()).hexdigest() for number in numbers}


def test_only_customers_who_agree_at_the_last_moment_are_in_the_file(shop: str, data_root: Path) -> None:
    settings = load_settings()
    settings.warehouse_root.mkdir(parents=True)
    build(settings)
    with client_of(shop) as client:

        @contextmanager
        def open_shop() -> Iterator[ShopifyClient]:
            yield client

        def push() -> dict[str, int]:
            with wanted(AUDIENCE, lambda: duckdb.connect(settings.build_path, read_only=True), settings) as what:
                report = push_sync(AUDIENCE, what, settings, open_shop, say=lambda _: None, requested_by="test")
            return {"written": report.succeeded, **report.skipped}

        refused = {"input": {"id": gid("Customer", 1001), "emailMarketingConsent": {"marketingState": "UNSUBSCRIBED"}}}
        assert client.execute(WITHDRAW, refused)["customerUpdate"]["userErrors"] == []
        assert client.execute(DELETE, {"input": {"id": gid("Customer", 1002)}})["customerDelete"]["userErrors"] == []

        assert push() == {"written": 28, "no_consent": 12}
        everyone = {number for number in range(CUSTOMERS) if number % 4}
        assert in_file(settings) == hashed(*(everyone - {1, 2}))
        manifest = json.loads((settings.data_root / "exports" / "audiences" / "audience.manifest.json").read_text())
        assert "example.com" not in json.dumps(manifest).lower()
        assert push() == {"written": 0, "no_consent": 12}

        with duckdb.connect(settings.build_path) as connection:
            connection.execute("update marts.dim_customer set is_email_subscribed = false where customer_gid like '%3'")
        assert push()["written"] == sum(1 for number in everyone - {1, 2} if number % 10 == 3)
        left = {number for number in everyone - {1, 2} if number % 10 != 3}
        assert in_file(settings) == hashed(*left)


def test_an_undo_empties_the_file_again(shop: str, data_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOPIFY_URL", shop)
    monkeypatch.setattr("commerce_assets.service.syncs.sync_named", lambda settings, name: AUDIENCE)
    settings = load_settings()
    settings.warehouse_root.mkdir(parents=True)
    build(settings)
    with client_of(shop) as client:

        @contextmanager
        def open_shop() -> Iterator[ShopifyClient]:
            yield client

        with wanted(AUDIENCE, lambda: duckdb.connect(settings.build_path, read_only=True), settings) as what:
            report = push_sync(AUDIENCE, what, settings, open_shop, say=lambda _: None, requested_by="test")
    assert len(in_file(settings)) == 30
    undone = undo_run(report.run_id or "", settings, "test", lambda _: None)
    assert undone.succeeded == 30
    assert in_file(settings) == set()
