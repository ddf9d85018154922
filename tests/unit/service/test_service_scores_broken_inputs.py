"""Deliberately broken input, through the very way that assets go: refused or handled with a reason, never NaN or infinity in a row."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from commerce_assets.config import Settings
from commerce_assets.lake import Lake
from commerce_assets.scoring.errors import ScoringError
from commerce_assets.service.scores.jobs import JOBS
from commerce_assets.service.scores.running import Inputs, Moment, Outcome, run_score

TODAY = date(2026, 11, 27)
NOW = datetime(2026, 11, 28, 4, 25, tzinfo=UTC)
MOMENT = Moment(TODAY, NOW, NOW + timedelta(hours=26))
ORDER_SCHEMA = {
    "order_id": pl.Int64,
    "customer_id": pl.Int64,
    "ordered_on": pl.Date,
    "net_amount": pl.Decimal(18, 4),
    "currency_code": pl.String,
    "is_cancelled": pl.Boolean,
    "is_test": pl.Boolean,
}
Change = Callable[[pl.DataFrame], pl.DataFrame]


def orders(customers: int = 120, days: int = 400) -> pl.DataFrame:
    """Customers who order now and then, at different rates, and leave."""
    rng = np.random.default_rng(7)
    rows: list[tuple[Any, ...]] = []
    for customer in range(1, customers + 1):
        gap, alive_days = float(rng.gamma(2, 25)) + 5, float(rng.exponential(300)) + 1
        first = int(rng.integers(0, days - 30))
        at = 0.0
        while at <= alive_days and first + at < days:
            amount = Decimal(f"{rng.gamma(4, 8) + 3:.2f}")
            on = TODAY - timedelta(days=days - 1 - int(first + at))
            rows.append((len(rows) + 1, customer, on, amount, "GBP", False, False))
            at += float(rng.exponential(gap))
    return pl.DataFrame(rows, schema=ORDER_SCHEMA, orient="row")


def run(name: str, lake: Path, frames: dict[str, pl.DataFrame], complete_at: datetime | None = None) -> Outcome:
    return run_score(JOBS[name], Inputs(frames, complete_at, Settings(), MOMENT), Lake(lake))


def is_finite(rows: pl.DataFrame) -> bool:
    floats = [name for name, dtype in rows.schema.items() if dtype.is_float()]
    return bool(rows.select(pl.all_horizontal(pl.col(floats).is_finite().fill_null(True)).all()).item()) if rows.height else True


def constant(given: pl.DataFrame) -> pl.DataFrame:
    """Everyone orders on the same days for the same money."""
    days = pl.date_range(TODAY - timedelta(days=360), TODAY, "30d", eager=True)
    return (
        pl.DataFrame({"customer_id": range(1, 101)})
        .join(pl.DataFrame({"ordered_on": days}), how="cross")
        .select(
            pl.int_range(pl.len()).alias("order_id"),
            pl.col("customer_id").cast(pl.Int64),
            "ordered_on",
            pl.lit(Decimal("20")).cast(pl.Decimal(18, 4)).alias("net_amount"),
            pl.lit("GBP").alias("currency_code"),
            pl.lit(False).alias("is_cancelled"),
            pl.lit(False).alias("is_test"),
        )
    )


CASES: dict[str, tuple[Change, str | None]] = {
    "one customer": (lambda given: given.filter(pl.col("customer_id") == pl.col("customer_id").first()), None),
    "one order": (lambda given: given.head(1), None),
    "no order": (lambda given: given.clear(), None),
    "zero spend": (lambda given: given.with_columns(net_amount=pl.lit(Decimal(0)).cast(pl.Decimal(18, 4))), None),
    "negative spend": (lambda given: given.with_columns(net_amount=-pl.col("net_amount")), None),
    "future dates": (lambda given: given.with_columns(ordered_on=pl.col("ordered_on") + pl.duration(days=5_000)), "after_as_of"),
    "duplicate ids": (lambda given: pl.concat([given, given]), "duplicate"),
    "no ids": (lambda given: given.with_columns(order_id=pl.lit(None, pl.Int64)), "no_order_id"),
    "only guests": (lambda given: given.with_columns(customer_id=pl.lit(None, pl.Int64)), "guest"),
    "constant series": (constant, None),
    "huge amounts": (lambda given: given.with_columns(net_amount=(pl.col("net_amount") * 10_000_000_000).cast(pl.Decimal(18, 4))), None),
}


@pytest.mark.parametrize("score", ["customer_rfm", "customer_value"])
@pytest.mark.parametrize("case", CASES)
def test_customers_of_broken_orders_are_finite_or_refused_and_what_is_left_out_is_counted(tmp_path: Path, score: str, case: str) -> None:
    change, reason = CASES[case]
    outcome = run(score, tmp_path, {"orders": change(orders())})
    rows = outcome.scored.rows
    assert is_finite(rows) or not outcome.verdict.is_accepted
    assert outcome.verdict.is_accepted or all(len(why) > 20 for why in outcome.verdict.reasons)
    if reason:
        assert any(reason in name for name in outcome.scored.receipt.excluded), outcome.scored.receipt.excluded
    ids = rows["customer_id"]
    assert ids.n_unique() == ids.len()


def test_stale_orders_are_refused_whatever_they_hold(tmp_path: Path) -> None:
    for name in ("customer_rfm", "customer_value"):
        outcome = run(name, tmp_path, {"orders": orders()}, complete_at=NOW - timedelta(hours=40))
        assert not outcome.verdict.is_accepted
        assert "last complete 40.0 h ago" in outcome.verdict.reasons[0]
        assert not Lake(tmp_path).score_file(name).exists()


def test_a_column_that_is_missing_or_of_the_wrong_type_is_named(tmp_path: Path) -> None:
    with pytest.raises(ScoringError, match="net_amount"):
        run("customer_value", tmp_path, {"orders": orders().drop("net_amount")})
    with pytest.raises(ScoringError, match="DECIMAL"):
        run("customer_value", tmp_path, {"orders": orders().with_columns(pl.col("net_amount").cast(pl.Float64))})


def test_rows_in_any_order_give_the_same_scores(tmp_path: Path) -> None:
    given = orders()
    for name in ("customer_rfm", "customer_value"):
        first = JOBS[name].score(Inputs({"orders": given}, None, Settings(), MOMENT))
        again = JOBS[name].score(Inputs({"orders": given.sample(fraction=1, shuffle=True, seed=3)}, None, Settings(), MOMENT))
        assert first.rows.equals(again.rows), name
        assert replace(first.receipt, inputs={}) == replace(again.receipt, inputs={}), name


def sales(*series: list[int]) -> dict[str, pl.DataFrame]:
    """One series of units a day each, ending yesterday, with an empty stock history and their variants."""
    rows = [
        (variant, 1, TODAY - timedelta(days=len(units) - 1 - at), count)
        for variant, units in enumerate(series, start=1)
        for at, count in enumerate(units)
        if count
    ]
    return {
        "sales": pl.DataFrame(
            rows, schema={"variant_id": pl.Int64, "location_id": pl.Int64, "sold_on": pl.Date, "unit_count": pl.Int64}, orient="row"
        ),
        "stock_history": pl.DataFrame(
            schema={"variant_id": pl.Int64, "location_id": pl.Int64, "snapshot_on": pl.Date, "available_count": pl.Int64}
        ),
        "variants": pl.DataFrame(
            {"variant_id": list(range(1, len(series) + 1)), "product_id": 1, "product_type": "Mugs"},
            schema={"variant_id": pl.Int64, "product_id": pl.Int64, "product_type": pl.String},
        ),
    }


@pytest.mark.parametrize(
    "series",
    [[[5] * 200], [[0] * 199 + [1]], [[1]], [[10**8] * 60], [[3, 0, 0] * 60, [0] * 180]],
    ids=["constant", "one sale", "one day", "enormous", "never sold"],
)
def test_odd_demand_is_forecast_in_finite_numbers(tmp_path: Path, series: list[list[int]]) -> None:
    outcome = run("demand_forecast", tmp_path, sales(*series))
    rows = outcome.scored.rows
    assert is_finite(rows)
    assert rows.filter((pl.col("low_units") > pl.col("expected_units")) | (pl.col("expected_units") > pl.col("high_units"))).is_empty()
    assert (rows["low_units"] >= 0).all()


def test_a_day_that_has_not_come_says_nothing_of_demand(tmp_path: Path) -> None:
    frames = sales([2] * 100)
    late = frames["sales"].with_columns(sold_on=pl.col("sold_on") + pl.duration(days=30))
    outcome = run("demand_forecast", tmp_path, {**frames, "sales": late})
    assert sum(outcome.scored.receipt.excluded.values()) == 30
