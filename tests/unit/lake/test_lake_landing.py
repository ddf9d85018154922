"""Landing: whole documents come through, bad rows are named, and nothing is lost on the way."""

from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from shutil import copytree
from typing import Any

import duckdb
import landing_documents as docs
import polars as pl
import pytest
from landing_documents import Landing

from commerce_assets.lake import (
    ControlTotalError,
    Declared,
    Lake,
    LoadError,
    LoadReport,
    Merge,
    ReplaceDays,
    ReplacePartition,
    TableReport,
    quarantine_rows,
)

# On one worker: elsewhere what the tests share would be landed once more.
pytestmark = [pytest.mark.timeout(600), pytest.mark.xdist_group("lake_landing")]


@pytest.fixture(scope="module")
def empty_lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The typed empty files of every table, to be copied: writing them takes as long as landing a chunk."""
    return Landing(tmp_path_factory.mktemp("empty")).lake.root


@pytest.fixture
def landing(empty_lake: Path, tmp_path: Path) -> Landing:
    return landing_in(tmp_path, empty_lake)


def landing_in(folder: Path, empty_lake: Path) -> Landing:
    """As `Landing(folder)`."""
    made = Landing.__new__(Landing)
    made.lake = Lake(copytree(empty_lake, folder / "lake"))
    return made


def test_an_order_arrives_in_every_table_with_types_and_trace(landing: Landing) -> None:
    refunded = docs.order(refunds=[docs.refund()], totalRefundedSet=docs.money("10.00"))
    report = landing.land(
        [refunded, docs.line_item(), docs.shipping_line(), docs.discount()],
        drained=[docs.refund_line()],
        declared=Declared(objects=4, roots=1),
    )

    assert {name: table.accepted for name, table in report.tables.items()} == {
        "orders": 1,
        "order_lines": 1,
        "discount_applications": 1,
        "shipping_lines": 1,
        "tax_lines": 1,
        "transactions": 1,
        "refunds": 1,
        "refund_lines": 1,
        "fulfillments": 1,
        "fulfillment_lines": 1,
    }
    assert report.quarantined == report.duplicates == report.broken_lines == 0
    order = landing.lake.read("orders").row(0, named=True)
    assert order["order_id"] == 1
    assert order["total_amount"] == Decimal("29.0000")
    assert order["processed_at"] == datetime.fromisoformat("2026-03-01T09:00:00+00:00")
    assert order["partition"] == "2026-03-01"
    assert (order["_source_file"], order["_line"]) == ("storefront/orders/load-1/part-00000.jsonl", 1)
    assert order["_version_at"] == datetime.fromisoformat("2026-03-01T10:00:00+00:00")
    assert landing.lake.read("refund_lines").row(0, named=True)["order_id"] == 1
    derived = landing.lake.read("fulfillment_lines").row(0, named=True)
    assert (derived["is_derived"], derived["order_line_id"], derived["quantity"]) == (True, 1, 2)


def test_lake_is_readable_by_duckdb_as_dbt_reads_it(landing: Landing) -> None:
    landing.land(docs.document())
    glob = landing.lake.raw_glob("orders")
    found = duckdb.sql(f"select order_id, partition from read_parquet('{glob}', hive_partitioning = true, union_by_name = true)").fetchall()
    assert found == [(1, "2026-03-01")]
    empty = landing.lake.raw_glob("variants")
    assert duckdb.sql(f"select count(*) from read_parquet('{empty}', hive_partitioning = true, union_by_name = true)").fetchall() == [(0,)]


def test_children_may_stand_before_their_parent_and_in_other_parts(landing: Landing) -> None:
    lines = [docs.shipping_line(2, 2), docs.line_item(1, 1), docs.order(2), docs.shipping_line(1, 1), docs.line_item(2, 2), docs.order(1)]
    report = landing.land(lines, parts=3)
    assert report.quarantined == 0
    assert landing.ids("order_lines", "order_line_id") == [1, 2]


def test_keys_in_any_order_white_space_and_escaped_slashes_are_understood(landing: Landing) -> None:
    reordered = dict(reversed(docs.line_item().items()))
    spaced = __import__("json").dumps(docs.order())
    escaped = docs.as_bytes(docs.shipping_line()).replace(b"/", b"\\/")
    report = landing.land([spaced, reordered, escaped])
    assert (report.accepted, report.quarantined) == (7, 0)


UNTYPED: list[tuple[str, Any, str, list[str]]] = [
    ("processedAt", "2026-03-01T09:00:00", "orders", ["naive_time"]),
    ("cancelledAt", "2026-03-01 09:00:00", "orders", ["naive_time"]),
    ("cancelledAt", "yesterday", "orders", ["wrong_type"]),
    ("totalTaxSet.shopMoney.amount", "four", "orders", ["wrong_type"]),
    ("totalTaxSet", "4.00", "orders", ["wrong_type"]),
    ("customer", "gid://shopify/Customer/7", "orders", ["wrong_type"]),
    ("customer.id", "gid://shopify/Customer/abc", "orders", ["id_format"]),
    ("customer.id", "7", "orders", ["id_format"]),
    ("tags", "a,b", "orders", ["wrong_type"]),
    ("note", {"text": "hello"}, "orders", ["wrong_type"]),
    ("test", "maybe", "orders", ["wrong_type"]),
    ("subtotalLineItemsQuantity", 2.5, "orders", ["wrong_type"]),
    ("createdAt", None, "orders", ["not_null:created_at"]),
    ("transactions.0.createdAt", "2026-03-01T09:00:00", "transactions", ["naive_time"]),
    ("transactions.0.parentTransaction", "one", "transactions", ["id_format", "wrong_type"]),
    ("transactions.0.amountSet.shopMoney.amount", "-1", "transactions", ["amount_not_negative"]),
    ("transactions.0.id", "gid://shopify/Order/1", "transactions", ["id_format"]),
    ("fulfillments.0.location", 3, "fulfillments", ["id_format", "wrong_type"]),
]
"""Where in an order stands what, the table whose row is refused for it, and the rules that it breaks."""
REFUSED_LINES: list[tuple[str, Any, list[str]]] = [
    ("quantity", "two", ["wrong_type"]),
    ("quantity", None, ["not_null:quantity"]),
    ("product", "five", ["wrong_type"]),
    ("discountAllocations", 3, ["wrong_type"]),
    ("originalUnitPriceSet.shopMoney.currencyCode", "XXX", ["currency_known"]),
    ("originalUnitPriceSet.shopMoney.amount", "-10.00", ["price_not_negative"]),
    ("quantity", -1, ["quantity_not_negative"]),
    ("title", "card 4111 1111 1111 1111", ["no_card_number"]),
    ("id", "gid://shopify/LineItem/x", ["id_format"]),
]
LINES_A_CASE = 6


@pytest.fixture(scope="module")
def untyped(empty_lake: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Landing, LoadReport]:
    """All that cannot be typed, each in an order of its own before a whole one, in one load. Nobody may land more here."""
    landing = landing_in(tmp_path_factory.mktemp("untyped"), empty_lake)
    lines: list[docs.Line] = []
    for case, (path, value, _, _) in enumerate(UNTYPED):
        order, *children = docs.document(2 * case + 1)
        lines += [docs.with_value(order, path, value), *children, *docs.document(2 * case + 2)]
    return landing, landing.land(lines)


@pytest.mark.parametrize("case", range(len(UNTYPED)), ids=[f"{path}={value}" for path, value, _, _ in UNTYPED])
def test_a_value_that_cannot_be_typed_names_its_rule_and_takes_no_sibling(untyped: tuple[Landing, LoadReport], case: int) -> None:
    _, _, table, rules = UNTYPED[case]
    landing, report = untyped
    first = LINES_A_CASE * case + 1
    everything = quarantine_rows(landing.lake)
    of_case = everything.filter(pl.col("_line").is_between(first, first + LINES_A_CASE - 1))
    refused = of_case.filter(table=table)
    assert refused["failed_rules"].to_list() == [rules]
    assert refused["_line"].to_list() == [first]
    assert report.tables[table].quarantined == everything.filter(table=table).height
    own, sibling = 2 * case + 1, 2 * case + 2
    landed = [order_id for order_id in landing.ids("orders", "order_id") if order_id in (own, sibling)]
    assert landed == ([sibling] if table == "orders" else [own, sibling])
    others = of_case.filter(pl.col("table") != table)
    expected = (
        {("parent_rejected",)} if table == "orders" else {("parent_rejected",)} if table == "fulfillments" and others.height else set()
    )
    assert {tuple(found) for found in others["failed_rules"]} == expected


@pytest.fixture(scope="module")
def refused_lines(empty_lake: Path, tmp_path_factory: pytest.TempPathFactory) -> Landing:
    """Each refused line in an order of its own, in one load. Nobody may land more here."""
    landing = landing_in(tmp_path_factory.mktemp("refused_lines"), empty_lake)
    lines: list[docs.Line] = []
    for number, (path, value, _) in enumerate(REFUSED_LINES, start=1):
        line = docs.with_value(docs.line_item(number, number), path, value)
        lines += [docs.order(number, fulfillments=[]), line, docs.shipping_line(number, number)]
    landing.land(lines)
    return landing


@pytest.mark.parametrize("number", range(1, len(REFUSED_LINES) + 1), ids=[f"{path}={value}" for path, value, _ in REFUSED_LINES])
def test_a_refused_line_leaves_its_order_and_is_not_held_against_the_total(refused_lines: Landing, number: int) -> None:
    _, _, rules = REFUSED_LINES[number - 1]
    line = 3 * (number - 1) + 2
    of_line = quarantine_rows(refused_lines.lake).filter(_line=line)
    assert of_line.filter(table="order_lines")["failed_rules"].to_list() == [rules]
    assert refused_lines.ids("orders", "order_id") == list(range(1, len(REFUSED_LINES) + 1))
    taxes = of_line.filter(table="tax_lines")["failed_rules"].to_list()
    assert all(set(found) <= {"parent_rejected", "parent_missing", "id_format"} for found in taxes)


def test_broken_lines_are_quarantined_with_their_bytes_and_their_document(landing: Landing) -> None:
    half = docs.as_bytes(docs.line_item())[:-20] + b',"__parentId":"gid://shopify/Order/1"'
    no_utf8 = b'{"id":"gid://shopify/Order/9","note":"\xff"}'
    report = landing.land([docs.order(fulfillments=[]), half, docs.shipping_line(), b"[1, 2]", no_utf8, b"", b"17"])
    refused = quarantine_rows(landing.lake, rule="broken_json", unmasked=True)
    assert report.broken_lines == 4
    assert sorted(refused["_line"].to_list()) == [2, 4, 5, 7]
    by_line = dict(refused.select("_line", "row").iter_rows())
    assert by_line[2].encode() == half
    assert "\\xff" in by_line[5]
    assert dict(refused.select("_line", "root_id").iter_rows())[2] == 1
    assert landing.ids("orders", "order_id") == [1], "an order with a broken line is not judged by its total"
    assert report.lines == 6, "a blank line is no line"


def test_unknown_objects_are_quarantined(landing: Landing) -> None:
    stranger = {"id": "gid://shopify/Product/5", "title": "Mug"}
    child = {"id": "gid://shopify/Metafield/5", "value": "x", "__parentId": "gid://shopify/Order/1"}
    report = landing.land([*docs.document(), stranger, child])
    assert sorted(quarantine_rows(landing.lake, rule="unknown_object")["_line"].to_list()) == [4, 5]
    assert report.tables["orders"].accepted == 1


def test_orphans_and_the_children_of_refused_roots_are_named_apart(landing: Landing) -> None:
    landing.land([docs.order(email="no address"), docs.line_item(), docs.shipping_line(), docs.line_item(9, 9)])
    rules = {(row["table"], row["row_key"]): row["failed_rules"] for row in quarantine_rows(landing.lake).iter_rows(named=True)}
    assert rules["orders", "1"] == ["email_format"]
    assert rules["order_lines", "1"] == ["parent_rejected"]
    assert rules["order_lines", "9"] == ["parent_missing"]
    assert rules["transactions", "1"] == ["parent_rejected"]


def test_refund_lines_follow_their_refund_and_their_line(landing: Landing) -> None:
    bad = docs.refund(1, "10.00", processedAt="2026-02-01T00:00:00Z")
    lines = [
        docs.order(1, refunds=[bad, docs.refund(2, "5.00")]),
        docs.line_item(1),
        docs.shipping_line(1),
    ]
    drained = [docs.refund_line(1, 1), docs.refund_line(2, 2), docs.refund_line(3, 2, 77), docs.refund_line(4, 88)]
    landing.land(lines, drained=drained)
    refused = {(row["table"], row["row_key"]): row["failed_rules"] for row in quarantine_rows(landing.lake).iter_rows(named=True)}
    assert refused == {
        ("refunds", "1"): ["refund_not_before_order"],
        ("refund_lines", "1"): ["parent_rejected"],
        ("refund_lines", "3"): ["parent_missing"],
        ("refund_lines", "4"): ["parent_missing"],
    }
    assert landing.ids("refund_lines", "refund_line_id") == [2]


def test_only_the_refund_that_exceeds_what_was_paid_is_refused(landing: Landing) -> None:
    refunds = [
        docs.refund(1, "20.00"),
        docs.refund(2, "20.00", processedAt="2026-03-01T09:50:00Z"),
        docs.refund(3, "9.00", processedAt="2026-03-01T09:55:00Z"),
    ]
    landing.land([docs.order(refunds=refunds), docs.line_item(), docs.shipping_line()])
    assert landing.ids("refunds", "refund_id") == [1, 3]
    assert quarantine_rows(landing.lake)["failed_rules"].to_list() == [["refund_within_paid"]]


def test_a_shipment_before_its_order_is_refused_and_nothing_derived_from_it(landing: Landing) -> None:
    landing.land([docs.order(fulfillments=[docs.fulfillment(createdAt="2026-02-01T00:00:00Z")]), docs.line_item(), docs.shipping_line()])
    assert quarantine_rows(landing.lake)["failed_rules"].to_list() == [["fulfillment_not_before_order"]]
    assert landing.ids("fulfillment_lines", "order_line_id") == []


@pytest.mark.parametrize(("total", "is_accepted"), [("29.00", True), ("29.02", True), ("28.98", True), ("29.03", False), ("28.97", False)])
def test_an_orders_total_may_be_a_cent_a_line_off(landing: Landing, total: str, is_accepted: bool) -> None:
    landing.land([docs.with_value(docs.order(), "totalPriceSet.shopMoney.amount", total), docs.line_item(), docs.shipping_line()])
    assert landing.ids("orders", "order_id") == ([1] if is_accepted else [])
    if not is_accepted:
        assert quarantine_rows(landing.lake, table="orders")["failed_rules"].to_list() == [["order_total_matches_lines"]]
        assert (
            landing.ids("order_lines", "order_id")
            == landing.ids("tax_lines", "order_id")
            == landing.ids("fulfillment_lines", "order_id")
            == []
        )


def test_a_total_with_discounts_on_lines_and_shipping_and_taxes_included_adds_up(landing: Landing) -> None:
    order = docs.order(
        taxesIncluded=True,
        totalDiscountsSet=docs.money("4.00"),
        totalShippingPriceSet=docs.money("3.00"),
        totalTipReceivedSet=docs.money("1.00"),
        totalPriceSet={**docs.money("22.00"), "presentmentMoney": {"amount": "22.00"}},
    )
    report = landing.land([order, docs.line_item(), docs.shipping_line(discountedPriceSet=docs.money("3.00"))])
    assert report.quarantined == 0


def test_shipments_are_derived_only_where_one_holds_the_whole_order(landing: Landing) -> None:
    split = docs.order(1, fulfillments=[docs.fulfillment(1, totalQuantity=1), docs.fulfillment(2, totalQuantity=1)])
    cancelled = docs.order(3, fulfillments=[docs.fulfillment(3, status="CANCELLED"), docs.fulfillment(4)])
    lines = [split, *docs.document(1)[1:], cancelled, *docs.document(3)[1:]]
    landing.land(lines, drained=[docs.fulfillment_line(1, 1, 1), docs.fulfillment_line(2, 2, 1)])
    rows = landing.lake.read("fulfillment_lines").sort("fulfillment_id").select("fulfillment_id", "is_derived").rows()
    assert rows == [(1, False), (2, False), (4, True)]


def test_duplicates_are_counted_and_the_newest_version_is_kept(landing: Landing) -> None:
    newer = docs.order(1, updated="2026-03-01T11:00:00Z", note="newer")
    report = landing.land([newer, docs.line_item(), docs.shipping_line(), docs.order(1), docs.line_item(), docs.order(1)])
    assert report.tables["orders"] == TableReport(read=3, accepted=1, quarantined=0, duplicates=2)
    assert report.tables["order_lines"].duplicates == 1
    assert report.tables["transactions"].duplicates == 2
    assert landing.lake.read("orders")["note"].to_list() == ["newer"]


def test_an_accepted_version_gives_way_to_a_refused_newer_one(landing: Landing) -> None:
    bad = docs.order(1, updated="2026-03-01T11:00:00Z", email="nobody")
    report = landing.land([docs.order(1), bad, docs.line_item(), docs.shipping_line()])
    assert report.tables["orders"] == TableReport(read=2, accepted=0, quarantined=1, duplicates=1, rejected_by_rule={"email_format": 1})
    assert landing.ids("order_lines", "order_id") == []


@pytest.mark.parametrize("declared", [Declared(objects=4), Declared(objects=2), Declared(roots=2), Declared(objects=3, roots=0)])
def test_a_count_other_than_declared_replaces_nothing(landing: Landing, declared: Declared) -> None:
    landing.land(docs.document(1))
    with pytest.raises(LoadError, match="declared"):
        landing.land(docs.document(2), load_id="load-2", declared=declared)
    assert landing.ids("orders", "order_id") == [1]
    assert [report.load_id for report in landing.lake.reports()] == ["load-1"]
    assert not list((landing.lake.root / "_staging").iterdir())


def test_drained_lines_are_not_part_of_the_declared_count(landing: Landing) -> None:
    landing.land(
        [docs.order(refunds=[docs.refund()]), docs.line_item(), docs.shipping_line()], drained=[docs.refund_line()], declared=Declared(3, 1)
    )
    assert landing.ids("refund_lines", "refund_line_id") == [1]


def test_too_many_refused_rows_fail_the_load_and_keep_what_was_there(landing: Landing) -> None:
    landing.land(docs.document(1))
    bad = [line for number in range(2, 9) for line in docs.document(number, email="nobody")]
    with pytest.raises(LoadError, match="orders email_format: 7") as failed:
        landing.land(bad, load_id="load-2", max_reject_rate=0.05)
    assert "nobody" not in str(failed.value)
    assert landing.ids("orders", "order_id") == [1]
    assert quarantine_rows(landing.lake).is_empty()


def test_a_few_refused_rows_never_fail_a_small_load(landing: Landing) -> None:
    report = landing.land([*docs.document(1, email="nobody"), *docs.document(2)], max_reject_rate=0.01)
    assert report.tables["orders"].quarantined == 1


def test_counts_that_do_not_add_up_are_an_error() -> None:
    with pytest.raises(ControlTotalError, match="read 3 rows"):
        TableReport(read=3, accepted=1, quarantined=1).check("load-1", "orders")


def test_replacing_days_replaces_them_by_nothing_too(landing: Landing) -> None:
    both = ReplaceDays(date(2026, 3, 1), date(2026, 3, 2))
    landing.land([*docs.document(1), *docs.document(2, updated="2026-03-02T08:00:00Z")], mode=both)
    landing.land(docs.document(3, updated="2026-03-02T09:00:00Z"), mode=both, load_id="load-2")
    assert landing.ids("orders", "order_id") == [3]
    assert landing.lake.read("order_lines")["partition"].unique().to_list() == ["2026-03-02"]
    assert landing.lake.partitions(docs.MAPPINGS["orders"].root.contract).keys() == {"2026-03-02"}


def test_a_rerun_changes_nothing(landing: Landing) -> None:
    for load_id in ("load-1", "load-1", "load-2"):
        report = landing.land([*docs.document(1), *docs.document(2, email="nobody")], load_id=load_id)
        assert landing.ids("orders", "order_id") == [1]
        assert quarantine_rows(landing.lake, table="orders")["load_id"].to_list() == [load_id]
        assert report.tables["orders"].read == 2


def test_a_document_updated_after_its_range_joins_its_own_day(landing: Landing) -> None:
    second = ReplaceDays(date(2026, 3, 2), date(2026, 3, 2))
    landing.land(docs.document(1, updated="2026-03-02T08:00:00Z"), mode=second)
    landing.land(docs.document(2, updated="2026-03-02T09:00:00Z"), load_id="load-2")
    assert landing.lake.read("orders").sort("order_id").select("order_id", "partition").rows() == [(1, "2026-03-02"), (2, "2026-03-02")]
    landing.land(docs.document(2, updated="2026-03-02T07:00:00Z", note="older"), load_id="load-3")
    assert landing.lake.read("orders").filter(order_id=2)["note"].to_list() == [None], "an older version does not replace a newer one"


def test_merging_replaces_documents_and_keeps_others(landing: Landing) -> None:
    landing.land([docs.customer(1), docs.address(10), docs.address(11), docs.customer(2), docs.address(20, 2)], "customers", mode=Merge())
    changed = docs.customer(1, updatedAt="2026-03-02T00:00:00Z", lastName="Baker")
    report = landing.land([changed, docs.address(12)], "customers", mode=Merge(), load_id="load-2")
    assert landing.ids("customer_addresses", "address_id") == [12, 20]
    assert sorted(landing.lake.read("customers")["last_name"]) == ["Archer", "Baker"]
    assert report.partitions == ["all"]


def test_a_customers_children_know_which_address_is_the_default(landing: Landing) -> None:
    lines = [docs.address(11), docs.address(10), docs.customer(1), docs.metafield(1, "gid://shopify/Customer/1")]
    landing.land(lines, "customers", mode=Merge())
    assert dict(landing.lake.read("customer_addresses").select("address_id", "is_default").iter_rows()) == {10: True, 11: False}
    assert landing.lake.read("customer_consents").sort("channel")["consent_state"].to_list() == ["SUBSCRIBED", "NOT_SUBSCRIBED"]


def test_products_inventory_locations_and_ids_land(landing: Landing) -> None:
    lines = [docs.product(), docs.variant(), docs.media(), docs.metafield(1, "gid://shopify/Product/1", value='["a", "b"]')]
    landing.land(lines, "products", mode=Merge())
    variant = landing.lake.read("variants").row(0, named=True)
    assert (variant["option_values"], variant["price_amount"], variant["inventory_quantity"]) == (
        '{"Colour":"Blue"}',
        Decimal("10.0000"),
        -2,
    )
    assert landing.ids("product_metafields", "value") == ['["a", "b"]']
    landing.land([docs.inventory_item(), docs.inventory_level()], "inventory", mode=ReplacePartition("2026-03-01"))
    landing.land([docs.inventory_item(), docs.inventory_level()], "inventory", mode=ReplacePartition("2026-03-02"), load_id="load-2")
    assert sorted(landing.lake.read("inventory_levels")["partition"].to_list()) == ["2026-03-01", "2026-03-02"]
    assert landing.lake.read("inventory_levels")["committed_quantity"].to_list() == [2, 2]
    landing.land([docs.location()], "locations", mode=ReplacePartition("all"))
    assert landing.ids("locations", "location_id") == [3]
    swept_at = datetime.fromisoformat("2026-03-01T12:00:00+00:00")
    landing.land([{"id": "gid://shopify/Order/1"}], "ids", mode=ReplacePartition("order"), as_of=swept_at)
    assert landing.lake.read("swept_ids").select("object_type", "object_id", "swept_at").rows() == [("order", 1, swept_at)]


def test_countries_become_iso_codes(landing: Landing) -> None:
    spelled = ["United Kingdom", "uk", "GB", "gbr", "England"]
    lines = [docs.customer(), *(docs.address(10 + n, countryCodeV2=text) for n, text in enumerate(spelled))]
    landing.land([*lines, docs.address(30, countryCodeV2="Atlantis")], "customers", mode=Merge())
    assert set(landing.lake.read("customer_addresses")["country_code"]) == {"GB"}
    assert quarantine_rows(landing.lake)["failed_rules"].to_list() == [["country_known"]]


def test_the_listing_masks_people_and_cards_unless_asked(landing: Landing) -> None:
    order = docs.order(email="ann@", note="card 4111-1111-1111-1111")
    order["transactions"] = [docs.transaction(gateway="4111 1111 1111 1111 shop", amountSet=docs.money("-1", "GBP"))]
    landing.land([order, docs.line_item(title="4111111111111111"), docs.shipping_line(), b'{"id":"gid://shopify/Order/2","email":"ann@'])
    shown = "".join(quarantine_rows(landing.lake)["row"])
    assert "ann@" not in shown
    assert "4111 1111" not in shown
    assert "4111111111111111" not in shown
    assert "************1111" in shown
    assert "ann@" in "".join(quarantine_rows(landing.lake, unmasked=True)["row"])


def test_an_empty_load_is_no_error(landing: Landing) -> None:
    report = landing.land([], declared=Declared(objects=0, roots=0))
    assert (report.lines, report.partitions) == (0, [])
    assert landing.lake.read("orders").is_empty()


def test_files_outside_the_lake_are_refused(landing: Landing, tmp_path: Path) -> None:
    from commerce_assets.lake import land

    stray = tmp_path / "part-00000.jsonl"
    stray.write_text("{}\n")
    with pytest.raises(LoadError, match="files/"):
        land(landing.lake, "orders", docs.MAPPINGS["orders"], [stray], "load-1", docs.DAY)
