"""Replay, compaction and what happens to a quarantine when its days are landed again."""

from datetime import date
from pathlib import Path

import landing_documents as docs
import pytest
from landing_documents import Landing

from commerce_assets.contracts import rules
from commerce_assets.lake import Merge, ReplaceDays, ReplacePartition, compact, quarantine_rows, replay
from commerce_assets.sources.shopify.mapping import CUSTOMERS, INVENTORY, ORDERS

MARCH = ReplaceDays(date(2026, 3, 1), date(2026, 3, 31))
pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def landing(tmp_path: Path) -> Landing:
    return Landing(tmp_path)


@pytest.fixture
def lenient_email(monkeypatch: pytest.MonkeyPatch):
    """A fix of the contract: any text passes as an e-mail address."""

    def fix() -> None:
        monkeypatch.setattr(rules, "EMAIL", r".*")

    return fix


def test_a_replay_before_any_fix_changes_nothing(landing: Landing) -> None:
    landing.land([*docs.document(1, email="nobody"), *docs.document(2)])
    before = quarantine_rows(landing.lake).drop("_loaded_at")
    done = replay(landing.lake, ORDERS)
    assert (done.tried, done.resolved) == (before.height, 0)
    assert quarantine_rows(landing.lake).drop("_loaded_at").equals(before)
    assert landing.ids("orders", "order_id") == [2]


def test_a_replay_after_a_fix_brings_whole_documents_back_once(landing: Landing, lenient_email) -> None:
    bad = docs.order(1, email="nobody", refunds=[docs.refund(1)], fulfillments=[docs.fulfillment(1, totalQuantity=1)])
    lines = [*docs.document(2), bad, docs.line_item(1), docs.shipping_line(1)]
    landing.land(lines, drained=[docs.refund_line(1), docs.fulfillment_line(1)], parts=2)
    assert landing.ids("orders", "order_id") == [2]
    lenient_email()
    done = replay(landing.lake, ORDERS, rule="email_format")
    assert done.resolved == 1
    assert landing.ids("orders", "order_id") == [1, 2]
    for table, column in (
        ("order_lines", "order_id"),
        ("tax_lines", "order_id"),
        ("transactions", "order_id"),
        ("fulfillments", "order_id"),
    ):
        assert landing.ids(table, column) == [1, 2], table
    assert landing.ids("refund_lines", "order_id") == [1]
    assert landing.ids("fulfillment_lines", "order_id") == [1, 2]
    assert quarantine_rows(landing.lake).is_empty()
    row = landing.lake.read("orders").filter(order_id=1).row(0, named=True)
    assert (row["_source_file"], row["_line"]) == ("storefront/orders/load-1/part-00001.jsonl", 1)
    again = replay(landing.lake, ORDERS)
    assert (again.tried, again.reports) == (0, ())
    assert landing.ids("orders", "order_id") == [1, 2]


def test_a_refused_child_is_replayed_with_its_document(landing: Landing, monkeypatch: pytest.MonkeyPatch) -> None:
    landing.land([docs.order(fulfillments=[docs.fulfillment()]), docs.line_item(title="card 4111111111111111"), docs.shipping_line()])
    assert landing.ids("order_lines", "order_line_id") == []
    monkeypatch.setattr(rules, "is_card_number", lambda digits: False)
    done = replay(landing.lake, ORDERS, table="order_lines")
    assert done.resolved == 1
    assert landing.ids("order_lines", "order_line_id") == [1]
    assert landing.ids("tax_lines", "owner_id") == [1]
    assert landing.ids("fulfillment_lines", "order_line_id") == [1], "what was not derived for want of a line is derived now"
    assert landing.ids("orders", "order_id") == [1]
    assert quarantine_rows(landing.lake).is_empty()


def test_a_replay_never_puts_an_old_version_over_a_newer_one(landing: Landing, lenient_email) -> None:
    landing.land([docs.customer(1, note="4111111111111111")], "customers", mode=Merge())
    landing.land([docs.customer(2, updatedAt="2026-03-05T00:00:00Z")], "customers", mode=Merge(), load_id="load-2")
    assert quarantine_rows(landing.lake, "customers", table="customers")["root_id"].to_list() == [1]
    landing.land([docs.customer(1, updatedAt="2026-03-05T00:00:00Z")], "customers", mode=Merge(), load_id="load-3")
    assert quarantine_rows(landing.lake).is_empty(), "the newer version of the document made the refused one history"
    assert replay(landing.lake, CUSTOMERS).tried == 0
    assert landing.ids("customers", "customer_id") == [1, 2]


def test_a_snapshot_is_replayed_into_its_own_day(landing: Landing, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = docs.inventory_item(1, countryCodeOfOrigin="Atlantis")
    for load_id, day in (("load-1", "2026-03-01"), ("load-2", "2026-03-02")):
        landing.land([bad, docs.inventory_level(1, 1)], "inventory", mode=ReplacePartition(day), load_id=load_id)
    assert sorted(set(quarantine_rows(landing.lake)["partition_key"])) == ["2026-03-01", "2026-03-02"]
    monkeypatch.setattr(rules, "KNOWN_COUNTRIES", {"ATLANTIS"})
    replay(landing.lake, INVENTORY, load_id="load-1")
    assert landing.lake.read("inventory_levels")["partition"].to_list() == ["2026-03-01"]
    assert set(quarantine_rows(landing.lake)["load_id"]) == {"load-2"}


def test_landing_days_again_replaces_their_quarantine_only(landing: Landing) -> None:
    lines = [*docs.document(1, email="nobody"), *docs.document(2, updated="2026-03-02T00:00:00Z", email="nobody")]
    landing.land([*lines, b'{"id": broken'], mode=ReplaceDays(date(2026, 3, 1), date(2026, 3, 2)))
    landing.land(docs.document(1), load_id="load-2")
    left = quarantine_rows(landing.lake)
    assert set(left["load_id"]) == {"load-1"}
    assert sorted(left.filter(table="orders")["root_id"].to_list(), key=str) == [2, None]
    landing.land([], mode=ReplaceDays(date(2026, 3, 1), date(2026, 3, 3)), load_id="load-3")
    assert quarantine_rows(landing.lake).is_empty()
    assert landing.lake.read("orders").is_empty()


def test_compaction_changes_no_row_and_only_closed_months(landing: Landing) -> None:
    days = [docs.document(n, updated=f"2026-03-{n:02d}T08:00:00Z") for n in (1, 2, 3)] + [docs.document(4, updated="2026-04-01T08:00:00Z")]
    for number, lines in enumerate(days):
        day = date(2026, 3, number + 1) if number < 3 else date(2026, 4, 1)
        landing.land(lines, mode=ReplaceDays(day, day), load_id=f"load-{number}")
    before = {table.name: landing.lake.read(table).drop("partition").sort("order_id") for table in (t.contract for t in ORDERS.tables)}
    assert compact(landing.lake, "orders", date(2026, 4, 2)) == ["2026-03"]
    assert sorted(set(landing.lake.read("orders")["partition"])) == ["2026-03", "2026-04-01"]
    assert not list(landing.lake.table_folder(ORDERS.root.contract).glob("partition=2026-03-*"))
    for name, rows in before.items():
        assert landing.lake.read(name).drop("partition").sort("order_id").equals(rows), name
    assert compact(landing.lake, "orders", date(2026, 4, 2)) == []


def test_a_day_inside_a_compacted_month_is_replaced_in_the_months_file(landing: Landing) -> None:
    landing.land([line for n in (1, 2) for line in docs.document(n, updated=f"2026-03-0{n}T08:00:00Z")], mode=MARCH)
    assert set(landing.lake.read("orders")["partition"]) == {"2026-03"}, "a closed month landed whole is one file"
    second = ReplaceDays(date(2026, 3, 2), date(2026, 3, 2))
    report = landing.land(docs.document(3, updated="2026-03-02T09:00:00Z"), mode=second, load_id="load-2")
    assert report.partitions == ["2026-03"]
    assert landing.ids("orders", "order_id") == [1, 3]
    assert landing.ids("order_lines", "order_id") == [1, 3]
    landing.land([], mode=second, load_id="load-3")
    assert landing.ids("orders", "order_id") == [1]
    landing.land([], mode=MARCH, load_id="load-4")
    assert landing.lake.read("orders").is_empty()
    assert landing.lake.partitions(ORDERS.root.contract) == {}


def test_an_open_month_stays_in_days(landing: Landing) -> None:
    landing.land(docs.document(1), mode=MARCH, loaded_at=__import__("datetime").datetime.fromisoformat("2026-03-20T00:00:00+00:00"))
    assert set(landing.lake.read("orders")["partition"]) == {"2026-03-01"}
    landing.land(docs.document(1), mode=MARCH, load_id="load-2")
    assert set(landing.lake.read("orders")["partition"]) == {"2026-03"}
    assert landing.ids("orders", "order_id") == [1]


def test_snapshots_keep_their_day_which_only_their_partition_tells(landing: Landing) -> None:
    for day in ("2026-03-01", "2026-03-02"):
        landing.land([docs.inventory_item(), docs.inventory_level()], "inventory", mode=ReplacePartition(day), load_id=f"load-{day}")
    assert compact(landing.lake, "inventory_items", date(2026, 5, 1)) == []
    assert sorted(landing.lake.read("inventory_levels")["partition"]) == ["2026-03-01", "2026-03-02"]
