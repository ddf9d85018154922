"""UCI Online Retail in the sandbox store: every line by class, to the penny, found again in the documents.

The figures of the file are taken from it by DuckDB, not by the loader's own code.
"""

from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest
from support import shared_path

from commerce_assets.sandbox.documents import gid_number
from commerce_assets.sandbox.load import load
from commerce_assets.sandbox.store import Store

Doc = dict[str, Any]
POSTAGE, FEES = {"POST", "DOT", "C2"}, {"AMAZONFEE", "BANK CHARGES", "CRUK"}
FILE_TOTAL = Decimal("9747747.9340")


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Store, dict[str, Any]]]:
    file = shared_path("datasets/online_retail_2010_2011.parquet")
    folder = tmp_path_factory.mktemp("retail")
    summary = load(folder, file)
    store = Store(folder)
    yield file, store, summary
    store.close()


@pytest.fixture(scope="module")
def found(loaded: tuple[Path, Store, dict[str, Any]]) -> dict[str, Any]:
    """Class totals, order counts and line numbers as the documents tell them."""
    totals: dict[str, Decimal] = Counter()  # type: ignore[assignment]
    rows: Counter[str] = Counter()
    orders: Counter[str] = Counter()
    names: dict[str, list[str]] = {}
    seen: Counter[int] = Counter()
    postage_back = 0
    for _, _, order in loaded[1].iterate("Order"):
        source = order["sourceName"]
        orders[source] += 1
        names.setdefault(source, []).append(order["name"])
        lines = order["lineItems"]
        gross = sum(Decimal(line["originalUnitPriceSet"]) * line["quantity"] for line in lines)
        shipping = sum((Decimal(line["originalPriceSet"]) for line in order.get("shippingLines", [])), Decimal(0))
        assert gross == Decimal(order["subtotalPriceSet"])
        assert Decimal(order["totalPriceSet"]) == gross + shipping, order["name"]
        if source == "rejected":
            totals["rejected"] += gross
            rows["rejected"] += len(lines)
        elif source != "credit":
            for line in lines:
                amount = Decimal(line["originalTotalSet"])
                sku = line["sku"].upper()
                kind = (
                    "zero_price"
                    if not amount
                    else "postage"
                    if sku in POSTAGE
                    else "fee"
                    if sku in FEES
                    else "adjustment"
                    if sku == "B"
                    else "sale"
                )
                totals[kind] += amount
                rows[kind] += 1
            for line in order.get("shippingLines", []):
                amount = Decimal(line["originalPriceSet"])
                totals["postage" if amount else "zero_price"] += amount
                rows["postage" if amount else "zero_price"] += 1
                seen[gid_number(line["id"])] += 1
        if source != "credit":
            seen.update(gid_number(line["id"]) for line in lines)
        for refund in order.get("refunds", []):
            back = refund["refundLineItems"]
            seen.update(gid_number(line["id"]) for line in back)
            amount = Decimal(refund["totalRefundedSet"])
            if source == "credit":
                for line in back:
                    sku = next(item["sku"] for item in lines if item["id"] == line["lineItem"]["id"]).upper()
                    kind = "credit_discount" if sku == "D" else "credit_fee" if sku in FEES else "credit"
                    totals[kind] -= Decimal(line["subtotalSet"])
                    rows[kind] += 1
                assert amount == sum(Decimal(line["subtotalSet"]) for line in back)
                assert amount == Decimal(order["totalPriceSet"]) == Decimal(order["totalReceivedSet"])
                assert order["tags"] == ["credit"]
            else:
                totals["refund"] -= amount
                rows["refund"] += len(back)
                postage_back += amount != sum(Decimal(line["subtotalSet"]) for line in back)
        refunded = sum((Decimal(refund["totalRefundedSet"]) for refund in order.get("refunds", [])), Decimal(0))
        assert refunded <= Decimal(order.get("totalReceivedSet", "0"))
        if source != "rejected":
            assert Decimal(order["currentTotalPriceSet"]) == Decimal(order["totalPriceSet"]) - refunded >= 0
        assert all(refund["processedAt"] >= order["processedAt"] for refund in order.get("refunds", []))
        assert all(line["currentQuantity"] >= 0 for line in lines)
    return {"totals": totals, "rows": rows, "orders": orders, "names": names, "seen": seen, "postage_back": postage_back}


def test_the_classes_hold_every_line_of_the_file_and_its_total(loaded: tuple[Path, Store, dict[str, Any]]) -> None:
    file, _, summary = loaded
    rows, total = duckdb.execute(
        "SELECT count(*), sum(CAST(Quantity AS BIGINT) * CAST(UnitPrice AS DECIMAL(18, 4))) FROM read_parquet(?)", [str(file)]
    ).fetchone() or (0, 0)
    classes = summary["classes"]
    assert rows == summary["rows"] == sum(c["rows"] for c in classes.values()) == 541_909
    assert total == Decimal(summary["amount"]) == sum(Decimal(c["amount"]) for c in classes.values()) == FILE_TOTAL


def test_every_class_is_found_again_in_the_documents_to_the_penny(
    loaded: tuple[Path, Store, dict[str, Any]], found: dict[str, Any]
) -> None:
    for name, figures in loaded[2]["classes"].items():
        if name == "write_off":
            assert Decimal(figures["amount"]) == 0
            continue
        assert found["totals"][name] == Decimal(figures["amount"]), name
        if name != "refund":
            assert found["rows"][name] == figures["rows"], name
    assert sum(found["totals"].values()) == FILE_TOTAL


def test_sales_less_refunds_less_credits_and_the_rejected_come_to_the_files_total(loaded: tuple[Path, Store, dict[str, Any]]) -> None:
    gross = refunds = credits_ = rejected = Decimal(0)
    for _, _, order in loaded[1].iterate("Order"):
        total = Decimal(order["totalPriceSet"])
        if order["sourceName"] == "rejected":
            rejected += total
        elif "credit" in order["tags"]:
            credits_ += total
        else:
            gross += total
            refunds += sum((Decimal(refund["totalRefundedSet"]) for refund in order.get("refunds", [])), Decimal(0))
    assert (gross, refunds, credits_, rejected) == tuple(map(Decimal, ("10666684.544", "458084.62", "438727.87", "-22124.12")))
    assert gross - refunds - credits_ + rejected == FILE_TOTAL


def test_orders_by_class_match_the_invoices(loaded: tuple[Path, Store, dict[str, Any]], found: dict[str, Any]) -> None:
    sold, credit_notes, bad, stock_only = duckdb.execute(
        """
        SELECT
          count(DISTINCT InvoiceNo) FILTER (Quantity > 0 AND UnitPrice >= 0),
          count(DISTINCT InvoiceNo) FILTER (Quantity < 0 AND UnitPrice > 0),
          count(DISTINCT InvoiceNo) FILTER (UnitPrice < 0),
          count(DISTINCT InvoiceNo) FILTER (Quantity < 0 AND UnitPrice = 0)
        FROM read_parquet(?)
        """,
        [str(loaded[0])],
    ).fetchone() or (0, 0, 0, 0)
    orders, names = found["orders"], found["names"]
    assert orders == loaded[2]["orders_by_class"]
    assert orders["sale"] + orders["zero_price"] + orders["adjustment"] == sold == 20_726
    assert orders["rejected"] == bad == 2
    assert stock_only == 1_336
    assert sold + credit_notes + bad + stock_only == 25_900
    assert all(len(set(found_names)) == len(found_names) for found_names in names.values())
    notes = set(names["credit"])
    for _, _, order in loaded[1].iterate("Order", where="source_name <> 'credit'"):
        notes.update(refund["note"] for refund in order.get("refunds", []))
    assert len(notes) == credit_notes == 3_836


def test_no_line_of_the_file_is_in_two_places_and_all_but_stock_and_postage_given_back_have_an_id(
    loaded: tuple[Path, Store, dict[str, Any]], found: dict[str, Any]
) -> None:
    seen = found["seen"]
    assert max(seen.values()) == 1
    classes = dict(loaded[1].truth("line_class"))
    missing = set(range(1, 541_910)) - set(seen)
    assert Counter(classes[str(line)] for line in missing) == {
        "write_off": 1_336,
        "refund": loaded[2]["classes"]["refund"]["rows"] - found["rows"]["refund"],
    }
    assert found["postage_back"] > 0


def test_customers_are_the_files_and_refunds_go_to_their_own(loaded: tuple[Path, Store, dict[str, Any]]) -> None:
    known = {
        int(row[0])
        for row in duckdb.execute(
            "SELECT DISTINCT CustomerID FROM read_parquet(?) WHERE CustomerID IS NOT NULL", [str(loaded[0])]
        ).fetchall()
    }
    store = loaded[1]
    assert {number for _, number, _ in store.iterate("Customer")} == known
    assert loaded[2]["customers"] == len(known) == 4_372
    owner = dict(duckdb.execute("SELECT InvoiceNo, any_value(CustomerID) FROM read_parquet(?) GROUP BY 1", [str(loaded[0])]).fetchall())
    for _, _, order in store.iterate("Order", where="source_name <> 'credit'"):
        for refund in order.get("refunds", []):
            assert owner[refund["note"]] == owner[order["name"]] == gid_number(order["customer"]["id"])


def test_times_are_utc_and_stock_never_ran_out(loaded: tuple[Path, Store, dict[str, Any]]) -> None:
    store = loaded[1]
    summer = next(doc for _, _, doc in store.iterate("Order", where="name = '558475'"))
    local = duckdb.execute(
        "SELECT strftime(min(InvoiceDate) - INTERVAL 1 HOUR, '%Y-%m-%dT%H:%M:%SZ') FROM read_parquet(?) WHERE InvoiceNo = '558475'",
        [str(loaded[0])],
    ).fetchone() or ("",)
    assert summer["processedAt"] == local[0]
    levels = {level["itemId"]: level for level in store.location_levels(72_000_000_001, limit=100_000)}
    truth = dict(store.truth("stock"))
    assert len(levels) == len(truth) == loaded[2]["variants"]
    for item, level in levels.items():
        how = truth[f"{item}/72000000001"]
        assert level["quantities"]["on_hand"] == how["initial"] - how["sold"] + how["restocked"] - how["written_off"]
        assert level["quantities"]["available"] == level["quantities"]["on_hand"] >= 20
