"""Dirt is known record by record: each listed defect stands in its document, and nothing else was touched."""

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from commerce_assets.sandbox.dirt import ITEM_SPOILERS, LEVEL_SPOILERS, SPOILERS
from commerce_assets.sandbox.documents import gid
from commerce_assets.sandbox.fill import dirt_list, fill
from commerce_assets.sandbox.store import Store, doc_key

AS_OF = datetime(2026, 11, 20, 12, tzinfo=UTC)
Doc = dict[str, Any]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    clean, dirty = tmp_path_factory.mktemp("clean"), tmp_path_factory.mktemp("dirty")
    fill(clean, scale=0.2, seed=9, as_of=AS_OF)
    fill(dirty, scale=0.2, seed=9, dirt=0.06, as_of=AS_OF)
    return clean, dirty


def documents(folder: Path, kind: str) -> dict[int, Doc]:
    store = Store(folder)
    docs = {doc_key(doc): doc for _, _, doc in store.iterate(kind)}
    store.close()
    return docs


def differences(clean: Any, dirty: Any, path: str = "") -> list[str]:
    """The paths of the values that differ."""
    if isinstance(clean, dict) and isinstance(dirty, dict):
        return [d for key in {*clean, *dirty} for d in differences(clean.get(key), dirty.get(key), f"{path}.{key}")]
    if isinstance(clean, list) and isinstance(dirty, list) and len(clean) == len(dirty):
        return [d for index, pair in enumerate(zip(clean, dirty, strict=True)) for d in differences(*pair, f"{path}[{index}]")]
    return [] if clean == dirty else [path]


KINDS = {
    "orders": "Order",
    "order_lines": "LineItem",
    "transactions": "OrderTransaction",
    "refunds": "Refund",
    "refund_lines": "RefundLineItem",
    "fulfillments": "Fulfillment",
    "customers": "Customer",
    "customer_addresses": "MailingAddress",
    "products": "Product",
    "variants": "ProductVariant",
    "inventory_items": "InventoryItem",
}


def gid_of(defect: Doc) -> str:
    return defect["id"] if isinstance(defect["id"], str) else gid(KINDS[defect["table"]], defect["id"])


def ids_in(value: Any) -> set[str]:
    """Every id that stands in a document."""
    if isinstance(value, dict):
        return {i for part in value.values() for i in ids_in(part)} | (
            {value["id"].partition("?")[0]} if isinstance(value.get("id"), str) else set()
        )
    return {i for part in value for i in ids_in(part)} if isinstance(value, list) else set()


@pytest.mark.parametrize(
    ("kind", "tables"),
    [
        ("Order", {"orders", "order_lines", "transactions", "refunds", "refund_lines", "fulfillments"}),
        ("Customer", {"customers", "customer_addresses"}),
        ("Product", {"products", "variants", "inventory_items"}),
    ],
)
def test_exactly_the_listed_documents_differ_from_the_clean_store_each_in_one_record(
    folders: tuple[Path, Path], kind: str, tables: set[str]
) -> None:
    clean, dirty = (documents(folder, kind) for folder in folders)
    listed = [defect for defect in dirt_list(folders[1]) if defect["table"] in tables]
    changed = {number: differences(clean[number], doc) for number, doc in dirty.items() if doc != clean[number]}
    assert clean.keys() == dirty.keys()
    owners = Counter(number for defect in listed for number in changed if gid_of(defect) in ids_in(dirty[number]))
    assert set(owners) == set(changed)
    # A product may hold two bad records, in two families: one of its own and an inventory item.
    assert len(listed) == sum(owners.values())
    if kind != "Product":
        assert max(owners.values()) == 1
        assert len(listed) == round(0.06 * len(dirty))


def test_every_way_to_spoil_is_used_and_named_by_a_known_rule(folders: tuple[Path, Path]) -> None:
    used = {(defect["table"], defect["rule"]) for defect in dirt_list(folders[1])}
    known = {(s.table, s.rule) for spoilers in (*SPOILERS.values(), ITEM_SPOILERS, LEVEL_SPOILERS) for s in spoilers}
    assert used == known
    assert {rule for _, rule in used} >= {
        "order_total_matches_lines",
        "amount_not_negative",
        "currency_known",
        "presentment_currency_known",
        "email_format",
        "postal_code_fits_country",
        "country_known",
        "no_card_number",
        "price_not_negative",
        "quantity_not_negative",
        "refund_not_before_order",
        "refund_within_paid",
        "fulfillment_not_before_order",
        "customer_id_format",
        "naive_time",
        "id_format",
        "wrong_type",
        "not_null:title",
    }


def test_a_clean_store_has_no_dirt(folders: tuple[Path, Path]) -> None:
    assert dirt_list(folders[0]) == []
