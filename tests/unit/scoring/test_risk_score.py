"""The risk of orders as a whole: what is told of a suspicious order, who is looked at, and when a trained model may replace the evidence."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Any

import numpy as np
import polars as pl
import pytest
from threadpoolctl import threadpool_limits

from commerce_assets.scoring import ScoringError
from commerce_assets.scoring.receipts import Bounds, Scored, gate_figures, judge
from commerce_assets.scoring.risk import RISK_COLUMNS, RISK_SCHEMA, RiskSettings, score_order_risk
from commerce_assets.scoring.risk.model import calibrate
from commerce_assets.scoring.risk.plots import plot_at_capacity, plot_calibration, plot_gain

DAYS = 420
START = date(2025, 1, 1)
AS_OF = START + timedelta(days=DAYS - 1)
SCORED_AT = datetime(2026, 3, 1, tzinfo=UTC)
SETTINGS = RiskSettings(label_maturity_days=60, backtest_folds=3, min_chargebacks=40)


@cache
def shop(orders: int = 14_000, seed: int = 3) -> pl.DataFrame:
    """Orders of which those of three or four units sent elsewhere are charged back: a pattern the evidence does not weigh."""
    random = np.random.default_rng(seed)
    seconds = np.sort(random.integers(0, DAYS * 86_400, orders))
    units, differs = random.integers(1, 9, orders), random.random(orders) < 0.15
    is_risky = np.isin(units, (3, 4)) & differs
    customers = random.integers(1, orders, orders)
    return pl.DataFrame(
        {
            "order_id": np.arange(orders) + 1,
            "customer_id": customers,
            "ordered_at": pl.Series(seconds, dtype=pl.Int64),
            "total_amount": np.exp(random.normal(3.8, 0.8, orders)).round(2),
            "currency_code": ["GBP"] * orders,
            "shipping_postal_code": ["1"] * orders,
            "billing_postal_code": np.where(differs, "2", "1"),
            "email_key": [f"secret-email-{customer}" for customer in customers],
            "ip_key": [f"secret-address-{address}" for address in random.integers(0, orders, orders)],
            "unit_count": units,
            "is_chargeback": random.random(orders) < np.where(is_risky, 0.5, 0.002),
        }
    ).with_columns(
        (pl.lit(START).cast(pl.Datetime("us", "UTC")) + pl.duration(seconds=pl.col("ordered_at"))).alias("ordered_at"),
        pl.col("total_amount").cast(pl.Decimal(18, 4)),
    )


def score(orders: pl.DataFrame, **options: Any) -> Scored:
    return score_order_risk(orders, AS_OF, scored_at=SCORED_AT, **{"settings": SETTINGS, **options})


@cache
def scored_with_model() -> Scored:
    return score(shop())


def test_output_has_exactly_the_declared_columns_even_for_no_orders() -> None:
    empty = score(shop().head(0))
    assert dict(empty.rows.schema) == RISK_SCHEMA
    assert list(RISK_COLUMNS) == list(RISK_SCHEMA)
    assert empty.receipt.inputs["orders"].rows == 0


def test_without_outcomes_the_evidence_stands_alone_and_claims_no_quality() -> None:
    found = score(shop().drop("is_chargeback"))
    assert found.receipt.fallback is not None
    assert "no order with a known outcome was charged back" in found.receipt.fallback
    assert (found.receipt.model, found.receipt.backtest) == ("evidence", ())
    assert found.rows["chargeback_rate"].null_count() == found.rows.height
    assert judge(found.receipt, found.rows, None, Bounds(), SCORED_AT).is_accepted


def test_the_reasons_add_up_to_the_score_of_the_evidence() -> None:
    moment = datetime(2026, 2, 20, 12, tzinfo=UTC)
    rows = [(n, n, moment + timedelta(minutes=n), Decimal("20.5"), "GBP", f"e{n}", "one-address", 2) for n in range(4)]
    columns = ["order_id", "customer_id", "ordered_at", "total_amount", "currency_code", "email_key", "ip_key", "payment_failures_count"]
    orders = pl.DataFrame(rows, schema=columns, orient="row").with_columns(pl.col("total_amount").cast(pl.Decimal(18, 4)))
    last = score(orders, settings=RiskSettings(reason_count=9)).rows.row(by_predicate=pl.col("order_id") == 3, named=True)
    assert last["reasons"] == [
        "3 earlier orders with the same IP address within the hour before (+1.6)",
        "6 payments failed on linked orders within 24 hours (+1.6)",
        "2 payments failed before this order was paid (+1.2)",
        "3 other buyers ordered from this IP address within 30 days (+0.5)",
        "nothing was ordered by this buyer before (+0.3)",
    ]
    assert last["risk_score"] == pytest.approx(100 / (1 + np.exp(-(-4 + 1.6 + 1.6 + 1.2 + 0.5 + 0.3))), abs=0.01)
    assert (last["risk_level"], last["is_review"], last["amount_at_risk_amount"]) == ("high", True, Decimal("20.5000"))


def test_an_order_with_nothing_against_it_says_so() -> None:
    old = datetime(2025, 6, 1, 12, tzinfo=UTC)
    rows = [(1, 5, old, Decimal(20), "GBP", "pos"), (2, 5, datetime(2026, 2, 20, 12, tzinfo=UTC), Decimal(20), "GBP", "web")]
    columns = ["order_id", "customer_id", "ordered_at", "total_amount", "currency_code", "source_name"]
    orders = pl.DataFrame(rows, schema=columns, orient="row").with_columns(pl.col("total_amount").cast(pl.Decimal(18, 4)))
    only = score(orders).rows
    assert only["reasons"].to_list() == [["1 order of this buyer older than 60 days without a chargeback (-1.0)"]]
    young = orders.with_columns(ordered_at=pl.col("ordered_at").dt.replace(year=2026, month=2)).with_columns(source_name=pl.lit("web"))
    assert score(young).rows["reasons"].to_list()[-1] == ["nothing stands out"]


def test_a_model_that_finds_what_the_evidence_does_not_is_used_and_calibrated() -> None:
    found = scored_with_model()
    assert (found.receipt.model, found.receipt.fallback) == ("gradient-boosting", None)
    precision, by_amount, _, _ = gate_figures(found.receipt.backtest)["average_precision"]
    assert precision > 5 * by_amount, (precision, by_amount)
    assert sum(fold.is_gate for fold in found.receipt.backtest) == 3
    assert judge(found.receipt, found.rows, None, Bounds(), SCORED_AT).is_accepted
    risky = found.rows.join(shop(), on="order_id").with_columns(
        risky=pl.col("unit_count").is_in([3, 4]) & (pl.col("billing_postal_code") == "2")
    )
    rates = dict(risky.group_by("risky").agg(pl.col("chargeback_rate").mean()).iter_rows())
    assert rates[True] == pytest.approx(0.5, abs=0.15)
    assert rates[False] < 0.02
    told = risky.filter("risky", pl.col("risk_level") == "high")["reasons"].list.get(0).to_list()
    assert any("units in one order" in reason or "postal codes differ" in reason for reason in told), told


@pytest.mark.parametrize("seed", [1, 2])
def test_a_model_of_shuffled_outcomes_is_not_accepted(seed: int) -> None:
    shuffled = shop().with_columns(pl.col("is_chargeback").shuffle(seed=seed))
    found = score(shuffled)
    assert found.receipt.model == "evidence"
    assert "a trained model ranks" in (found.receipt.fallback or "")


def test_the_same_orders_in_any_order_and_on_any_threads_give_the_same_score() -> None:
    with threadpool_limits(limits=1):
        again = score(shop().sample(fraction=1, shuffle=True, seed=9))
    found = scored_with_model()
    assert again.rows.equals(found.rows)
    assert again.receipt == found.receipt


def test_outcomes_of_orders_too_young_to_be_sure_of_change_nothing() -> None:
    young = pl.col("ordered_at").dt.date() > AS_OF - timedelta(days=SETTINGS.label_maturity_days)
    without = score(shop().with_columns(pl.when(~young).then("is_chargeback").alias("is_chargeback")))
    assert without.rows.equals(scored_with_model().rows)


def test_keys_are_in_no_row_table_or_receipt() -> None:
    found = scored_with_model()
    texts = [found.rows.write_ndjson(), found.receipt.to_json(), *(table.write_ndjson() for table in found.tables.values())]
    assert not any("secret" in text for text in texts)


def test_reviews_keep_to_the_capacity_of_their_day_and_take_the_riskiest() -> None:
    rows = score(shop().drop("is_chargeback"), settings=RiskSettings(review_capacity_orders=2, medium_from_score=2.0)).rows
    by_day = rows.group_by(pl.col("ordered_at").dt.date()).agg(
        reviewed=pl.col("is_review").sum(),
        least=pl.col("risk_score").filter("is_review").min(),
        most_left=pl.col("risk_score").filter(~pl.col("is_review")).max(),
    )
    assert by_day["reviewed"].max() == 2
    assert (by_day["least"] >= by_day["most_left"]).all()
    assert not rows.filter("is_review")["risk_level"].eq("low").any()


def test_cancelled_and_older_orders_are_history_only() -> None:
    orders = shop().with_columns(is_cancelled=pl.col("order_id") == 14_000, is_test=pl.col("order_id") == 13_999)
    found = score(orders, settings=RiskSettings(label_maturity_days=60, score_days=10, min_chargebacks=10_000))
    assert found.receipt.excluded == {"cancelled": 1, "test": 1}
    assert found.rows["ordered_at"].dt.date().min() == AS_OF - timedelta(days=9)
    assert "a model needs 10000" in (found.receipt.fallback or "")


def test_a_step_of_few_orders_is_no_certainty() -> None:
    scores, outcome = np.arange(1_000) / 100, np.arange(1_000) >= 970
    calibration = calibrate(scores, outcome, RiskSettings())
    assert calibration is not None
    rates = calibration.rates(np.array([-5.0, 5.0, 9.99, 50.0]))
    assert 0 < rates[0] <= rates[1] < rates[2] <= rates[3] < 1
    assert calibrate(scores, outcome & (scores > 9.9), RiskSettings()) is None


def test_a_moment_without_time_zone_is_refused() -> None:
    with pytest.raises(ScoringError, match="time zone"):
        score_order_risk(shop(), AS_OF, scored_at=datetime(2026, 3, 1))


def test_plots_are_images() -> None:
    tables = scored_with_model().tables
    for image in (plot_gain(tables["gain"]), plot_at_capacity(tables["backtest"]), plot_calibration(tables["calibration"])):
        assert image.startswith(b"\x89PNG")
    empty = score(shop().drop("is_chargeback")).tables
    assert plot_gain(empty["gain"]).startswith(b"\x89PNG")
    assert plot_calibration(empty["calibration"]).startswith(b"\x89PNG")
