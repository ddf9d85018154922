"""What to order and what runs out: figures by hand, what is unknown, and the policy played through."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commerce_assets.observability.snapshots import ensure as ensure_copies
from commerce_assets.scoring.demand import (
    REPLENISHMENT_COLUMNS,
    REPLENISHMENT_SCHEMA,
    DemandSettings,
    ReplenishmentSettings,
    plots,
    score_replenishment,
    simulated_service,
)
from commerce_assets.scoring.demand.simulation import played
from commerce_assets.scoring.demand.spread import DISPERSION_COLUMNS, LENGTHS, TAIL_COLUMNS
from commerce_assets.scoring.errors import ScoringError
from commerce_assets.scoring.receipts import Scored, gate_figures
from commerce_assets.service.scores.policies_file import read_policies
from commerce_assets.service.scores.running import query

AS_OF = date(2026, 11, 21)
SCORED_AT = datetime(2026, 11, 22, 3, tzinfo=UTC)
STOCK: dict[str, Any] = {
    "variant_id": pl.Int64,
    "location_id": pl.Int64,
    "available_count": pl.Int64,
    "incoming_count": pl.Int64,
    "unit_cost_amount": pl.Decimal(18, 4),
    "currency_code": pl.String,
}
POLICY: dict[str, Any] = {
    "variant_id": pl.Int64,
    "location_id": pl.Int64,
    "lead_time_days": pl.Float64,
    "lead_time_sd_days": pl.Float64,
    "review_days": pl.Float64,
    "service_level": pl.Float64,
    "pack_size": pl.Int64,
    "minimum_order_count": pl.Int64,
}
LATENCY = {"variant_id": pl.Int64, "sync_p95_seconds": pl.Float64}


def series_of(*daily: float, k: float = 0.2, name: str = "lumpy") -> pl.DataFrame:
    """Series of variants 1, 2, … at location 1, with one dispersion at all lengths and an unbent tail."""
    return pl.DataFrame(
        {
            "variant_id": np.arange(1, len(daily) + 1),
            "location_id": [1] * len(daily),
            "series_class": [name] * len(daily),
            "daily_units": list(daily),
            **{column: [k] * len(daily) for column in DISPERSION_COLUMNS},
            **{column: [1.0] * len(daily) for column in TAIL_COLUMNS},
        },
        schema_overrides={"variant_id": pl.Int64, "location_id": pl.Int64, "series_class": pl.String, "daily_units": pl.Float64},
    )


def stock_of(*rows: tuple[Any, ...]) -> pl.DataFrame:
    """Rows of (variant, available[, incoming[, cost]])."""
    full = []
    for variant, available, *rest in rows:
        incoming, cost = rest + [0, "2.50"][len(rest) :]
        full.append((variant, 1, available, incoming, None if cost is None else Decimal(cost), "EUR"))
    return pl.DataFrame(full, schema=STOCK, orient="row")


def policy_of(**values: Any) -> pl.DataFrame:
    return pl.DataFrame([{name: values.get(name) for name in POLICY}], schema=POLICY)


PLAIN = policy_of(lead_time_days=7.0, lead_time_sd_days=0.0, review_days=7.0, service_level=0.95, pack_size=1, minimum_order_count=0)
NO_POLICY, NO_LATENCY = pl.DataFrame(schema=POLICY), pl.DataFrame(schema=LATENCY)


def scored(
    series: pl.DataFrame, stock: pl.DataFrame, policies: pl.DataFrame = PLAIN, latency: pl.DataFrame = NO_LATENCY, **options: Any
) -> Scored:
    return score_replenishment(series, stock, policies, latency, AS_OF, scored_at=SCORED_AT, **options)


def row_of(*arguments: Any, **options: Any) -> dict[str, Any]:
    return scored(*arguments, **options).rows.row(0, named=True)


def test_output_has_exactly_the_declared_columns_even_for_no_stock() -> None:
    for result in (scored(series_of(1.0), stock_of((1, 5))), scored(series_of(), stock_of())):
        assert dict(result.rows.schema) == REPLENISHMENT_SCHEMA
    assert list(REPLENISHMENT_COLUMNS) == list(REPLENISHMENT_SCHEMA)


def test_the_reorder_point_is_the_quantile_over_lead_time_and_review() -> None:
    from scipy.stats import nbinom

    row = row_of(series_of(2.0), stock_of((1, 10, 5)))
    level = int(nbinom.ppf(0.95, 1 / 0.2, 1 / (1 + 0.2 * 28)))
    assert row["reorder_point_count"] == level == 53
    assert row["safety_stock_count"] == level - 28
    assert row["suggested_order_count"] == level - 15
    assert row["suggested_order_amount"] == Decimal("2.5000") * (level - 15)
    assert row["days_of_cover"] == 5
    assert row["stock_out_rate"] == pytest.approx(1 - nbinom.cdf(10, 1 / 0.2, 1 / (1 + 0.2 * 14)))
    assert (row["is_overstock"], row["overstock_count"], row["overstock_amount"]) == (False, 0, Decimal(0))


def test_orders_are_whole_packs_and_at_least_the_minimum() -> None:
    series, stock = series_of(2.0), stock_of((1, 43))
    assert row_of(series, stock)["suggested_order_count"] == 10
    packs = PLAIN.with_columns(pack_size=pl.lit(12, pl.Int64))
    assert row_of(series, stock, packs)["suggested_order_count"] == 12
    assert row_of(series, stock, packs.with_columns(minimum_order_count=pl.lit(30, pl.Int64)))["suggested_order_count"] == 36
    assert row_of(series, stock_of((1, 53)), packs)["suggested_order_count"] == 0, "what is needed is there"


def test_a_lead_time_that_varies_and_a_slow_sync_need_more_stock() -> None:
    series, stock = series_of(2.0), stock_of((1, 10))
    plain = row_of(series, stock)
    varying = row_of(series, stock, PLAIN.with_columns(lead_time_sd_days=pl.lit(5.0)))
    hour = pl.DataFrame([(1, 60.0), (1, 86_400.0)], schema=LATENCY, orient="row")
    slow = row_of(series, stock, PLAIN, hour)
    assert varying["reorder_point_count"] > plain["reorder_point_count"]
    assert slow["reorder_point_count"] > plain["reorder_point_count"]
    assert (plain["sync_buffer_count"], slow["sync_buffer_count"]) == (0, 5), "the slowest channel: a day of a mean of 2"


def test_a_lead_time_of_unknown_spread_spreads_in_proportion_to_its_length() -> None:
    def level(**policy: Any) -> int:
        return int(row_of(series_of(10.0, k=0.05), stock_of((1, 0)), policy_of(review_days=1.0, **policy))["reorder_point_count"])

    for days in (2.0, 14.0, 42.0):
        assert level(lead_time_days=days) == level(lead_time_days=days, lead_time_sd_days=days * 3 / 14)
    assert level(lead_time_days=2.0, lead_time_sd_days=3.0) > 1.5 * level(lead_time_days=2.0)


def test_the_level_serves_as_often_as_asked_when_lead_times_vary() -> None:
    random = np.random.default_rng(4)
    mean, k, lead, sd, review, runs = 2.0, 0.5, 14, 3.0, 7, 20_000
    k_of_sums = {column: [k / length] for column, length in zip(DISPERSION_COLUMNS, LENGTHS, strict=True)}
    policy = policy_of(lead_time_days=float(lead), lead_time_sd_days=sd, review_days=float(review), service_level=0.95)
    level = row_of(series_of(mean).with_columns(**{name: pl.Series(value) for name, value in k_of_sums.items()}), stock_of((1, 0)), policy)
    took = np.rint(random.gamma((lead / sd) ** 2, sd**2 / lead, runs)).astype(int)
    wanted = random.poisson(random.gamma(1 / k, k * mean, (runs, took.max() + review))).cumsum(axis=1)
    served = (wanted[np.arange(runs), took + review - 1] <= level["reorder_point_count"]).mean()
    assert 0.945 < served < 0.965, f"{served:.4f} of {runs} deliveries came before the shelf was empty"


def test_demand_that_comes_now_and_then_is_protected_by_its_own_distribution() -> None:
    rare = row_of(series_of(0.05, k=3.0), stock_of((1, 0)))
    assert rare["reorder_point_count"] == 4, "mean .7: a normal quantile would give 3"
    assert rare["stock_out_rate"] == 1


def test_nothing_that_sells_needs_nothing() -> None:
    row = row_of(series_of(0.0, name="dead"), stock_of((1, 40)))
    assert row["days_of_cover"] is None
    assert (row["stock_out_rate"], row["suggested_order_count"], row["reorder_point_count"]) == (0, 0, 0)
    assert (row["is_overstock"], row["overstock_count"], row["overstock_amount"]) == (True, 40, Decimal("100.0000"))


def test_a_new_item_is_never_overstock() -> None:
    assert row_of(series_of(0.1, name="new"), stock_of((1, 5000)))["is_overstock"] is False


def test_overstock_counts_what_is_there_and_not_what_is_coming() -> None:
    row = row_of(series_of(0.0, name="dead"), stock_of((1, 3, 500)))
    assert row["overstock_count"] == 3


def test_negative_availability_is_a_stock_out_and_ordered_for() -> None:
    row = row_of(series_of(2.0), stock_of((1, -7)))
    assert (row["stock_out_rate"], row["days_of_cover"]) == (1, 0)
    assert row["suggested_order_count"] == 60
    assert "out of stock" in row["reasons"]


def test_without_a_cost_amounts_are_null() -> None:
    result = scored(series_of(2.0), stock_of((1, 0, 0, None)))
    row = result.rows.row(0, named=True)
    assert (row["suggested_order_amount"], row["overstock_amount"], row["currency_code"]) == (None, None, None)
    assert row["suggested_order_count"] == 53
    assert any("no cost" in note for note in result.receipt.notes)


def test_without_a_forecast_nothing_is_said() -> None:
    result = scored(series_of(), stock_of((9, 4)))
    row = result.rows.row(0, named=True)
    assert [row[name] for name in ("daily_units", "stock_out_rate", "is_overstock", "suggested_order_count", "reorder_point_count")] == [
        None
    ] * 5
    assert row["reasons"] == ["no forecast: neither sales nor stock history of this item"]
    assert any("no forecast" in note for note in result.receipt.notes)


def test_the_most_particular_policy_wins_value_by_value() -> None:
    policies = pl.concat(
        [
            policy_of(lead_time_days=30.0, review_days=5.0, pack_size=6),
            policy_of(variant_id=1, lead_time_days=10.0),
            policy_of(variant_id=1, location_id=1, service_level=0.8),
        ]
    )
    rows = scored(series_of(1.0, 1.0), stock_of((1, 0), (2, 0)), policies).rows
    assert rows.select("lead_time_days", "review_days", "service_level").rows() == [(10, 5, 0.8), (30, 5, 0.95)]


def test_an_unknown_or_impossible_lead_time_is_the_default_and_said() -> None:
    result = scored(series_of(1.0), stock_of((1, 0)), policy_of(lead_time_days=-3.0, service_level=1.0))
    row = result.rows.row(0, named=True)
    assert (row["lead_time_days"], row["has_lead_time"], row["service_level"]) == (14, False, 0.95)
    assert result.receipt.excluded == {"policies_bad_lead_time_days": 1, "policies_bad_service_level": 1}
    assert set(result.receipt.monitored) == {"item_count", "safety_stock_count"}
    assert "lead time unknown: the default" in row["reasons"]


def test_bad_rows_of_stock_are_left_out_and_counted() -> None:
    stock = stock_of((1, 4), (1, 2), (None, 3), (2, None))
    result = scored(series_of(1.0, 1.0, 1.0), stock)
    assert result.rows.select("variant_id", "available_count").rows() == [(1, 2)]
    assert result.receipt.excluded == {"series_without_stock": 2, "stock_duplicate": 1, "stock_no_count": 1, "stock_no_variant": 1}


def test_wrong_inputs_are_refused_by_name() -> None:
    with pytest.raises(ScoringError, match="unit_cost_amount of stock is Float64"):
        scored(series_of(1.0), stock_of((1, 1)).with_columns(pl.col("unit_cost_amount").cast(pl.Float64)))
    with pytest.raises(ScoringError, match="series lack daily_units"):
        scored(series_of(1.0).drop("daily_units"), stock_of((1, 1)))
    late = series_of(1.0).with_columns(valid_until=pl.lit(SCORED_AT - timedelta(hours=1)))
    with pytest.raises(ScoringError, match="valid until 2026-11-22 02:00 UTC: run score_demand"):
        scored(late, stock_of((1, 1)))
    with pytest.raises(ScoringError, match="key twice"):
        scored(pl.concat([series_of(1.0), series_of(1.0)]), stock_of((1, 1)))
    with pytest.raises(ScoringError, match="service_level is 1"):
        ReplenishmentSettings(service_level=1.0)


def test_a_policy_whose_id_nobody_can_read_is_refused_and_does_not_hold_for_all(tmp_path: Path) -> None:
    file = tmp_path / "policies.csv"
    skus = pl.DataFrame({"sku": ["MUG"], "variant_id": [1]})
    for column in ("variant_id", "location_id"):
        file.write_text(f"{column},lead_time_days\n1,9\ngid://shopify/X/2,60\n")
        with pytest.raises(ScoringError, match=f"1 values of {column} that are no id, such as gid://shopify/X/2"):
            read_policies(file, skus)
    file.write_text("variant_id,location_id,lead_time_days\n 2 ,,9\n,,60\n")
    assert read_policies(file, skus).select("variant_id", "lead_time_days").rows() == [(2, 9.0), (None, 60.0)]


def test_latency_runs_from_the_fact_to_the_storefront_and_reaches_the_reorder_point(tmp_path: Path) -> None:
    ensure_copies(tmp_path)
    place = tmp_path / "observability" / "stock_syncs"
    (empty,) = place.glob("*.parquet")
    noon = datetime(2026, 11, 20, 12, tzinfo=UTC)
    day = timedelta(days=1)

    def sync(item: int, occurred: datetime | None, outcome: str = "acknowledged", at: datetime = noon) -> dict[str, Any]:
        said = {"push_id": "p", "item_id": item, "location_id": 1, "outcome": outcome}
        return said | {"occurred_at": occurred, "taken_at": at - timedelta(seconds=2), "acknowledged_at": at}

    with duckdb.connect() as warehouse:
        warehouse.execute(
            "create schema marts; create table marts.dim_variant as select * from (values (10, 1), (20, 2)) t(inventory_item_id, variant_id)"
        )
        warehouse.execute("set variable lake_root = ?", [str(tmp_path)])
        warehouse.execute("set variable as_of_on = ?", [AS_OF])
        assert warehouse.sql(query("sync_latency")).pl().is_empty()
        rows = [
            *(sync(10, noon - day), sync(10, noon - day, "refused"), sync(10, noon - 40 * day, at=noon - 39 * day)),
            *(sync(20, noon + timedelta(seconds=5)), sync(20, None), sync(20, noon - day, at=noon + 3 * day)),
        ]
        pl.DataFrame(rows, schema=pl.read_parquet_schema(empty)).write_parquet(empty)
        latency = warehouse.sql(query("sync_latency")).pl()
    assert sorted(latency.select("variant_id", "location_id", "sync_p95_seconds").rows()) == [(1, 1, 86_400.0), (2, 1, 2.0)]
    first, second = scored(series_of(2.0, 2.0), stock_of((1, 0), (2, 0)), PLAIN, latency).rows.sort("variant_id").iter_rows(named=True)
    assert first["reorder_point_count"] > second["reorder_point_count"] == 53
    assert (first["sync_buffer_count"], second["sync_buffer_count"]) == (5, 0)


def test_days_without_stock_of_what_sells_on_without_it_are_no_lost_demand() -> None:
    with duckdb.connect() as warehouse:
        warehouse.execute(
            "create schema marts; create table marts.dim_variant as select * from (values (1, 'deny'), (2, 'continue')) t(variant_id, inventory_policy)"
        )
        warehouse.execute(
            "create table marts.fct_inventory_snapshot as select v as variant_id, 1 as location_id, date '2026-11-20' + d as snapshot_on, "
            "0 + 5 * d as available_quantity, true as is_tracked, true as is_active from (values (1), (2), (3)) v(v), (values (0), (1)) d(d)"
        )
        found = warehouse.sql(query("stock_history")).pl().sort("variant_id", "available_count")
    assert found.select("variant_id", "available_count").rows() == [(1, 0), (1, 5), (2, 5), (3, 0), (3, 5)]


def test_a_policy_played_by_hand() -> None:
    # A unit a day, lead 2, review 2: what is ordered on day 2 arrives on day 4, so a level of 4 is just enough.
    assert played(np.ones((1, 8)), np.array([4.0]), 2, 2) == (1.0, 1.0)
    # Level 2: sold out after days 0 and 1, the two ordered on day 2 arrive on day 4 and are gone after day 5.
    assert played(np.ones((1, 8)), np.array([2.0]), 2, 2) == (0.0, 0.5)
    assert played(np.array([[1.0, 1, 0, 0, 1, 1, 1, 0]]), np.array([2.0]), 2, 2) == (0.5, 0.8)


def test_the_quantile_serves_better_than_days_of_the_mean_with_the_same_stock() -> None:
    random = np.random.default_rng(2)
    rows = []
    for variant in range(60):
        k = 0.3 if variant % 2 else 6.0
        units = random.poisson(random.gamma(1 / k, k * 3, 260))
        rows += [(variant, 1, AS_OF - timedelta(days=int(ago)), int(units[ago])) for ago in np.flatnonzero(units)]
    sales = pl.DataFrame(
        rows, schema={"variant_id": pl.Int64, "location_id": pl.Int64, "sold_on": pl.Date, "unit_count": pl.Int64}, orient="row"
    )
    stock = pl.DataFrame(schema={"variant_id": pl.Int64, "location_id": pl.Int64, "snapshot_on": pl.Date, "available_count": pl.Int64})
    variants = pl.DataFrame(schema={"variant_id": pl.Int64, "product_id": pl.Int64, "product_type": pl.String})
    folds = simulated_service(sales, stock, variants, AS_OF, demand=DemandSettings(folds=3))
    served, thumb, better, _ = gate_figures(folds)["service_rate"]
    assert better == "higher"
    assert served > thumb
    assert served == pytest.approx(0.95, abs=0.05)
    assert {fold.fold for fold in folds} == {1, 2, 3}


def test_plots_of_stock_are_images() -> None:
    rows = scored(series_of(2.0, 0.0, 1.0), stock_of((1, 10), (2, 90), (3, 5000))).rows
    for image in (plots.stock_out_risk(rows), plots.days_of_cover(rows)):
        assert image.startswith(b"\x89PNG")


COUNTS = st.one_of(st.none(), st.integers(-50, 3000), st.just(10**9))


@settings(max_examples=80, deadline=None)
@given(
    daily=st.lists(st.one_of(st.just(0.0), st.floats(1e-6, 1e5)), min_size=1, max_size=5),
    available=st.lists(COUNTS, min_size=6, max_size=6),
    k=st.floats(0.01, 100),
    lead=st.one_of(st.none(), st.floats(-1, 900)),
    pack=st.one_of(st.none(), st.integers(-1, 500)),
)
def test_what_holds_for_every_stock(
    daily: list[float], available: list[int | None], k: float, lead: float | None, pack: int | None
) -> None:
    stock = stock_of(*[(variant, count, count, "3.3333") for variant, count in enumerate(available, start=1)])
    result = scored(series_of(*daily, k=k), stock, policy_of(lead_time_days=lead, pack_size=pack))
    rows = result.rows.filter(pl.col("daily_units").is_not_null())
    floats = [name for name, dtype in REPLENISHMENT_SCHEMA.items() if dtype == pl.Float64]
    assert result.rows.select(pl.col(floats).is_finite().fill_null(True).all()).row(0) == (True,) * len(floats)
    assert rows["stock_out_rate"].is_between(0, 1).all()
    for name in ("safety_stock_count", "sync_buffer_count", "reorder_point_count", "overstock_count", "suggested_order_count"):
        assert (rows[name] >= 0).all()
    after = rows["available_count"] + rows["incoming_count"] + rows["suggested_order_count"]
    assert (after >= rows["reorder_point_count"]).all()
    if pack is not None and pack >= 1:
        assert (rows["suggested_order_count"] % pack == 0).all()
    assert (rows["is_overstock"] == (rows["overstock_count"] > 0)).all()
    assert scored(series_of(*daily, k=k).reverse(), stock.reverse(), policy_of(lead_time_days=lead, pack_size=pack)).rows.equals(
        result.rows
    )
