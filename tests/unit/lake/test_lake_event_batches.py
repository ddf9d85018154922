"""Micro-batches of events: partitions of their own beside those of pulls, landed again without a trace, folded without a change."""

from datetime import UTC, date, datetime
from pathlib import Path

import landing_documents as docs
import polars as pl
import pytest
from landing_documents import Landing

from commerce_assets.lake import AppendPartition, LoadReport, Merge, ReplaceDays, quarantine_rows
from commerce_assets.sources.shopify.mapping import ORDERS

BATCH = "events-20260301T100500000000-orders"
NEXT = "events-20260301T100501000000-orders"


@pytest.fixture
def landing(tmp_path: Path) -> Landing:
    return Landing(tmp_path)


def append(landing: Landing, lines: list[docs.Line | str | bytes], name: str = BATCH, family: str = "orders") -> LoadReport:
    return landing.land(lines, family, load_id=name, mode=AppendPartition(name))


def files_of(landing: Landing, table: str = "orders") -> set[str]:
    home = landing.lake.table_folder(next(t.contract for t in ORDERS.tables if t.table == table))
    return {str(path.relative_to(home)) for path in home.rglob("*.parquet")} - {"partition=empty/data.parquet"}


def test_a_batch_becomes_a_partition_of_its_own_in_the_tables_that_have_rows(landing: Landing) -> None:
    landing.land(docs.document(1))
    report = append(landing, docs.document(1, updated="2026-03-01T10:04:59Z"))
    assert report.partitions == [BATCH]
    assert files_of(landing) == {"partition=2026-03-01/data.parquet", f"partition={BATCH}/data.parquet"}
    assert files_of(landing, "refunds") == set()
    rows = landing.lake.read("orders").filter(pl.col("partition") == BATCH)
    assert rows["_loaded_at"].to_list() == [datetime(2026, 3, 1, 10, 5, tzinfo=UTC)]
    assert rows["_source_file"].to_list() == [f"storefront/orders/{BATCH}/part-00000.jsonl"]


def test_a_batch_landed_again_replaces_what_it_left(landing: Landing) -> None:
    append(landing, [*docs.document(1), *docs.document(2, email="nobody")])
    append(landing, docs.document(3), NEXT)
    assert quarantine_rows(landing.lake, table="orders").height == 1
    append(landing, [docs.order(1, fulfillments=[]), docs.line_item(1), docs.shipping_line(1)])
    assert landing.ids("orders", "order_id") == [1, 3]
    assert landing.ids("fulfillments", "order_id") == [3]
    assert quarantine_rows(landing.lake).is_empty()
    assert [report.load_id for report in landing.lake.event_reports("orders")] == [BATCH, NEXT]


def test_a_refused_document_is_named_with_its_rules_and_fails_no_batch(landing: Landing) -> None:
    bad = [line for number in range(2, 12) for line in docs.document(number, email="nobody")]
    report = append(landing, [*docs.document(1), *bad, b'{"id":"gid://shopify/Order/77",'])
    assert landing.ids("orders", "order_id") == [1]
    assert report.tables["orders"].quarantined == 11
    refused = landing.lake.refused_roots("orders", BATCH)
    assert refused == {**dict.fromkeys(range(2, 12), "email_format"), 77: "broken_json"}
    assert landing.lake.refused_roots("orders", NEXT) == {}


def test_pulls_and_batches_leave_each_others_partitions_alone(landing: Landing) -> None:
    append(landing, docs.document(1, updated="2026-03-01T11:00:00Z"))
    march = ReplaceDays(date(2026, 3, 1), date(2026, 3, 31))
    report = landing.land(docs.document(1), mode=march)
    assert report.partitions == ["2026-03"]
    assert report.duplicates == 0, "an older version than the batch's is no duplicate: both stand, and staging knows the newer"
    assert files_of(landing) == {"partition=2026-03/data.parquet", f"partition={BATCH}/data.parquet"}
    landing.land([], mode=march, load_id="load-2")
    assert files_of(landing) == {f"partition={BATCH}/data.parquet"}

    batch = BATCH.replace("orders", "customers")
    append(landing, [docs.customer(1), docs.address(10, 1)], batch, "customers")
    landing.land([docs.customer(2)], "customers", mode=Merge(), load_id="load-3")
    assert sorted(landing.lake.read("customers")["partition"]) == ["all", batch]


def test_the_reports_of_batches_stand_apart_from_those_of_pulls(landing: Landing) -> None:
    append(landing, docs.document(1))
    landing.land(docs.document(2))
    assert [report.load_id for report in landing.lake.reports()] == ["load-1"]
    (report,) = landing.lake.event_reports("orders")
    assert (report.mode, report.accepted, report.partitions) == (BATCH, 7, [BATCH])


@pytest.mark.parametrize(
    "name", ["2026-03-01", "events-20260301-orders", "events-20260301T100500000000", "events-20260301T100500000000-a/b"]
)
def test_a_batch_must_be_named_as_one(name: str) -> None:
    with pytest.raises(ValueError, match="YYYYMMDDTHHMMSSffffff"):
        AppendPartition(name)
