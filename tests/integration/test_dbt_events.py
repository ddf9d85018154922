"""Staging reads micro-batches of events beside pulls: what events alone tell is what a full pull tells, and a pull that follows changes nothing."""

from datetime import date
from pathlib import Path

import landing_documents as docs
import pytest
from integration.test_dbt_build import Warehouse
from landing_documents import Landing

from commerce_assets.lake import AppendPartition, Merge, Mode, ReplaceDays, ReplacePartition, fold_events
from commerce_assets.sources.shopify.mapping import CUSTOMERS, INVENTORY, ORDERS, PRODUCTS

pytestmark = pytest.mark.xdist_group("F")
TABLES = [table.contract for mapping in (ORDERS, CUSTOMERS, PRODUCTS, INVENTORY) for table in mapping.tables]
MODES: dict[str, Mode] = {
    "orders": ReplaceDays(date(2026, 3, 1), date(2026, 3, 1)),
    "customers": Merge(),
    "products": Merge(),
    "inventory": ReplacePartition("2026-03-01"),
}


def final_documents() -> dict[str, list[docs.Line]]:
    """The state of a small shop at the end, as a pull has it."""
    refunded = docs.order(2, updated="2026-03-01T10:02:00Z", refunds=[docs.refund(2)], totalRefundedSet=docs.money("10.00"))
    return {
        "orders": [
            *docs.document(1, updated="2026-03-01T10:03:00Z", note="call first"),
            *(refunded, docs.line_item(2, 2), docs.shipping_line(2, 2), docs.refund_line(2, 2, 2)),
            *docs.document(3, fulfillments=[], displayFulfillmentStatus="UNFULFILLED"),
        ],
        "customers": [docs.customer(1, updatedAt="2026-03-01T10:04:00Z", tags=["vip"]), docs.address(10, 1)],
        "products": [docs.product(1), docs.variant(1, 1, price="12.00"), docs.media(1, 1)],
        "inventory": [docs.inventory_item(1), docs.inventory_level(1, 1, 3), docs.inventory_item(2), docs.inventory_level(2, 2, 3)],
    }


def land_events(landing: Landing) -> None:
    """The same shop as events told of it: out of order, twice, with versions and children that are no more."""
    end = final_documents()
    batches: list[tuple[str, list[docs.Line]]] = [
        ("orders", [*docs.document(1, updated="2026-03-01T10:03:00Z", note="call first"), *docs.document(2), *docs.document(3)]),
        ("orders", [*docs.document(1), *end["orders"][3:7]]),
        ("orders", end["orders"][7:]),
        ("customers", [docs.customer(1), docs.address(10, 1), docs.address(11, 1)]),
        ("customers", end["customers"]),
        ("products", [docs.product(1), docs.variant(1, 1), docs.variant(2, 1)]),
        ("products", end["products"]),
        ("inventory", [docs.inventory_item(1), docs.inventory_level(1, 1, 3), docs.inventory_level(9, 1, 4)]),
        ("inventory", end["inventory"]),
    ]
    for second, (family, lines) in enumerate(batches):
        append(landing, family, lines, second)


def append(landing: Landing, family: str, lines: list[docs.Line], second: int) -> None:
    name = f"events-20260301T1010{second:02d}000000-{family}"
    landing.land([docs.as_bytes(line) for line in lines], family, load_id=name, mode=AppendPartition(name))


def staged(warehouse: Warehouse) -> dict[str, list[tuple[object, ...]]]:
    warehouse.dbt("run", "--select", "staging")
    rows = {}
    for table in TABLES:
        columns = ", ".join(table.schema)
        rows[table.name] = warehouse.rows(f"select {columns} from staging.stg_storefront__{table.name} order by all")
    return rows


def test_events_alone_tell_what_a_full_pull_tells_and_deletions_within_the_next_build(tmp_path: Path) -> None:
    landing, warehouse = Landing(tmp_path), Warehouse(tmp_path)
    pulled = Landing(tmp_path / "pulled")
    land_events(landing)
    for family, lines in final_documents().items():
        pulled.land(lines, family, mode=MODES[family], load_id=f"pull-{family}")

    told = staged(warehouse)
    assert {name: len(rows) for name, rows in told.items()} == {table.name: pulled.lake.read(table).height for table in TABLES}

    for family, lines in final_documents().items():
        landing.land(lines, family, mode=MODES[family], load_id=f"pull-{family}")
    assert fold_events(landing.lake, "orders") is not None
    deletion = {"id": "gid://shopify/Order/1", "deletedAt": "2026-03-01T11:00:00Z"}
    append(landing, "deletions", [deletion, {"id": "gid://shopify/Product/1", "deletedAt": "2026-03-01T09:00:00Z"}], 30)

    assert staged(warehouse) == told
    sources = warehouse.rows("select distinct split_part(_source_file, '/', 3) from staging.stg_storefront__orders")
    assert sources == [("pull-orders",)], "of one version the later load has the word"
    marked = warehouse.rows("select order_id, deletion_seen_at::varchar from staging.stg_storefront__orders where is_deleted")
    assert marked == [(1, "2026-03-01 11:00:00")]
    assert warehouse.one("select count(*) from staging.stg_storefront__products where is_deleted") == (0,), "it changed after that"
