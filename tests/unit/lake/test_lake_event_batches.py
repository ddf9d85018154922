"""Micro-batches of events: partitions of their own beside those of pulls, landed again without a trace, folded without a change."""

from datetime import UTC, date, datetime
from pathlib import Path

import landing_documents as docs
import polars as pl
import pytest
from landing_documents import Landing

from commerce_assets import contracts
from commerce_assets.lake import (
    AppendPartition,
    LoadReport,
    Merge,
    ReplaceDays,
    ReplacePartition,
    fold_events,
    journal,
    quarantine_rows,
    replay,
)
from commerce_assets.sources.shopify.mapping import INVENTORY, ORDERS

BATCH = "events-20260301T100500000000-orders"
NEXT = "events-20260301T100501000000-orders"
LAST = "events-20260301T100502000000-orders"


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
    refused = landing.lake.refused("orders", BATCH)
    assert refused == {**dict.fromkeys(range(2, 12), "email_format"), 77: "broken_json"}
    assert landing.lake.refused("orders", NEXT) == {}


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


def rows_that_hold(landing: Landing, family: str = "orders") -> dict[str, pl.DataFrame]:
    """What staging makes of a family: of each document the newest version, of its children those that came with it."""
    tables = contracts.family(family)
    root, key = tables[0], list(tables[0].key)
    newest = landing.lake.read(root).sort(*key, "_version_at", "_loaded_at").unique(key, keep="last")
    link = newest.select(root.key[-1], "_version_at", "_loaded_at")
    held = {}
    for table in tables:
        on = [table.root_id, "_version_at", "_loaded_at"]
        held[table.name] = landing.lake.read(table).drop("partition").join(link, on=on, how="semi").sort(pl.all().exclude("tags"))
    return held


def versions(landing: Landing) -> None:
    """A pull and three batches: orders that change, lose a child, come again in the same version, and never change."""
    landing.land([*docs.document(1), *docs.document(4)])
    append(landing, [*docs.document(1, updated="2026-03-01T10:04:59Z"), *docs.document(2)])
    append(landing, [*docs.document(2, updated="2026-03-01T10:05:00Z", fulfillments=[]), *docs.document(3)], NEXT)
    append(landing, docs.document(3, fulfillments=[]), LAST)


def test_folding_leaves_one_partition_and_the_rows_that_readers_see(landing: Landing) -> None:
    versions(landing)
    before = rows_that_hold(landing)
    folded = fold_events(landing.lake, "orders")
    assert folded is not None
    assert (folded.partitions, folded.into) == ((BATCH, NEXT, LAST), LAST)
    assert files_of(landing) == {"partition=2026-03-01/data.parquet", f"partition={LAST}/folded.parquet"}
    assert landing.ids("orders", "order_id") == [1, 1, 2, 3, 4]
    after = rows_that_hold(landing)
    assert {name: rows.equals(before[name]) for name, rows in after.items()} == dict.fromkeys(before, True)
    (report,) = landing.lake.event_reports("orders")
    assert (report.load_id, report.mode, report.tables["orders"].accepted, report.partitions) == (LAST, "folded", 5, [LAST])
    assert fold_events(landing.lake, "orders") is None


def test_a_thorough_fold_leaves_out_what_a_pull_brought_since(landing: Landing) -> None:
    versions(landing)
    landing.land([*docs.document(1, updated="2026-03-01T10:04:59Z"), *docs.document(2)], mode=docs.DAY, load_id="load-2")
    before = rows_that_hold(landing)
    assert fold_events(landing.lake, "orders", is_thorough=True) is not None
    rows = landing.lake.read("orders").filter(pl.col("partition").str.starts_with("events-"))
    assert sorted(rows["order_id"]) == [2, 3], "1 came with a pull in the same version, later; 2 is older there, 3 was not pulled"
    assert {name: rows.equals(before[name]) for name, rows in rows_that_hold(landing).items()} == dict.fromkeys(before, True)
    landing.land([line for n in (2, 3) for line in docs.document(n, updated="2026-03-01T12:00:00Z")], mode=docs.DAY, load_id="load-3")
    folded = fold_events(landing.lake, "orders", is_thorough=True)
    assert folded is not None
    assert folded.into is None
    assert files_of(landing) == {"partition=2026-03-01/data.parquet"}


@pytest.mark.parametrize("name", [BATCH, LAST])
def test_a_batch_landed_again_after_it_was_folded_stands_there_once(landing: Landing, name: str) -> None:
    append(landing, docs.document(1), BATCH)
    append(landing, docs.document(2), LAST)
    fold_events(landing.lake, "orders")
    append(landing, docs.document(1 if name == BATCH else 2), name)
    assert landing.ids("orders", "order_id") == [1, 2]
    assert landing.ids("transactions", "order_id") == [1, 2]
    assert f"partition={LAST}/folded.parquet" in files_of(landing)
    fold_events(landing.lake, "orders")
    assert files_of(landing) == {f"partition={LAST}/folded.parquet"}
    assert landing.ids("orders", "order_id") == [1, 2]


def test_nothing_is_folded_while_somebody_reads(landing: Landing) -> None:
    append(landing, docs.document(1))
    append(landing, docs.document(2), NEXT)
    with landing.lake.reading():
        assert fold_events(landing.lake, "orders") is None
        append(landing, docs.document(3), LAST)
    assert fold_events(landing.lake, "orders") is not None


def test_counts_of_stock_keep_the_last_of_every_day_when_folded(landing: Landing) -> None:
    counts = {"events-20260301T100000000000-stock": 5, "events-20260301T110000000000-stock": 4, "events-20260302T100000000000-stock": 3}
    for name, count in counts.items():
        level = docs.inventory_level(quantities=[{"name": "available", "quantity": count}])
        for other in ("on_hand", "committed", "incoming", "reserved"):
            level["quantities"].append({"name": other, "quantity": 0})
        append(landing, [docs.inventory_item(), level], name, "inventory")
    assert fold_events(landing.lake, "inventory") is not None
    assert landing.ids("inventory_levels", "available_quantity") == [3, 4]


def test_an_interrupted_fold_is_completed(landing: Landing, monkeypatch: pytest.MonkeyPatch) -> None:
    versions(landing)
    before = rows_that_hold(landing)

    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(journal, "roll_forward", dies)
    with pytest.raises(KeyboardInterrupt):
        fold_events(landing.lake, "orders")
    monkeypatch.undo()
    assert landing.lake.recover() == ["fold-orders"]
    assert files_of(landing) == {"partition=2026-03-01/data.parquet", f"partition={LAST}/folded.parquet"}
    assert {name: rows.equals(before[name]) for name, rows in rows_that_hold(landing).items()} == dict.fromkeys(before, True)


def test_a_refused_count_of_an_event_is_not_landed_later_but_replaced_by_the_next_pull(landing: Landing) -> None:
    append(landing, [docs.inventory_item(1, sku="A", createdAt=None), docs.inventory_level(1, 1)], BATCH, "inventory")
    assert quarantine_rows(landing.lake)["table"].to_list() == ["inventory_items", "inventory_levels"]
    assert replay(landing.lake, INVENTORY).tried == 0
    landing.land([docs.inventory_item(1), docs.inventory_level(1, 1)], "inventory", mode=ReplacePartition("2026-03-01"), load_id="load-2")
    assert quarantine_rows(landing.lake).is_empty()
