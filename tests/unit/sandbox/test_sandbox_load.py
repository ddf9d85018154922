"""A small transaction file: each line's class, and what becomes of it in the store."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from commerce_assets.sandbox.load import LoadError, load
from commerce_assets.sandbox.store import Store
from commerce_assets.sandbox.transactions import classify, read_lines

HEADER = "inv,code,text,n,when,price,who,land"
NAMES = {
    "invoice": "inv",
    "sku": "code",
    "description": "text",
    "quantity": "n",
    "time": "when",
    "unit_price": "price",
    "customer": "who",
    "country": "land",
}
LINES = """\
1001,10001A,BOX,10,2011-01-10 10:00:00,2.55,7,United Kingdom
1001,POST,POSTAGE,1,2011-01-10 10:00:00,18.0,7,United Kingdom
1002,10001A,BOX,4,2011-07-11 10:00:00,2.55,7,United Kingdom
1003,10001a,box,3,2011-07-12 10:00:00,2.55,,France
C1004,10001A,BOX,-6,2011-07-13 10:00:00,2.55,7,United Kingdom
C1005,10001A,BOX,-3,2011-07-14 10:00:00,2.55,7,United Kingdom
C1006,10001A,BOX,-3,2011-07-15 10:00:00,2.55,7,United Kingdom
C1007,POST,POSTAGE,-1,2011-07-16 10:00:00,18.0,7,United Kingdom
C1008,D,Discount,-1,2011-07-16 11:00:00,5.005,7,United Kingdom
C1009,10001A,BOX,-1,2011-07-17 10:00:00,2.55,,France
A1010,B,Adjust bad debt,1,2011-08-01 10:00:00,-100.5,,United Kingdom
1011,10001A,damaged,-2,2011-08-02 10:00:00,0,,United Kingdom
1012,10002,GIFT,1,2011-08-03 10:00:00,0,,Channel Islands
1013,DOT,DOTCOM POSTAGE,1,2011-08-04 10:00:00,3.5,,United Kingdom
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "sales.csv"
    path.write_text(f"{HEADER}\n{LINES}")
    return path


def documents(folder: Path, kind: str = "Order") -> dict[str, dict[str, Any]]:
    store = Store(folder)
    docs = {doc.get("name", doc["id"]): doc for _, _, doc in store.iterate(kind)}
    store.close()
    return docs


def test_each_line_has_the_class_it_should(file: Path) -> None:
    lines, matches = classify(read_lines(file, NAMES))
    classes = dict(lines.select("line", "class").iter_rows())
    assert list(classes.values()) == [
        "sale",
        "postage",
        "sale",
        "sale",
        "refund",
        "refund",
        "refund",
        "refund",
        "credit_discount",
        "credit",
        "rejected",
        "write_off",
        "zero_price",
        "postage",
    ]
    # 6 do not fit into the latest order of 4, so they go to the first; then 3 of the 4; then 3 of the 4 that are left of the first.
    assert {match.line: match.target for match in matches} == {5: 1, 6: 3, 7: 1, 8: 2}


def test_the_store_adds_up_to_the_file_and_orders_hold_their_refunds(file: Path, tmp_path: Path) -> None:
    summary = load(tmp_path / "store", file, NAMES)
    orders = documents(tmp_path / "store")
    assert summary["orders_by_class"] == {"sale": 4, "zero_price": 1, "credit": 2, "rejected": 1}
    assert set(orders) == {"1001", "1002", "1003", "C1008", "C1009", "A1010", "1012", "1013"}
    assert sum(Decimal(c["amount"]) for c in summary["classes"].values()) == Decimal(summary["amount"]) == Decimal("-91.805")

    first = orders["1001"]
    assert (first["subtotalPriceSet"], first["totalShippingPriceSet"], first["totalPriceSet"]) == ("25.5", "18.0", "43.5")
    assert [(r["note"], r["totalRefundedSet"], len(r["refundLineItems"])) for r in first["refunds"]] == [
        ("C1004", "15.3", 1),
        ("C1006", "7.65", 1),
        ("C1007", "18.0", 0),
    ]
    assert first["lineItems"][0]["currentQuantity"] == 1
    assert (first["totalRefundedSet"], first["currentTotalPriceSet"]) == ("40.95", "2.55")
    assert first["displayFinancialStatus"] == "PARTIALLY_REFUNDED"
    assert first["updatedAt"] == first["refunds"][-1]["processedAt"] == "2011-07-16T09:00:00Z"
    assert first["processedAt"] == "2011-01-10T10:00:00Z"


def test_a_credit_is_an_order_apart_received_and_refunded_whole(file: Path, tmp_path: Path) -> None:
    load(tmp_path / "store", file, NAMES)
    credit = documents(tmp_path / "store")["C1008"]
    assert {credit[key] for key in ("totalPriceSet", "totalReceivedSet", "totalRefundedSet", "subtotalPriceSet")} == {"5.005"}
    assert (credit["currentTotalPriceSet"], credit["displayFinancialStatus"]) == ("0.0", "REFUNDED")
    assert [(t["kind"], t["gateway"]) for t in credit["transactions"]] == [("SALE", "account"), ("REFUND", "account")]
    assert credit["refunds"][0]["refundLineItems"][0]["id"] == "gid://shopify/RefundLineItem/9"
    assert (credit["sourceName"], credit["tags"]) == ("credit", ["credit"])


def test_what_no_storefront_can_hold_keeps_its_negative_amount(file: Path, tmp_path: Path) -> None:
    load(tmp_path / "store", file, NAMES)
    rejected = documents(tmp_path / "store")["A1010"]
    assert (rejected["totalPriceSet"], rejected["lineItems"][0]["originalUnitPriceSet"]) == ("-100.5", "-100.5")
    assert "transactions" not in rejected


def test_countries_have_codes_where_there_is_one_and_an_order_of_postage_only_is_a_line(file: Path, tmp_path: Path) -> None:
    load(tmp_path / "store", file, NAMES)
    orders = documents(tmp_path / "store")
    assert orders["1003"]["shippingAddress"]["countryCodeV2"] == "FR"
    assert orders["1012"]["shippingAddress"]["country"] == "Channel Islands"
    assert "countryCodeV2" not in orders["1012"]["shippingAddress"]
    assert [line["sku"] for line in orders["1013"]["lineItems"]] == ["DOT"]
    assert "customer" not in orders["1003"]


def test_codes_that_differ_in_case_are_one_variant_and_stock_follows_the_lines(file: Path, tmp_path: Path) -> None:
    load(tmp_path / "store", file, NAMES)
    store = Store(tmp_path / "store")
    skus = [variant["sku"] for _, _, product in store.iterate("Product") for variant in product["variants"]]
    stock = [doc for _, doc in store.truth("stock")]
    store.close()
    assert skus == ["10001A", "10002"]
    assert stock == [
        {"initial": 20 + 17, "sold": 17, "restocked": 13, "written_off": 2},
        {"initial": 21, "sold": 1, "restocked": 0, "written_off": 0},
    ]


def test_parquet_and_csv_give_the_same_lines(file: Path, tmp_path: Path) -> None:
    parquet = tmp_path / "sales.parquet"
    pl.read_csv(file, try_parse_dates=True, schema_overrides={"inv": pl.String}).write_parquet(parquet)
    assert read_lines(parquet, NAMES).equals(read_lines(file, NAMES))


def test_a_column_that_is_not_there_is_named(file: Path, tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="InvoiceNo"):
        load(tmp_path / "store", file)
    with pytest.raises(LoadError, match="unknown column names"):
        load(tmp_path / "store", file, {"bill": "inv"})


def test_prices_finer_than_the_contracts_hold_are_refused(file: Path, tmp_path: Path) -> None:
    file.write_text(f"{HEADER}\n1,10001,BOX,1,2011-01-10 10:00:00,0.00005,7,France\n")
    with pytest.raises(LoadError, match="four decimals"):
        load(tmp_path / "store", file, NAMES)


def test_a_store_that_holds_something_is_not_loaded_again(file: Path, tmp_path: Path) -> None:
    load(tmp_path / "store", file, NAMES)
    with pytest.raises(LoadError, match="not empty"):
        load(tmp_path / "store", file, NAMES)


def test_an_hour_that_clocks_skip_or_repeat_has_one_moment(file: Path) -> None:
    times = ("2011-03-27 01:30:00", "2011-10-30 01:30:00")
    file.write_text(f"{HEADER}\n" + "".join(f"{n},10001,BOX,1,{at},1,7,France\n" for n, at in enumerate(times)))
    assert read_lines(file, NAMES)["at"].cast(pl.Datetime("ms")).len() == 2
    stamps = pl.from_epoch(read_lines(file, NAMES)["at"]).dt.strftime("%m-%d %H:%M").to_list()
    assert stamps == ["03-27 01:30", "10-30 00:30"]
