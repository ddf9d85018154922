"""Customer value, churn and next order: one row a customer with at least one order, and the receipt.

**How often** a customer buys is BG/NBD (bgnbd.py), **for how much** gamma-gamma by currency (gamma_gamma.py), both fitted to all orders
by the as-of day; with too little history shapes are assumed (model.py). A purchase is a day with orders.

**predicted_value_amount** is what is still to come: expected net value of purchases in the horizon, discounted continuously at the annual
rate; its interval is that of the value itself (predictions.py). Historic value is net of refunds and is not discounted.

**churn_rate** is the chance that a customer does not order in the next `churn_horizon_days`: the model's P(no purchase | history),
calibrated on the hold-outs of the walk-forward backtest where they are enough and where that helped on the last of them (calibration.py).
**alive_rate** is P(alive): that the customer has not left for good; the two differ for slow buyers.

Belongs here: checking, putting together, the receipt. Does not belong here: estimates and words.
"""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import date, datetime, timedelta

import numpy as np
import polars as pl

from commerce_assets.scoring import rfm, transactions
from commerce_assets.scoring.customers import backtest as backtests
from commerce_assets.scoring.customers import bgnbd, calibration, gamma_gamma, grouping, histories, maximum, purchases, tables, words
from commerce_assets.scoring.customers import model as models
from commerce_assets.scoring.customers import predictions as ahead
from commerce_assets.scoring.customers import settings as declared
from commerce_assets.scoring.customers.settings import CUSTOMER_VALUE_SCHEMA, CustomerValueSettings
from commerce_assets.scoring.errors import ScoringError
from commerce_assets.scoring.receipts import InputFacts, Receipt, Scored, code_digest, package_versions
from commerce_assets.scoring.threads import one_blas_thread
from commerce_assets.scoring.transactions import MONEY, by_customer, checked_orders, sales_of

VERSION = "customer-value-2"
_CODE = (
    transactions,
    rfm,
    backtests,
    bgnbd,
    calibration,
    gamma_gamma,
    grouping,
    histories,
    maximum,
    models,
    ahead,
    purchases,
    declared,
    tables,
    words,
)


def score_customer_value(
    orders: pl.DataFrame,
    as_of: date,
    *,
    scored_at: datetime,
    settings: CustomerValueSettings | None = None,
    complete_at: datetime | None = None,
    seed: int = 0,
) -> Scored:
    """Score every customer with an order by `as_of`; rows are `CUSTOMER_VALUE_SCHEMA`, sorted by customer.

    `orders`: `ORDER_COLUMNS`; one an order, `net_amount` after discounts, refunds and tax (0 or negative allowed), days in UTC.
    `complete_at`: when the orders were last known to be complete, for the receipt. `seed` goes into the receipt; nothing is drawn.
    The same orders in any order give the same result. Tables: `TABLE_SCHEMAS`.

    Raises ScoringError for missing columns, money as floats, a naive `scored_at`. Orders that cannot be used are counted by reason.
    """
    settings = settings or CustomerValueSettings()
    if scored_at.tzinfo is None:
        raise ScoringError("scored_at has no time zone: pass a UTC moment")
    if isinstance(as_of, datetime):
        raise ScoringError("as_of is a moment: pass the UTC day")
    checked = checked_orders(orders)
    # One thread, so that no sum hangs on how many there are.
    with one_blas_thread():
        return _scored(orders, checked, as_of, scored_at, settings, complete_at, seed)


def _scored(
    orders: pl.DataFrame,
    checked: pl.DataFrame,
    as_of: date,
    scored_at: datetime,
    settings: CustomerValueSettings,
    complete_at: datetime | None,
    seed: int,
) -> Scored:
    sales, excluded = sales_of(checked, as_of, positive_only=False)
    sales = by_customer(sales)
    customers = histories.purchase_histories(sales, as_of)
    facts = InputFacts(orders.height, _day(sales["ordered_on"].min()), _day(sales["ordered_on"].max()), complete_at)
    if customers.is_empty():
        rows = pl.DataFrame(schema=CUSTOMER_VALUE_SCHEMA)
        nothing = {name: tables.empty(name) for name in tables.TABLE_SCHEMAS}
        return Scored(rows, _receipt(rows, None, None, facts, as_of, scored_at, seed, settings, excluded), nothing)

    model = models.fit_customer_model(customers, settings)
    backtest = backtests.walk_forward(sales, as_of, settings)
    rows = _rows(customers, model, backtest, as_of, scored_at, settings)
    other_currency = int((customers["order_count"] - customers["orders_in_currency"]).sum())
    excluded |= {"value_in_former_currency": other_currency} if other_currency else {}
    excluded |= {"customers_without_positive_spend": model.unspent_customers} if model.unspent_customers else {}
    oldest = int(customers["age_days"].to_numpy().max())
    last = backtest.holdouts[-1] if backtest.holdouts else None
    shown = {
        "transitions": tables.transitions(orders, as_of, settings, scored_at),
        "calibration": tables.calibration(backtest),
        "alive_matrix": tables.alive_matrix(model.purchases, oldest),
        "value_lift": tables.value_lift(last) if last else tables.empty("value_lift"),
        "frequency_holdout": tables.frequency_holdout(last) if last else tables.empty("frequency_holdout"),
    }
    return Scored(rows, _receipt(rows, model, backtest, facts, as_of, scored_at, seed, settings, excluded), shown)


def _rows(
    customers: pl.DataFrame,
    model: models.CustomerModel,
    backtest: backtests.Backtest,
    as_of: date,
    scored_at: datetime,
    settings: CustomerValueSettings,
) -> pl.DataFrame:
    expected = ahead.predictions(model, customers, settings, horizon_days=settings.horizon_days)
    low, high = ahead.value_intervals(model, customers, settings, horizon_days=settings.horizon_days)
    silent = expected["silent_rate"].to_numpy()
    churn = backtest.calibrator(silent) if backtest.calibrator else silent
    currencies = customers["currency_code"].unique().sort().to_list()
    names = {currency: model.name(currency) for currency in currencies}
    is_expected = (pl.col("alive_rate") >= settings.likely_lapsed_below_rate) & (pl.col("next_days") <= settings.horizon_days)

    def day_after(name: str) -> pl.Expr:
        days = pl.col(name).clip(1, ahead.FARTHEST_DAYS).ceil().cast(pl.Int64)
        is_near = is_expected & (pl.col(name) <= ahead.FARTHEST_DAYS)
        return pl.when(is_near).then(pl.lit(as_of, pl.Date) + pl.duration(days=days)).cast(pl.Date)

    def money(name: str) -> pl.Expr:
        return pl.col(name).round(4).cast(MONEY)

    gap = pl.col("span_days") / pl.col("repeat_count")
    whole = pl.concat([customers, expected], how="horizontal").with_columns(
        low=pl.Series(low), high=pl.Series(high), churn=pl.Series(churn)
    )
    whole = whole.with_columns(
        as_of_on=pl.lit(as_of, pl.Date),
        recency_days=pl.col("age_days") - pl.col("span_days"),
        average_gap_days=pl.when(pl.col("repeat_count") > 0).then(gap),
        historic_value_amount=pl.col("value_amount"),
        average_order_amount=money("spend_mean"),
        expected_order_count=pl.col("expected_count"),
        predicted_value_amount=money("value"),
        predicted_value_low_amount=money("low"),
        predicted_value_high_amount=money("high"),
        churn_rate=pl.col("churn"),
        next_order_expected_on=day_after("next_days"),
        next_order_earliest_on=day_after("next_earliest_days"),
        next_order_latest_on=day_after("next_latest_days"),
        model_name=pl.col("currency_code").replace_strict(names, return_dtype=pl.String),
        valid_until=pl.lit(scored_at + timedelta(days=settings.valid_days)).cast(pl.Datetime("us", "UTC")),
        scored_at=pl.lit(scored_at).cast(pl.Datetime("us", "UTC")),
    ).with_columns(total_value_amount=(pl.col("historic_value_amount") + pl.col("predicted_value_amount")).cast(MONEY))
    whole = words.with_reasons(words.with_tiers(whole, settings), settings)
    return whole.select(pl.col(name).cast(dtype) for name, dtype in CUSTOMER_VALUE_SCHEMA.items()).sort("customer_id")


def _receipt(
    rows: pl.DataFrame,
    model: models.CustomerModel | None,
    backtest: backtests.Backtest | None,
    facts: InputFacts,
    as_of: date,
    scored_at: datetime,
    seed: int,
    settings: CustomerValueSettings,
    excluded: Mapping[str, int],
) -> Receipt:
    folds = backtest.folds if backtest else ()
    notes = (*(model.notes if model else ()), *((backtest.note,) if backtest else ()))
    if model and not folds:
        notes = (*notes, "no backtest: too little history before a hold-out")
    return Receipt(
        score="customer_value",
        model=model.purchases_name + "+gamma_gamma" if model else "none",
        version=VERSION,
        code_digest=code_digest(__file__, *(str(module.__file__) for module in _CODE)),
        as_of_on=as_of,
        scored_at=scored_at,
        valid_until=scored_at + timedelta(days=settings.valid_days),
        seed=seed,
        inputs={"orders": facts},
        rows=rows.height,
        excluded=excluded,
        trained_from_on=facts.first_on,
        trained_to_on=facts.last_on,
        parameters=model.estimates() if model else {},
        settings=asdict(settings),
        is_converged=model.is_converged if model else True,
        fallback=model.fallback if model else None,
        notes=notes,
        backtest=folds,
        monitored=_monitored(rows, backtest, settings),
        packages=package_versions("numpy", "polars", "scipy"),
    )


def _monitored(rows: pl.DataFrame, backtest: backtests.Backtest | None, settings: CustomerValueSettings) -> dict[str, float]:
    """Means whose jump says that the data or the shop changed; of amounts in currencies with enough customers, and how often the interval held."""
    if rows.is_empty():
        return {}
    found = {name: float(np.mean(rows[name].to_numpy())) for name in ("expected_order_count", "churn_rate", "alive_rate")}
    for (currency,), here in sorted(rows.partition_by("currency_code", as_dict=True).items()):
        if here.height >= settings.min_spend_customers:
            found[f"predicted_value_{currency}"] = float(np.mean(here["predicted_value_amount"].cast(pl.Float64).to_numpy()))
    if backtest and backtest.holdouts:
        held = pl.concat([holdout.customers for holdout in backtest.holdouts])
        # A hair's breadth for sums of decimals held as floats.
        is_within = (held["value"] >= held["low_value"] - 1e-6) & (held["value"] <= held["high_value"] + 1e-6)
        found["value_interval_coverage"] = float(np.mean(is_within.to_numpy()))
    return found


def _day(value: object) -> date | None:
    return value if isinstance(value, date) else None
