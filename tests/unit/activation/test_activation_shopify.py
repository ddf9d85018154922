"""The Shopify destination through a whole push, against a shop in memory: the contract every destination has to keep."""

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from activation_fakes import FakeShop
from shipped_syncs import MAPPING, SYNC, as_records, push_customer_scores

from commerce_assets.activation.destinations.shopify import ShopifyCustomers
from commerce_assets.activation.engine import PushInterruptedError, PushReport
from commerce_assets.activation.errors import DesiredStateError, DestinationError, GuardTrippedError, SyncBusyError
from commerce_assets.activation.ledger import Ledger, ledger_frames

AS_OF = date(2026, 11, 21)
SEGMENT, LIFECYCLE = "commerce.rfm_segment", "commerce.lifecycle"


def gid(number: int) -> str:
    return f"gid://shopify/Customer/{number}"


def desired(*rows: Mapping[str, Any] | int, as_of: date = AS_OF) -> pl.DataFrame:
    """Rows of the sync's model; a number stands for an ordinary active customer."""
    full = []
    for row in rows:
        given = {"number": row} if isinstance(row, int) else dict(row)
        number = given.pop("number")
        ordinary = {
            "customer_gid": gid(number),
            "rfm_segment": "loyal",
            "lifecycle": "active",
            "is_vip": False,
            "monetary_value_amount": Decimal("12.5000"),
            "vip_tier": "gold",
            "churn_risk": "low",
            "predicted_value_amount": Decimal("8.2500"),
            "next_order_expected_on": as_of + timedelta(days=13),
            "as_of_on": as_of,
            "lifecycle_tags": ["lifecycle:active"],
        }
        full.append({**ordinary, **given})
    schema = {
        "customer_gid": pl.String,
        "rfm_segment": pl.String,
        "lifecycle": pl.String,
        "is_vip": pl.Boolean,
        "monetary_value_amount": pl.Decimal(18, 4),
        "vip_tier": pl.String,
        "churn_risk": pl.String,
        "predicted_value_amount": pl.Decimal(18, 4),
        "next_order_expected_on": pl.Date,
        "as_of_on": pl.Date,
        "lifecycle_tags": pl.List(pl.String),
    }
    return pl.DataFrame(full, schema=schema)


@pytest.fixture
def ledger_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'ops.sqlite'}"


@pytest.fixture(params=["direct", "bulk"])
def path_options(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def push_to(shop: FakeShop, rows: pl.DataFrame, ledger_url: str, path: str = "direct", **options: Any) -> PushReport:
    bulk = {"bulk": shop.run_bulk, "bulk_threshold": 0} if path == "bulk" else {}
    return push_customer_scores(rows, shop, ledger_url, **bulk, **options)


def test_values_tags_and_definitions_arrive(ledger_url: str, path_options: str) -> None:
    shop = FakeShop([gid(1), gid(2)])
    shop.customers[gid(1)].tags = ["Merchant's own", "vip"]
    report = push_to(
        shop, desired({"number": 1, "is_vip": True, "lifecycle_tags": ["lifecycle:vip", "lifecycle:active"]}, 2), ledger_url, path_options
    )

    assert (report.status, report.creates, report.succeeded, report.failed) == ("succeeded", 2, 2, 0)
    assert report.estimate is not None
    assert report.estimate.path == path_options
    customer = shop.customers[gid(1)]
    assert customer.metafields == {
        "commerce.rfm_segment": ("single_line_text_field", "loyal"),
        "commerce.lifecycle": ("single_line_text_field", "active"),
        "commerce.monetary_value": ("number_decimal", "12.5"),
        "commerce.is_vip": ("boolean", "true"),
        "commerce.vip_tier": ("single_line_text_field", "gold"),
        "commerce.churn_risk": ("single_line_text_field", "low"),
        "commerce.predicted_value": ("number_decimal", "8.25"),
        "commerce.next_order_on": ("date", "2026-12-04"),
        "commerce.scored_as_of": ("date", "2026-11-21"),
    }
    assert customer.tags == ["Merchant's own", "vip", "lifecycle:active", "lifecycle:vip"]
    assert shop.definitions == {target.key: target.type for target in MAPPING.metafields}


def test_second_run_writes_nothing_even_when_the_as_of_day_moved(ledger_url: str, path_options: str) -> None:
    shop = FakeShop([gid(n) for n in range(1, 40)])
    push_to(shop, desired(*range(1, 40)), ledger_url, path_options)
    before, calls = shop.state(), shop.calls.copy()
    report = push_to(shop, desired(*range(1, 40), as_of=date(2026, 11, 22)), ledger_url, path_options)
    assert (report.planned, report.unchanged, report.requests) == (0, 39, 0)
    assert shop.state() == before
    assert shop.calls == calls


def test_only_what_changed_is_written_and_as_of_with_it(ledger_url: str, path_options: str) -> None:
    shop = FakeShop([gid(1), gid(2)])
    push_to(shop, desired(1, 2), ledger_url, path_options)
    shop.writes.clear()
    changed = {"number": 1, "lifecycle": "lapsed", "lifecycle_tags": ["lifecycle:lapsed"]}
    report = push_to(shop, desired(changed, 2, as_of=date(2026, 11, 25)), ledger_url, path_options)
    assert (report.updates, report.succeeded, report.unchanged) == (1, 1, 1)
    assert shop.writes == {
        (gid(1), LIFECYCLE): 1,
        (gid(1), "commerce.next_order_on"): 1,
        (gid(1), "commerce.scored_as_of"): 1,
        (gid(1), "lifecycle:lapsed"): 1,
    }
    assert shop.customers[gid(1)].tags == ["lifecycle:lapsed"]
    changes = ledger_frames(ledger_url)["activation_changes"].sort("run_id")
    assert changes.filter(pl.col("operation") == "update")["changed_fields"].to_list() == ["lifecycle,next_order_on,scored_as_of,tags"]


def test_a_valuable_customer_who_lapses_gets_the_tag_exactly_once(ledger_url: str) -> None:
    shop = FakeShop([gid(1)])
    push_to(shop, desired(1), ledger_url)
    lapsed = {"number": 1, "lifecycle": "lapsed", "lifecycle_tags": ["lifecycle:lapsed", "winback:high-value-lapsed"]}
    for day in range(22, 29):
        push_to(shop, desired(lapsed, as_of=date(2026, 11, day)), ledger_url)
    assert shop.writes[gid(1), "winback:high-value-lapsed"] == 1
    assert shop.calls["tagsAdd"] == 2
    assert shop.customers[gid(1)].tags == ["lifecycle:lapsed", "winback:high-value-lapsed"]


def test_nothing_desired_and_nothing_held_calls_nobody(ledger_url: str, path_options: str) -> None:
    shop = FakeShop()
    report = push_to(shop, desired(), ledger_url, path_options)
    assert (report.status, report.planned, shop.calls.total()) == ("succeeded", 0, 0)


def test_dry_run_shows_the_plan_and_writes_nowhere(ledger_url: str) -> None:
    shop = FakeShop([gid(n) for n in range(1, 31)])
    push_to(shop, desired(1, 2, 3), ledger_url)
    before, runs = shop.state(), ledger_frames(ledger_url)["activation_runs"].height
    report = push_to(shop, desired({"number": 1, "rfm_segment": "lost"}, 2, *range(4, 31)), ledger_url, dry_run=True)
    assert (report.status, report.creates, report.updates, report.removals, report.unchanged) == ("planned", 27, 1, 1, 1)
    assert report.estimate is not None
    assert report.estimate.points > 27 * 10
    assert report.sample["update"] == [gid(1)]
    assert len(report.sample["create"]) == 5
    assert shop.state() == before
    assert ledger_frames(ledger_url)["activation_runs"].height == runs


def test_one_bad_customer_never_stops_the_others_of_its_batch(ledger_url: str, path_options: str) -> None:
    shop = FakeShop([gid(n) for n in range(1, 12)])
    shop.refuse = lambda owner, path, value: "is no allowed value" if owner == gid(3) and path == SEGMENT else None
    report = push_to(shop, desired(*range(1, 12)), ledger_url, path_options)
    assert (report.status, report.succeeded, report.failed) == ("partial", 10, 1)
    assert list(report.failure_reasons) == ["INVALID_VALUE: is no allowed value (metafields.value)"]
    assert shop.customers[gid(3)].tags == [], "no tag may start a campaign on values that did not arrive"
    assert all(shop.customers[gid(n)].tags for n in range(1, 12) if n != 3)

    shop.refuse = lambda owner, path, value: None
    shop.writes.clear()
    report = push_to(shop, desired(*range(1, 12)), ledger_url, path_options)
    assert (report.planned, report.succeeded, report.unchanged) == (1, 1, 10)
    assert {owner for owner, _ in shop.writes} == {gid(3)}
    attempts = ledger_frames(ledger_url)["activation_changes"].filter(pl.col("record_key") == gid(3)).sort("run_id")
    assert attempts.select("attempt", "outcome").rows() == [(1, "failed"), (2, "succeeded")]
    assert attempts["idempotency_key"].n_unique() == 1


def test_an_error_that_names_no_row_is_found_by_sending_each_alone(ledger_url: str) -> None:
    shop = FakeShop([gid(n) for n in range(1, 6)])
    shop.refuse = lambda owner, path, value: "anonymous" if owner == gid(4) else None
    report = push_to(shop, desired(*range(1, 6)), ledger_url)
    assert (report.succeeded, report.failed) == (4, 1)


def test_deleted_customers_are_skipped_once_and_left_alone_after(ledger_url: str, path_options: str) -> None:
    shop = FakeShop([gid(1), gid(3)])
    report = push_to(shop, desired(1, 2, 3), ledger_url, path_options)
    assert (report.status, report.succeeded, report.gone, report.failed) == ("succeeded", 2, 1, 0)
    mutations = shop.mutations
    report = push_to(shop, desired(1, 2, 3), ledger_url, path_options)
    assert report.skipped == {"gone_at_destination": 1}
    assert shop.mutations == mutations
    reasons = ledger_frames(ledger_url)["activation_changes"].filter(pl.col("outcome") == "skipped")["reason"].to_list()
    assert reasons == ["gone at the destination"]


def test_a_customer_deleted_between_two_pushes_is_skipped_not_failed(ledger_url: str, path_options: str) -> None:
    shop = FakeShop([gid(1), gid(2)])
    push_to(shop, desired(1, 2), ledger_url, path_options)
    del shop.customers[gid(1)]
    change = {"lifecycle": "lapsed", "lifecycle_tags": ["lifecycle:lapsed"]}
    report = push_to(shop, desired({"number": 1, **change}, {"number": 2, **change}), ledger_url, path_options)
    assert (report.succeeded, report.gone, report.failed) == (1, 1, 0)


def test_who_leaves_the_set_loses_what_we_wrote_and_only_that(ledger_url: str, path_options: str) -> None:
    shop = FakeShop([gid(1), gid(2)])
    shop.customers[gid(1)].tags = ["keep me"]
    shop.customers[gid(1)].metafields["commerce.note"] = ("single_line_text_field", "not ours")
    push_to(shop, desired(1, 2), ledger_url, path_options)
    report = push_to(shop, desired(2), ledger_url, path_options)
    assert (report.removals, report.succeeded) == (1, 1)
    assert shop.customers[gid(1)].tags == ["keep me"]
    assert list(shop.customers[gid(1)].metafields) == ["commerce.note"]
    assert push_to(shop, desired(2), ledger_url, path_options).planned == 0


def test_an_empty_set_by_mistake_does_not_wipe_the_shop(ledger_url: str) -> None:
    shop = FakeShop([gid(n) for n in range(1, 61)])
    push_to(shop, desired(*range(1, 61)), ledger_url)
    before = shop.state()
    with pytest.raises(GuardTrippedError, match="removes 60 of 60"):
        push_to(shop, desired(), ledger_url)
    assert shop.state() == before
    assert ledger_frames(ledger_url)["activation_runs"]["status"].to_list() == ["succeeded", "refused"]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("operation", ["metafieldsSet", "tagsAdd"])
def test_a_lost_answer_is_read_back_and_nothing_is_written_twice(ledger_url: str, operation: str, when: str) -> None:
    shop = FakeShop([gid(n) for n in range(1, 21)])
    lost: list[int] = []

    def fault(called: str, variables: Mapping[str, Any]) -> str | None:
        if called == operation and not lost:
            lost.append(1)
            return when
        return None

    shop.fault = fault
    first = push_to(shop, desired(*range(1, 21)), ledger_url)
    assert first.resolved == (2 if operation == "metafieldsSet" else 1)
    if first.failed:
        assert list(first.failure_reasons) == [f"LostAnswerError: {operation} lost; not or only partly applied, by reading back"]
    assert first.unknown == 0
    if operation == "tagsAdd":
        assert first.succeeded == (20 if when == "after" else 19)
    second = push_to(shop, desired(*range(1, 21)), ledger_url)
    assert second.succeeded == second.planned == 20 - first.succeeded
    assert all(
        customer.tags == ["lifecycle:active"] and len(customer.metafields) == len(MAPPING.metafields)
        for customer in shop.customers.values()
    )
    assert set(shop.writes.values()) == {1}, "each value was written once"


def test_a_bulk_mutation_that_stops_half_way_is_resolved_by_reading_back(ledger_url: str) -> None:
    shop = FakeShop([gid(n) for n in range(1, 31)])
    shop.fault = lambda called, row: "stop" if called == "bulk metafieldsSet" and row["metafields"][0]["ownerId"] == gid(10) else None
    first = push_to(shop, desired(*range(1, 31)), ledger_url, "bulk")
    assert (first.status, first.succeeded, first.failed, first.resolved) == ("partial", 28, 2, 2), (
        "by key, 1 and 10 come first; results come from the end"
    )
    shop.fault = lambda called, row: "after" if called == "bulk tagsAdd" and row["id"] == gid(1) else None
    second = push_to(shop, desired(*range(1, 31)), ledger_url, "bulk")
    assert (second.planned, second.succeeded, second.resolved) == (2, 2, 1)
    assert set(shop.writes.values()) == {1}


def test_tags_go_one_by_one_where_the_shop_takes_none_in_bulk(ledger_url: str) -> None:
    shop = FakeShop([gid(n) for n in range(1, 11)])
    shop.bulk_refuses = {"tagsAdd", "tagsRemove"}
    report = push_to(shop, desired(*range(1, 11)), ledger_url, "bulk")
    assert (report.succeeded, shop.calls["bulk metafieldsSet"], shop.calls["metafieldsSet"], shop.calls["tagsAdd"]) == (10, 1, 0, 10)


def test_a_shop_that_is_down_ends_the_push_and_the_next_one_goes_on(ledger_url: str) -> None:
    shop = FakeShop([gid(n) for n in range(1, 601)])
    shop.fault = lambda called, variables: (
        "before" if called in ("metafieldsSet", "tagsAdd") and shop.calls["metafieldsSet"] > 150 else None
    )
    with pytest.raises(PushInterruptedError, match="run again") as stopped:
        push_to(shop, desired(*range(1, 601)), ledger_url)
    assert stopped.value.report.status == "interrupted"
    assert 0 < stopped.value.report.succeeded < 600
    with Ledger(ledger_url) as ledger:
        assert ledger.open_intents(SYNC)
    shop.fault = lambda called, variables: None
    shop.running_bulk = 0
    report = push_to(shop, desired(*range(1, 601)), ledger_url)
    assert report.open_before == report.resolved > 0
    assert stopped.value.report.succeeded + report.succeeded == 600
    assert set(shop.writes.values()) == {1}
    with Ledger(ledger_url) as ledger:
        assert ledger.open_intents(SYNC) == []


def test_a_lost_ledger_is_rebuilt_by_reading_and_nothing_is_written_again(tmp_path: Path) -> None:
    shop = FakeShop([gid(n) for n in range(1, 21)])
    push_to(shop, desired(*range(1, 21)), f"sqlite:///{tmp_path / 'first.sqlite'}")
    mutations = shop.mutations
    report = push_to(shop, desired(*range(1, 21), as_of=date(2026, 11, 24)), f"sqlite:///{tmp_path / 'second.sqlite'}")
    assert (report.creates, report.succeeded, shop.mutations) == (20, 20, mutations)


def test_unicode_and_tag_limits(ledger_url: str) -> None:
    shop = FakeShop([gid(1), gid(2)])
    rows = desired(
        {"number": 1, "rfm_segment": "Treue Kundin ✓ 顧客 '\"\\", "lifecycle_tags": ["Lifecycle:Würzig-中文", "lifecycle:aktiv "]},
        {"number": 2, "lifecycle_tags": ["lifecycle:" + "x" * 250]},
    )
    report = push_to(shop, rows, ledger_url)
    assert (report.succeeded, report.failed) == (1, 1)
    assert shop.customers[gid(1)].metafields[SEGMENT][1] == "Treue Kundin ✓ 顧客 '\"\\"
    assert shop.customers[gid(1)].tags == ["lifecycle:aktiv", "lifecycle:würzig-中文"]
    assert push_to(shop, rows.head(1), ledger_url).planned == 0


def test_a_value_that_becomes_null_is_taken_away(ledger_url: str, path_options: str) -> None:
    shop = FakeShop([gid(1)])
    push_to(shop, desired(1), ledger_url, path_options)
    report = push_to(shop, desired({"number": 1, "rfm_segment": None, "lifecycle_tags": None}), ledger_url, path_options)
    assert (report.updates, report.succeeded) == (1, 1)
    assert SEGMENT not in shop.customers[gid(1)].metafields
    assert shop.customers[gid(1)].tags == []


def test_calls_hold_whole_customers_and_at_most_25_metafields(ledger_url: str) -> None:
    shop = FakeShop([gid(n) for n in range(1, 101)])
    push_to(shop, desired(*range(1, 101)), ledger_url)
    assert shop.largest_batch == 18, "two customers of nine metafields; a third would be cut in two"
    assert shop.calls["metafieldsSet"] == 50


def test_keys_that_are_no_customers_or_ambiguous_are_skipped_by_reason(ledger_url: str) -> None:
    shop = FakeShop([gid(1), gid(2), gid(3)])
    rows = desired(1, 1, 2, {"number": 2, "lifecycle": "lapsed"}, 3).vstack(
        desired(9, 9).with_columns(customer_gid=pl.Series(["12", None]))
    )
    report = push_to(shop, rows, ledger_url)
    assert report.skipped == {"null_key": 2, "repeated_row": 1, "ambiguous_key": 2}
    assert report.desired == report.planned + report.unchanged + sum(report.skipped.values())
    assert sorted(gid_ for gid_, customer in shop.customers.items() if customer.tags) == [gid(1), gid(3)]


def test_a_definition_of_another_type_is_refused_before_any_write(ledger_url: str) -> None:
    shop = FakeShop([gid(1)])
    shop.definitions["is_vip"] = "single_line_text_field"
    with pytest.raises(DestinationError, match=r"commerce\.is_vip of customers is of type single_line_text_field, not boolean"):
        push_to(shop, desired(1), ledger_url)
    assert not shop.writes


def test_a_definition_made_meanwhile_by_someone_else_is_taken_as_it_is() -> None:
    shop = FakeShop()
    destination = ShopifyCustomers(shop, MAPPING)
    destination.prepare()
    destination._ensure(MAPPING.metafields[0], {})
    assert shop.calls["metafieldDefinitionCreate"] == len(MAPPING.metafields) + 1


def test_bulk_mutations_of_a_killed_push_are_waited_for(ledger_url: str) -> None:
    shop = FakeShop()
    shop.running_bulk = 3
    pauses: list[float] = []
    ShopifyCustomers(shop, MAPPING, pause=pauses.append).settle()
    assert len(pauses) == 3


def test_foreign_tags_and_float_money_are_refused() -> None:
    with pytest.raises(DesiredStateError, match="'vip'"):
        as_records(desired({"number": 1, "lifecycle_tags": ["vip"]}))
    with pytest.raises(DesiredStateError, match="Float64"):
        as_records(desired(1).with_columns(pl.col("monetary_value_amount").cast(pl.Float64)))
    with pytest.raises(DesiredStateError, match="lifecycle_tags"):
        as_records(desired(1).drop("lifecycle_tags"))


@pytest.mark.parametrize(("amount", "text"), [("120.0000", "120"), ("0.1000", "0.1"), ("1000", "1000"), ("12.3456", "12.35"), ("0", "0")])
def test_money_in_its_shortest_form(amount: str, text: str) -> None:
    assert as_records(desired({"number": 1, "monetary_value_amount": Decimal(amount)}))["monetary_value"].to_list() == [text]


def test_an_intent_is_in_the_ledger_before_anything_is_written_outside(tmp_path: Path, path_options: str) -> None:
    shop = FakeShop([gid(n) for n in range(1, 8)])
    seen: list[bool] = []

    def look(called: str, variables: Mapping[str, Any]) -> None:
        key = variables.get("id") or (variables.get("metafields") or [{}])[0].get("ownerId")
        if key:
            with closing(sqlite3.connect(tmp_path / "ops.sqlite")) as other:
                found = other.execute("select outcome from activation_changes where record_key = ?", (key,)).fetchall()
            seen.append(found == [(None,)])

    shop.fault = look
    push_to(shop, desired(*range(1, 8)), f"sqlite:///{tmp_path / 'ops.sqlite'}", path_options)
    assert len(seen) >= 9
    assert all(seen)


def test_the_ledger_on_sqlite_is_durable(tmp_path: Path) -> None:
    with Ledger(f"sqlite:///{tmp_path / 'deep' / 'ops.sqlite'}") as ledger, ledger.engine.connect() as connection:
        pragmas = [connection.exec_driver_sql(f"pragma {name}").scalar() for name in ("journal_mode", "synchronous")]
    assert pragmas == ["wal", 2]


def test_an_index_lost_with_a_killed_first_start_comes_back(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ops.sqlite'}"
    with Ledger(url) as ledger, ledger.engine.begin() as connection:
        connection.exec_driver_sql("drop index activation_state_plan")
    with Ledger(url) as ledger, ledger.engine.connect() as connection:
        assert connection.exec_driver_sql("select 1 from sqlite_master where name = 'activation_state_plan'").scalar() == 1


def test_two_pushes_of_one_sync_do_not_run_side_by_side(ledger_url: str) -> None:
    with Ledger(ledger_url) as ledger, ledger.exclusive(SYNC), pytest.raises(SyncBusyError, match="another process"):
        push_to(FakeShop(), desired(), ledger_url)


def test_exported_tables_hold_no_values_and_are_typed_when_empty(ledger_url: str) -> None:
    empty = ledger_frames(ledger_url)
    shop = FakeShop([gid(1)])
    push_to(shop, desired({"number": 1, "rfm_segment": "cant_lose"}), ledger_url, run_id="dagster-run-7")
    full = ledger_frames(ledger_url)
    for name, frame in full.items():
        assert frame.schema == empty[name].schema
        assert "cant_lose" not in frame.write_csv()
    assert full["activation_runs"].select("requested_by", "status", "create_count", "succeeded_count").rows() == [
        ("dagster-run-7", "succeeded", 1, 1)
    ]
    assert full["activation_changes"].schema["resolved_at"] == pl.Datetime("us", "UTC")


def test_progress_counts_up_to_the_whole(ledger_url: str) -> None:
    shop = FakeShop([gid(n) for n in range(1, 301)])
    seen: list[tuple[int, int]] = []
    push_to(shop, desired(*range(1, 301)), ledger_url, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(250, 300), (300, 300)]


@pytest.fixture
def documents() -> dict[str, str]:
    folder = Path(__file__).resolve().parents[3] / "commerce_assets" / "activation" / "destinations" / "queries"
    return {path.stem: path.read_text() for path in sorted(folder.glob("*.graphql"))}


def test_documents_are_valid_in_the_published_schema(documents: dict[str, str]) -> None:
    import gzip
    import json

    from graphql import build_client_schema, parse, validate
    from support import shared_path

    with gzip.open(shared_path("shopify/admin-2026-10.introspection.json.gz")) as text:
        schema = build_client_schema(json.load(text)["data"], assume_valid=True)
    assert len(documents) == 16
    assert {name: [error.message for error in validate(schema, parse(text))] for name, text in documents.items()} == {
        name: [] for name in documents
    }
