"""Shopify as a destination beyond customers: from a declaration to a mapping, orders and products, and what stands in the way."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from activation_fakes import FakeCustomer, FakeShop, LostAnswerError
from inprocess_shop import InProcessShop
from sandbox_shop import PRODUCT, Shop, order_input

from commerce_assets.activation.declarations import DeclaredKey, DeclaredSync
from commerce_assets.activation.destinations.shopify import ShopifyObjects, ShopifyOrders, ShopifyProducts
from commerce_assets.activation.destinations.shopify_mapping import (
    CustomerMapping,
    MetafieldTarget,
    OrderMapping,
    ProductMapping,
    mapping_of,
)
from commerce_assets.activation.engine import PushReport, push
from commerce_assets.activation.errors import DeclarationError
from commerce_assets.activation.ledger import Ledger
from commerce_assets.activation.records import Change, Guards, Sync
from commerce_assets.activation.targets import DeclaredField, FileTarget, ShopifyTarget
from commerce_assets.activation.targets.options import MetafieldOptions, TagOptions

RISK = MetafieldTarget("risk_level", "commerce", "risk_level", "single_line_text_field", "Risk level", "low, medium or high.")
SCORED_ON = MetafieldTarget("scored_on", "commerce", "scored_on", "date", "Scored on", "", is_carried=True)
SYNC = Sync(
    "shopify", "order_risk", mapped=("risk_level", "tags"), carried=("scored_on",), sets=("tags",), guards=Guards(max_removed_share=1.0)
)
ORDER = OrderMapping((RISK, SCORED_ON), tags_field="tags", managed_prefixes=("risk:",))
PRODUCTS = ProductMapping((RISK, SCORED_ON), tags_field="tags", managed_prefixes=("risk:",))


def declared(kind: str, *fields: DeclaredField, **more: Any) -> DeclaredSync:
    target = ShopifyTarget(object=kind, **more)  # type: ignore[arg-type]
    return DeclaredSync(name="risk", description="Risk.", model="sync_risk", target=target, key=DeclaredKey(column="gid"), fields=fields)


def desired(*rows: tuple[str, str | None, str | None]) -> pl.DataFrame:
    schema = dict.fromkeys(("record_key", "risk_level", "tags"), pl.String)
    return pl.DataFrame(rows, schema=schema, orient="row").with_columns(scored_on=pl.lit("2026-11-21"))


def push_to(client: Any, mapping: Any, rows: pl.DataFrame, ledger_url: str) -> PushReport:
    with Ledger(ledger_url) as ledger:
        return push(SYNC, rows, ledger, ShopifyObjects(client, mapping))


@pytest.fixture
def ledger_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'ops.sqlite'}"


def test_a_mapping_is_what_the_declaration_says() -> None:
    fields = (
        DeclaredField(name="risk_level", metafield=MetafieldOptions(description="low, medium or high.")),
        DeclaredField(name="tags", type="tags", tags=TagOptions(prefixes=("Risk:",))),
        DeclaredField(name="scored_on", type="date", carried=True, metafield=MetafieldOptions(type="date")),
    )
    assert mapping_of(declared("order", *fields)) == ORDER
    assert mapping_of(declared("product", *fields)) == PRODUCTS
    named = DeclaredField(name="lists", metafield=MetafieldOptions(namespace="shop", key="list", title="A list", is_standard=True))
    assert mapping_of(declared("customer", named, yields_to_others=True)) == CustomerMapping(
        (MetafieldTarget("lists", "shop", "list", "single_line_text_field", "A list", "", is_standard=True),), yields_to_others=True
    )


def test_a_declaration_for_another_destination_has_no_mapping() -> None:
    one = DeclaredField(name="risk_level")
    target = FileTarget(file="risk", format="csv", folder="exports")
    other = DeclaredSync(name="risk", description="Risk.", model="sync_risk", target=target, key=DeclaredKey(column="gid"), fields=(one,))
    with pytest.raises(DeclarationError, match="writes to file, not to shopify"):
        mapping_of(other)


@pytest.mark.parametrize(("kind", "mapping"), [("Order", ORDER), ("Product", PRODUCTS)])
def test_orders_and_products_take_metafields_and_tags_and_give_them_back(tmp_path: Path, ledger_url: str, kind: str, mapping: Any) -> None:
    shop = Shop(tmp_path / "store")
    owner = PRODUCT if kind == "Product" else shop.done("orderCreate", order=order_input(tags=["gift"]))["order"]["id"]
    shop.done("tagsAdd", id=owner, tags=["Risk:Old", "gift"])
    client = InProcessShop(shop.store).client()

    report = push_to(client, mapping, desired((owner, "high", "risk:review")), ledger_url)
    assert (report.status, report.succeeded) == ("succeeded", 1), report.failure_reasons
    assert shop.doc(owner)["tags"] == ["gift", "risk:review"], "the old one is ours, however it is spelled"
    held = shop.store.metafield(owner, "commerce", "risk_level")
    assert held is not None
    assert held["value"] == "high"
    assert push_to(client, mapping, desired((owner, "high", "risk:review")), ledger_url).planned == 0

    report = push_to(client, mapping, desired(), ledger_url)
    assert (report.removals, report.succeeded) == (1, 1)
    assert shop.doc(owner)["tags"] == ["gift"]
    assert shop.store.metafield(owner, "commerce", "risk_level") is None


@pytest.mark.parametrize("path", ["direct", "bulk"])
def test_an_orders_tag_is_removed_as_it_is_spelled_there(path: str) -> None:
    key = "gid://shopify/Order/1"
    shop = FakeShop()
    shop.customers[key] = FakeCustomer(tags=["Risk:Review", "risk:other", "gift"])
    held = {"risk_level": None, "scored_on": None, "tags": "risk:other,risk:review"}
    change = Change(key, "remove", {}, held, None, None, "k")
    (result,) = ShopifyOrders(shop, ORDER, bulk=shop.run_bulk).load([change], path)
    assert (result.outcome, result.held) == ("succeeded", {"risk_level": None, "scored_on": None, "tags": None})
    assert shop.customers[key].tags == ["gift"]
    assert shop.calls["tagsRemove"] == 2


def test_scopes_that_are_missing_are_problems_each_with_what_to_do() -> None:
    shop = FakeShop()
    assert ShopifyOrders(shop, ORDER).problems() == []
    shop.scopes = ["write_customers", "read_orders"]
    (missing,) = ShopifyOrders(shop, ORDER).problems()
    assert "write_orders" in missing
    assert "tick it in the app's configuration" in missing
    assert len(ShopifyProducts(shop, PRODUCTS).problems()) == 2


def test_a_shop_that_does_not_answer_is_a_problem_and_no_exception() -> None:
    shop = FakeShop()

    def fault(operation: str, _: Any) -> str | None:
        return "before"

    shop.fault = fault
    (problem,) = ShopifyOrders(shop, ORDER).problems()
    assert LostAnswerError.__name__ in problem
    assert "commerce doctor" in problem


def test_scopes_of_the_sandbox_hold_every_kind_of_object(tmp_path: Path) -> None:
    client = InProcessShop(Shop(tmp_path).store).client()
    assert [ShopifyObjects(client, mapping).problems() for mapping in (ORDER, PRODUCTS, CustomerMapping((RISK,)))] == [[], [], []]


@pytest.mark.parametrize("path", ["direct", "bulk"])
def test_an_insert_leaves_alone_what_is_there_already(path: str) -> None:
    keys = ["gid://shopify/Order/1", "gid://shopify/Order/2"]
    shop = FakeShop(keys)
    shop.customers[keys[0]].metafields["commerce.risk_level"] = ("single_line_text_field", "theirs")
    fields = {"risk_level": "high", "scored_on": "2026-11-21", "tags": None}
    changes = [Change(key, "create", fields, None, None, "f", key, expects="absent") for key in keys]
    results = {result.record_key: result for result in ShopifyOrders(shop, ORDER, bulk=shop.run_bulk).load(changes, path)}
    assert [(results[key].outcome, results[key].reason) for key in keys] == [("skipped", "already there"), ("succeeded", None)]
    assert shop.customers[keys[0]].metafields == {"commerce.risk_level": ("single_line_text_field", "theirs")}


def test_an_object_with_more_metafields_than_a_call_takes_is_written_in_parts() -> None:
    targets = tuple(MetafieldTarget(f"f{n}", "commerce", f"key_{n}", "single_line_text_field", f"F{n}", "") for n in range(60))
    keys = ["gid://shopify/Order/1", "gid://shopify/Order/2"]
    shop = FakeShop(keys)
    shop.refuse = lambda owner, path, value: "no" if owner == keys[1] and path == "commerce.key_30" else None
    destination = ShopifyOrders(shop, OrderMapping(targets), bulk=shop.run_bulk, bulk_threshold=0)
    assert destination.estimate(0, 2, 0).path == "direct"
    empty: dict[str, str | None] = {target.field: None for target in targets}
    fields = {target.field: "v" for target in targets}
    changes = [Change(key, "update", fields, empty, None, "f", key) for key in keys]
    results = {result.record_key: result for result in destination.load(changes, "direct")}
    assert results[keys[0]].outcome == "succeeded"
    assert len(shop.customers[keys[0]].metafields) == 60
    refused = results[keys[1]]
    assert refused.outcome == "failed"
    assert refused.held is not None
    held = {name: value for name, value in refused.held.items() if value is not None}
    assert held == {f"f{n}": "v" for n in range(25)}, "what was written before the error is known to be held"
    assert len(shop.customers[keys[1]].metafields) == 25
