"""Payloads of webhooks land as the same rows as a pull of the same orders, and bad ones are refused by name."""

import json
import random
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from inprocess_shop import InProcessShop
from landing_documents import with_value
from support import shared_path

from commerce_assets.lake import AppendPartition, Lake, LoadReport, ReplaceDays, land, quarantine_rows
from commerce_assets.lake.replay import replay
from commerce_assets.sandbox.fill import fill
from commerce_assets.sandbox.store import Store
from commerce_assets.sandbox.webhooks import rest_orders
from commerce_assets.sources.shopify.bulk import with_filter
from commerce_assets.sources.shopify.client import document
from commerce_assets.sources.shopify.drain import FULFILLMENT_LINES, REFUND_LINES, drain
from commerce_assets.sources.shopify.mapping import MAPPINGS
from commerce_assets.sources.shopify.webhook_mapping import WEBHOOK_MAPPINGS

Json = dict[str, Any]
AS_OF = datetime(2026, 11, 20, 12, tzinfo=UTC)
EVER = ReplaceDays(date(2020, 1, 1), date(2030, 1, 1))
ORDERS = WEBHOOK_MAPPINGS["orders"]
UNKNOWN_BY_NATURE = {
    "orders": {"company_name"},
    "fulfillments": {"in_transit_at", "delivered_at"},
    "fulfillment_lines": {"fulfillment_line_id"},
    "refunds": {"updated_at"},
}
"""As the docstring of webhook_mapping.py lists them."""


def envelope(order: Json, transactions: Iterable[Json] = (), refunds: Iterable[Json] = (), fulfillments: Iterable[Json] = ()) -> Json:
    return {
        "id": order["admin_graphql_api_id"],
        "webhook": "b54557e4-bdd9-4b37-8a5f-bf7d70bcd043",
        "topic": "orders/updated",
        "order": order,
        "transactions": list(transactions),
        "refunds": list(refunds),
        "fulfillments": list(fulfillments),
    }


def land_envelopes(root: Path, lines: Iterable[Json], load_id: str = "events") -> tuple[Lake, LoadReport]:
    lake = Lake(root / "lake")
    lake.ensure()
    folder = lake.new_load_dir("storefront", "orders", load_id)
    file = folder / "part-00000.jsonl"
    file.write_bytes(b"".join(json.dumps(line, separators=(",", ":"), ensure_ascii=False).encode() + b"\n" for line in lines))
    return lake, land(lake, "orders", ORDERS, [file], load_id, EVER, max_reject_rate=1.0)


def rows_of(lake: Lake, table: str) -> pl.DataFrame:
    contract = ORDERS.tables[[found.table for found in ORDERS.tables].index(table)].contract
    columns = [name for name in contract.schema if name not in UNKNOWN_BY_NATURE.get(table, ())]
    return lake.read(table).select(columns).sort(list(contract.key))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("shop") / "store"
    fill(folder, scale=0.01, seed=7, as_of=AS_OF)
    return Store(folder)


@pytest.fixture(scope="module")
def order(store: Store) -> Json:
    """A paid, shipped order of the shop's own currency, as a payload."""
    shop = store.shop()
    assert shop is not None
    for _, _, doc in store.iterate("Order"):
        shipments = doc.get("fulfillments", [])
        if len(shipments) == 1 and len(doc["lineItems"]) > 1 and not doc.get("refunds") and doc["currencyCode"] == shop["currencyCode"]:
            return rest_orders.order_payload(store, shop, doc)
    raise AssertionError("the store has no such order")


def test_payloads_land_as_the_rows_that_a_pull_gives(store: Store, tmp_path: Path) -> None:
    shop = InProcessShop(store)
    pulled = Lake(tmp_path / "pulled")
    pulled.ensure()
    folder = pulled.new_load_dir("storefront", "orders", "pull")
    files = [shop.bulk(with_filter(document("orders_bulk"), ""), folder / "part-00000.jsonl")]
    with shop.client() as client:
        for kind in (REFUND_LINES, FULFILLMENT_LINES):
            files += drain(client, kind, files[:1], folder, progress=lambda _: None, workers=1).files
    land(pulled, "orders", MAPPINGS["orders"], files, "pull", EVER)
    docs = [doc for _, _, doc in store.iterate("Order")]
    owner = store.shop()
    assert owner is not None

    received, report = land_envelopes(
        tmp_path / "received",
        (
            envelope(
                rest_orders.order_payload(store, owner, doc),
                [rest_orders.transaction_payload(store, owner, doc, entry["id"]) for entry in doc.get("transactions", [])],
                [rest_orders.refund_payload(store, owner, doc, entry["id"]) for entry in doc.get("refunds", [])],
                [rest_orders.fulfillment_payload(store, owner, doc, entry["id"]) for entry in doc.get("fulfillments", [])],
            )
            for doc in docs
        ),
    )

    assert report.quarantined == report.broken_lines == 0
    abroad = [
        int(doc["id"].rsplit("/", 1)[1]) for doc in docs if doc.get("presentmentCurrencyCode", doc["currencyCode"]) != doc["currencyCode"]
    ]
    assert abroad, "the shop should have orders in other currencies"
    for table in (found.table for found in ORDERS.tables):
        ours, theirs = rows_of(received, table), rows_of(pulled, table)
        assert ours.height == theirs.height > 0, table
        for column in ours.columns:
            # Payments abroad are converted back to the shop's currency: to the cent, not exactly.
            is_converted = column == "amount" or (table == "orders" and column in ("received_amount", "refunded_amount"))
            mine, other = (ours, theirs) if not is_converted else (ours.filter(~_is_any(abroad)), theirs.filter(~_is_any(abroad)))
            assert mine[column].equals(other[column]), (table, column)
            if is_converted:
                assert (ours[column] - theirs[column]).cast(pl.Float64).abs().max() <= 0.02, (table, column)


def _is_any(orders: list[int]) -> pl.Expr:
    return pl.col("order_id").is_in(orders)


def test_what_comes_beside_the_order_is_united_by_id(order: Json, tmp_path: Path) -> None:
    (shipment,) = order["fulfillments"]
    line = order["line_items"][0]
    money = {"shop_money": {"amount": "1.00", "currency_code": order["currency"]}}
    payback = {**_transaction(order, 71, "refund", "1.00"), "parent_id": 70}
    refund = {
        "id": 81,
        "admin_graphql_api_id": "gid://shopify/Refund/81",
        "order_id": order["id"],
        "created_at": "2026-11-20T12:00:00Z",
        "processed_at": None,
        "note": None,
        "refund_line_items": [
            {
                "id": 91,
                "line_item_id": line["id"],
                "line_item": line,
                "quantity": 1,
                "restock_type": "return",
                "location_id": 5,
                "subtotal_set": money,
                "total_tax_set": money,
            }
        ],
        "transactions": [payback],
    }
    later = {**shipment, "status": "cancelled", "updated_at": "2030-01-01T00:00:00Z", "shipment_status": None}
    sale = _transaction(order, 70, "sale", order["total_price"])

    lake, report = land_envelopes(
        tmp_path, [envelope({**order, "refunds": [refund]}, [sale, sale, payback], [refund], [shipment, later, shipment])]
    )

    assert report.quarantined == 0
    assert {name: lake.read(name).height for name in ("refunds", "refund_lines", "fulfillments", "transactions")} == {
        "refunds": 1,
        "refund_lines": 1,
        "fulfillments": 1,
        "transactions": 2,
    }
    landed = lake.read("orders").row(0, named=True)
    assert (landed["received_amount"], landed["refunded_amount"]) == (Decimal(order["total_price"]), Decimal("1.00"))
    assert lake.read("refunds").row(0, named=True)["refunded_amount"] == Decimal("1.00")
    assert lake.read("refunds")["processed_at"].equals(lake.read("refunds")["created_at"].alias("processed_at"))
    given_back = lake.read("refund_lines").row(0, named=True)
    assert (given_back["restock_type"], given_back["is_restocked"], given_back["location_id"]) == ("RETURN", True, 5)
    assert lake.read("fulfillments").row(0, named=True)["display_status"] == "CANCELED"
    # Of a cancelled shipment nothing follows from the order: its own lines are told.
    assert set(lake.read("fulfillment_lines")["is_derived"]) == {False}
    assert lake.read("transactions").filter(pl.col("transaction_id") == 71)["parent_transaction_id"].to_list() == [70]


def test_a_payment_abroad_is_booked_in_the_shops_currency(order: Json, tmp_path: Path) -> None:
    total = Decimal(order["total_price"])
    abroad = with_value(order, "total_price_set.presentment_money", {"amount": str(total * 200), "currency_code": "JPY"})
    sale = {**_transaction(order, 70, "sale", str(Decimal("44.00") * 200)), "currency": "JPY"}

    lake, _ = land_envelopes(tmp_path, [envelope({**abroad, "presentment_currency": "JPY"}, [sale])])

    booked = lake.read("transactions").row(0, named=True)
    assert (booked["amount"], booked["currency_code"]) == (Decimal("44.00"), order["currency"])
    assert lake.read("orders").row(0, named=True)["received_amount"] == Decimal("44.00")


def _transaction(order: Json, number: int, kind: str, amount: str) -> Json:
    return {
        "id": number,
        "admin_graphql_api_id": f"gid://shopify/OrderTransaction/{number}",
        "order_id": order["id"],
        "kind": kind,
        "status": "success",
        "gateway": "manual",
        "test": False,
        "parent_id": None,
        "error_code": None,
        "amount": amount,
        "currency": order["currency"],
        "created_at": order["created_at"],
        "processed_at": order["created_at"],
    }


BAD_VALUES: list[tuple[str, Any, str, str]] = [
    ("order.name", None, "orders", "not_null:order_name"),
    ("order.created_at", "2026-03-01T09:00:00", "orders", "naive_time"),
    ("order.updated_at", "yesterday", "orders", "wrong_type"),
    ("order.total_price_set.shop_money.amount", "a lot", "orders", "wrong_type"),
    ("order.total_price_set", "12.00", "orders", "wrong_type"),
    ("order.total_price_set.shop_money.amount", "999999.00", "orders", "order_total_matches_lines"),
    ("order.currency", "XXQ", "orders", "currency_known"),
    ("order.test", "perhaps", "orders", "wrong_type"),
    ("order.email", "nobody", "orders", "email_format"),
    ("order.customer", {"id": 7, "admin_graphql_api_id": "gid://shopify/Customer/"}, "orders", "id_format"),
    ("order.customer", ["ann"], "orders", "wrong_type"),
    ("order.company", {"id": "acme"}, "orders", "id_format"),
    ("order.company", "acme", "orders", "id_format"),
    ("order.line_items", {"id": 1}, "orders", "wrong_type"),
    ("order.line_items.0.quantity", "three", "order_lines", "wrong_type"),
    ("order.line_items.0.quantity", -1, "order_lines", "quantity_not_negative"),
    ("order.line_items.0.admin_graphql_api_id", "gid://shopify/Product/1", "order_lines", "id_format"),
    ("order.line_items.0.variant_id", "none", "order_lines", "id_format"),
    ("order.line_items.0.tax_lines.0.price_set.shop_money.amount", "none", "tax_lines", "wrong_type"),
    ("order.line_items.0.title", None, "order_lines", "not_null:title"),
    ("order.fulfillments.0.created_at", None, "fulfillments", "not_null:created_at"),
    ("order.fulfillments.0.line_items.0.quantity", "all", "fulfillments", "wrong_type"),
    ("transactions.0.amount", "-1.00", "transactions", "amount_not_negative"),
    ("transactions.0.amount", "much", "transactions", "wrong_type"),
    ("transactions.0.kind", None, "transactions", "not_null:kind"),
    ("transactions", ["paid"], "transactions", "wrong_type"),
]


def _copy(order: Json, number: int) -> Json:
    """The envelope of the same order under ids of its own."""
    copied = json.loads(json.dumps(order))
    copied |= {"id": number, "admin_graphql_api_id": f"gid://shopify/Order/{number}"}
    renamed = {}
    for place, line in enumerate(copied["line_items"]):
        renamed[line["id"]] = number * 100 + place
        line |= {"id": renamed[line["id"]], "admin_graphql_api_id": f"gid://shopify/LineItem/{renamed[line['id']]}"}
    for place, line in enumerate(copied["shipping_lines"]):
        line["id"] = number * 100 + place
    for place, shipment in enumerate(copied["fulfillments"]):
        shipment |= {"id": number * 100 + place, "admin_graphql_api_id": f"gid://shopify/Fulfillment/{number * 100 + place}"}
        for line in shipment["line_items"]:
            line |= {"id": renamed[line["id"]], "admin_graphql_api_id": f"gid://shopify/LineItem/{renamed[line['id']]}"}
    return envelope(copied, [_transaction(copied, number, "sale", copied["total_price"])])


def test_bad_values_are_refused_by_name_and_leave_the_other_orders_alone(order: Json, tmp_path: Path) -> None:
    bad = [with_value(_copy(order, number), path, value) for number, (path, value, _, _) in enumerate(BAD_VALUES, start=1)]
    good = [_copy(order, number) for number in (901, 902)]

    lake, report = land_envelopes(tmp_path, [good[0], *bad, good[1]])

    refused = quarantine_rows(lake, "orders").explode("failed_rules").select("root_id", "table", "failed_rules")
    named = set(refused.rows())
    missing = [
        (case, sorted(rules for root, *rules in named if root == number))
        for number, case in enumerate(BAD_VALUES, start=1)
        if (number, *case[2:]) not in named
    ]
    assert not missing
    assert report.broken_lines == 0
    assert set(refused["root_id"]) == set(range(1, len(BAD_VALUES) + 1))
    for table in ("orders", "order_lines", "tax_lines", "shipping_lines", "transactions", "fulfillments", "fulfillment_lines"):
        assert {901, 902} <= set(lake.read(table)["order_id"]), table


ODD_VALUES = [None, "", "x", -1, 1e300, 10**30, True, [], {}, [None], "\x00", "99999999999999.9999", "9999-12-31T23:59:59Z"]


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """(container, key) of every value in a document, of lists only the first two."""
    inner = list(value.items() if isinstance(value, dict) else enumerate(value[:2]) if isinstance(value, list) else ())
    for key, one in inner:
        yield value, key
        yield from _places(one)


def _spoiled(line: Json, chance: random.Random) -> Json:
    container, key = chance.choice([place for place in _places(line) if place != (line, "id")])
    container[key] = chance.choice(ODD_VALUES)
    return line


def test_no_value_in_any_place_fails_the_batch(order: Json, tmp_path: Path) -> None:
    chance = random.Random(3)
    bad = [_spoiled(_copy(order, number), chance) for number in range(1, 200)]
    enormous = _copy(order, 900)
    for line in enormous["order"]["line_items"]:
        line["quantity"], line["price_set"]["shop_money"]["amount"] = 1, "99999999999999.9999"

    lake, report = land_envelopes(tmp_path, [*bad, enormous, _copy(order, 901)])

    assert report.lines == len(bad) + 2
    assert 901 in set(lake.read("orders")["order_id"])
    assert "orders" in set(quarantine_rows(lake, "orders").filter(pl.col("root_id") == 900)["table"])


def test_what_hangs_in_a_refused_refund_or_line_is_refused_with_it(order: Json, tmp_path: Path) -> None:
    refunded, nameless = _copy(order, 1), with_value(_copy(order, 2), "order.line_items.0.title", None)
    money = {"shop_money": {"amount": "1.00", "currency_code": order["currency"]}}
    line = {"id": 91, "line_item_id": 100, "quantity": 1, "restock_type": "no_restock", "subtotal_set": money, "total_tax_set": money}
    refund = {"id": 81, "created_at": "2001-01-01T00:00:00Z", "refund_line_items": [line], "transactions": []}
    taxes = len(order["line_items"][0]["tax_lines"])

    _, report = land_envelopes(tmp_path, [with_value(refunded, "order.refunds", [refund]), nameless])

    assert report.tables["refunds"].rejected_by_rule == {"refund_not_before_order": 1}
    assert report.tables["refund_lines"].rejected_by_rule == {"parent_rejected": 1}
    assert report.tables["order_lines"].rejected_by_rule == {"not_null:title": 1}
    assert report.tables["tax_lines"].rejected_by_rule == {"parent_rejected": taxes}
    assert taxes


def test_what_was_refused_of_an_event_is_landed_again_after_a_fix(order: Json, tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    lake.ensure()
    batch = "events-20261120T120000000000-orders"
    file = lake.new_load_dir("storefront", "orders", batch) / "payloads.jsonl"
    bad, good = with_value(_copy(order, 1), "order.line_items.0.title", None), _copy(order, 1)
    file.write_text(json.dumps(bad, separators=(",", ":")) + "\n" + json.dumps(_copy(order, 2), separators=(",", ":")) + "\n")
    land(lake, "orders", ORDERS, [file], batch, AppendPartition(batch))
    assert quarantine_rows(lake, "orders")["table"].is_in(["order_lines", "tax_lines", "fulfillment_lines"]).all()

    file.write_text(file.read_text().replace(json.dumps(bad, separators=(",", ":")), json.dumps(good, separators=(",", ":"))))
    done = replay(lake, MAPPINGS["orders"], payloads=ORDERS)

    assert (done.still_refused, quarantine_rows(lake, "orders").height) == (0, 0)
    assert done.tried > 0
    expected = len(order["line_items"])
    lines = lake.read("order_lines").unique("order_line_id")
    assert lines.group_by("order_id").len().sort("order_id").rows() == [(1, expected), (2, expected)]


def test_documented_payloads_are_read_with_their_exact_ids(tmp_path: Path) -> None:
    examples = shared_path("shopify/webhooks-2026-07/examples")
    body, refund, shipment, payment = (
        json.loads((examples / f"{topic}.json").read_text())["response"]
        for topic in ("orders__updated", "refunds__create", "fulfillments__create", "order_transactions__create")
    )

    lake, report = land_envelopes(tmp_path, [envelope(body, [payment], [refund], [shipment])])

    rules = {rule for table in report.tables.values() for rule in table.rejected_by_rule}
    # The documented order's own sums do not agree, and its refund pays back more than was paid; nothing else is wrong with it.
    assert rules <= {"order_total_matches_lines", "refund_within_paid", "refund_not_before_order", "parent_rejected", "parent_missing"}
    read = {name: table.read for name, table in report.tables.items()}
    assert (read["orders"], read["order_lines"], read["refunds"], read["refund_lines"], read["fulfillments"]) == (1, 5, 1, 5, 1)
    ids = set(lake.read("orders")["order_id"]) | set(quarantine_rows(lake, "orders")["root_id"])
    assert ids == {int(body["admin_graphql_api_id"].rsplit("/", 1)[1])}
