"""RFM segments, lifecycle and the flags that follow from them: one row a customer with at least one sale.

**Scores.** Recency (days since the last sale), frequency (sales) and monetary (net value) are scored 1 to 5, five the
best, by quintile of the customers scored. Equal values always get equal scores: recency and monetary by the middle rank of
the tie, frequency by its lowest rank, because "one order" is the largest tie of every shop and has to mean 1. Monetary is
ranked within each currency.

**Segments.** The named grid of eleven segments in common use (Putler's RFM guide and the 5 x 5 map of most tutorials after
it), over recency and FM, the mean of the frequency and monetary scores rounded half up. Putler's ranges overlap; this is
the map without overlaps:

    recency | FM 1           FM 2                FM 3                FM 4       FM 5
    5       | new            potential_loyalist  potential_loyalist  champions  champions
    4       | promising      potential_loyalist  potential_loyalist  loyal      loyal
    3       | about_to_sleep about_to_sleep      needs_attention     loyal      loyal
    2       | hibernating    hibernating         at_risk             at_risk    cant_lose
    1       | lost           hibernating         at_risk             at_risk    cant_lose

**Lifecycle**, the first rule that fits:

    lapsed   no sale for `lapsed_after_days` or more
    new      first sale at most `new_within_days` ago
    at_risk  quiet for longer than usual: the customer's own average gap between sale days times `at_risk_gap_factor`
             (at least `at_risk_min_days`) where there are `personal_gap_min_days_bought` sale days or more to tell it from,
             otherwise `at_risk_share` of `lapsed_after_days`
    active   everyone else

**Flags.** `is_vip`: the fewest most valuable customers who together bring the first `vip_value_share` of the value in their
currency (ties together), and more than the median customer. `is_high_value_lapsed`: lapsed, and a VIP or of monetary score
`high_value_min_score` or more.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import polars as pl

from commerce_assets.scoring.errors import ScoringError
from commerce_assets.scoring.transactions import (
    MONEY,
    by_customer,
    checked_orders,
    customer_totals,
    sales_of,
)
from commerce_assets.scoring.transactions import (
    ORDER_COLUMNS as ORDER_COLUMNS,
)

VERSION = "rfm-2"

SEGMENT_GRID: dict[int, tuple[str, str, str, str, str]] = {
    5: ("new", "potential_loyalist", "potential_loyalist", "champions", "champions"),
    4: ("promising", "potential_loyalist", "potential_loyalist", "loyal", "loyal"),
    3: ("about_to_sleep", "about_to_sleep", "needs_attention", "loyal", "loyal"),
    2: ("hibernating", "hibernating", "at_risk", "at_risk", "cant_lose"),
    1: ("lost", "hibernating", "at_risk", "at_risk", "cant_lose"),
}
"""Recency score -> segment by FM score 1 to 5."""
SEGMENTS: tuple[str, ...] = tuple(dict.fromkeys(name for row in SEGMENT_GRID.values() for name in row))
LIFECYCLES: tuple[str, ...] = ("new", "active", "at_risk", "lapsed")

_COLUMNS: tuple[tuple[str, pl.DataType, str], ...] = (
    ("customer_id", pl.Int64(), "Customer id (numeric part of the gid)."),
    ("as_of_on", pl.Date(), "Day the score describes; later orders are not in it."),
    ("recency_days", pl.Int64(), "Days from the last sale to the as-of day."),
    ("order_count", pl.Int64(), "Sales: orders neither cancelled nor test, with positive net value."),
    ("monetary_amount", MONEY, "Net value of those sales in `currency_code`."),
    ("currency_code", pl.String(), "Currency of the value: that of the customer's last sale (ISO 4217)."),
    ("recency_score", pl.Int8(), "Quintile of recency, 5 the most recent."),
    ("frequency_score", pl.Int8(), "Quintile of the number of sales, 5 the most."),
    ("monetary_score", pl.Int8(), "Quintile of value in its currency, 5 the most."),
    ("rfm_segment", pl.String(), "Named segment by recency and the mean of frequency and monetary."),
    ("lifecycle", pl.String(), "new, active, at_risk or lapsed."),
    ("is_vip", pl.Boolean(), "Among the customers who bring the first share of the value."),
    ("is_high_value_lapsed", pl.Boolean(), "Lapsed, and of high value."),
    ("reasons", pl.List(pl.String()), "What the scores rest on, in words."),
    ("scored_at", pl.Datetime("us", "UTC"), "When the score was computed."),
)
RFM_COLUMNS: dict[str, str] = {name: description for name, _, description in _COLUMNS}
RFM_SCHEMA: dict[str, pl.DataType] = {name: dtype for name, dtype, _ in _COLUMNS}


@dataclass(frozen=True)
class RfmSettings:
    """Where the lines are drawn. The defaults suit a shop whose customers buy a few times a year."""

    lapsed_after_days: int = 90
    new_within_days: int = 30
    at_risk_share: float = 2 / 3
    at_risk_gap_factor: float = 2.0
    at_risk_min_days: int = 14
    personal_gap_min_days_bought: int = 3
    vip_value_share: float = 0.3
    high_value_min_score: int = 4

    def __post_init__(self) -> None:
        if self.lapsed_after_days < 1 or not 0 < self.vip_value_share <= 1 or not 0 < self.at_risk_share <= 1:
            raise ScoringError(f"RFM settings out of range: {self}")


@dataclass(frozen=True)
class RfmReceipt:
    """What a run of the score was computed from, and what came out."""

    version: str
    as_of_on: date
    scored_at: datetime
    input_rows: int
    used_orders: int
    scored_customers: int
    excluded: Mapping[str, int]
    """Order rows left out, by reason."""
    orders_in_other_currency: int
    """Sales counted in recency and frequency whose value is in another currency than the customer's last sale."""
    input_first_on: date | None
    input_last_on: date | None
    input_max_loaded_at: datetime | None
    segments: Mapping[str, int] = field(default_factory=dict)
    lifecycles: Mapping[str, int] = field(default_factory=dict)
    vip_customers: int = 0
    high_value_lapsed_customers: int = 0
    parameters: Mapping[str, float] = field(default_factory=dict)

    def as_metadata(self) -> dict[str, Any]:
        """JSON-able, times as ISO-8601 text."""
        return {name: value.isoformat() if isinstance(value, date) else value for name, value in asdict(self).items()}


def score_customers(
    orders: pl.DataFrame, as_of: date, *, scored_at: datetime, settings: RfmSettings | None = None
) -> tuple[pl.DataFrame, RfmReceipt]:
    """Score every customer with a sale up to and including `as_of`; a row's columns are `RFM_SCHEMA`, sorted by customer.

    The same orders in any order give the same frame.
    """
    settings = settings or RfmSettings()
    if scored_at.tzinfo is None:
        raise ScoringError("scored_at has no time zone: pass a UTC moment")
    sales, excluded = sales_of(checked_orders(orders), as_of, positive_only=True)
    customers = _customers(sales, as_of)
    other_currency = sales.height - int(customers["_orders_in_currency"].sum())
    scores = _flagged(_scored(customers), settings).with_columns(
        reasons=_reasons(), as_of_on=pl.lit(as_of, pl.Date), scored_at=pl.lit(scored_at).cast(pl.Datetime("us", "UTC"))
    )
    scores = scores.select(pl.col(name).cast(dtype) for name, dtype in RFM_SCHEMA.items()).sort("customer_id")
    loaded = orders["loaded_at"].max() if "loaded_at" in orders.columns else None
    first_on, last_on = sales["ordered_on"].min(), sales["ordered_on"].max()
    receipt = RfmReceipt(
        version=VERSION,
        as_of_on=as_of,
        scored_at=scored_at,
        input_rows=orders.height,
        used_orders=sales.height,
        scored_customers=scores.height,
        excluded=excluded,
        orders_in_other_currency=other_currency,
        input_first_on=first_on if isinstance(first_on, date) else None,
        input_last_on=last_on if isinstance(last_on, date) else None,
        input_max_loaded_at=loaded if isinstance(loaded, datetime) else None,
        segments=_counts(scores, "rfm_segment"),
        lifecycles=_counts(scores, "lifecycle"),
        vip_customers=int(scores["is_vip"].sum()),
        high_value_lapsed_customers=int(scores["is_high_value_lapsed"].sum()),
        parameters=asdict(settings),
    )
    return scores, receipt


def rfm_segment(recency_score: int, frequency_score: int, monetary_score: int) -> str:
    """The segment of one customer, for people and tests."""
    return SEGMENT_GRID[recency_score][(frequency_score + monetary_score + 1) // 2 - 1]


def _customers(sales: pl.DataFrame, as_of: date) -> pl.DataFrame:
    """One row a customer: days, counts and value in the currency of the last sale."""
    everything, in_currency = customer_totals(by_customer(sales))
    return everything.select(
        "customer_id",
        pl.col("sale_count").alias("order_count"),
        pl.col("day_count").alias("_days_bought"),
        in_currency["amount"].alias("monetary_amount"),
        in_currency["sale_count"].alias("_orders_in_currency"),
        in_currency["currency_code"],
        recency_days=(pl.lit(as_of) - pl.col("last_on")).dt.total_days(),
        _days_since_first=(pl.lit(as_of) - pl.col("first_on")).dt.total_days(),
        _span_days=(pl.col("last_on") - pl.col("first_on")).dt.total_days(),
    )


def _scored(customers: pl.DataFrame) -> pl.DataFrame:
    """Quintiles. Integer arithmetic throughout, so that no rounding can part a tie."""
    everyone, in_currency = pl.len(), pl.len().over("currency_code")
    monetary = pl.col("monetary_amount")
    if customers["currency_code"].n_unique() < 2:
        monetary_rank, in_currency = monetary.rank("average"), everyone
    else:
        monetary_rank = monetary.rank("average").over("currency_code")
    # Rank r of n, from 0: the score is 1 + floor(5 r / n). Twice the middle of a tie is a whole number, which a float holds exactly.
    recency_twice = 2 * pl.col("recency_days").rank("average", descending=True) - 2
    monetary_twice = 2 * monetary_rank - 2
    return customers.with_columns(
        recency_score=1 + 5 * recency_twice.cast(pl.Int64) // (2 * everyone),
        frequency_score=1 + 5 * (pl.col("order_count").rank("min").cast(pl.Int64) - 1) // everyone,
        monetary_score=1 + 5 * monetary_twice.cast(pl.Int64) // (2 * in_currency),
    )


def _flagged(customers: pl.DataFrame, settings: RfmSettings) -> pl.DataFrame:
    """Segment, lifecycle and flags from scores, days and value."""
    grid = pl.DataFrame(
        [(recency, fm, name) for recency, row in SEGMENT_GRID.items() for fm, name in enumerate(row, start=1)],
        schema={"recency_score": pl.Int64, "_fm": pl.Int64, "rfm_segment": pl.String},
        orient="row",
    )
    usual_gap_days = pl.col("_span_days") / (pl.col("_days_bought") - 1)
    quiet_after_days = (
        pl.when(pl.col("_days_bought") >= settings.personal_gap_min_days_bought)
        .then(pl.max_horizontal(usual_gap_days * settings.at_risk_gap_factor, pl.lit(float(settings.at_risk_min_days))))
        .otherwise(pl.lit(settings.at_risk_share * settings.lapsed_after_days))
    )
    lifecycle = (
        pl.when(pl.col("recency_days") >= settings.lapsed_after_days)
        .then(pl.lit("lapsed"))
        .when(pl.col("_days_since_first") <= settings.new_within_days)
        .then(pl.lit("new"))
        .when(pl.col("recency_days") > quiet_after_days)
        .then(pl.lit("at_risk"))
        .otherwise(pl.lit("active"))
    )
    return (
        customers.with_columns(
            pl.col("recency_score", "frequency_score", "monetary_score").cast(pl.Int64),
            _fm=((pl.col("frequency_score") + pl.col("monetary_score") + 1) // 2).cast(pl.Int64),
            lifecycle=lifecycle,
        )
        .join(grid, on=["recency_score", "_fm"], how="left")
        .join(_vip_thresholds(customers, settings.vip_value_share), on="currency_code", how="left")
        .with_columns(is_vip=pl.col("monetary_amount") >= pl.col("_vip_from"))
        .with_columns(is_vip=pl.col("is_vip") & (pl.col("monetary_amount") > pl.col("_median")))
        .with_columns(
            is_high_value_lapsed=(pl.col("lifecycle") == "lapsed")
            & (pl.col("is_vip") | (pl.col("monetary_score") >= settings.high_value_min_score))
        )
    )


def _reasons() -> pl.Expr:
    """The three scores and the lifecycle in words, with the figures behind them."""
    days = pl.col("recency_days")
    since = pl.when(days == 0).then(pl.lit("today")).when(days == 1).then(pl.lit("yesterday")).otherwise(pl.format("{} days ago", days))
    orders = pl.when(pl.col("order_count") == 1).then(pl.lit("order")).otherwise(pl.lit("orders"))
    sentences = (
        pl.format("last order {}: recency {} of 5, {}", since, "recency_score", "lifecycle"),
        pl.format("{} {}: frequency {} of 5", "order_count", orders, "frequency_score"),
        pl.format("net value {} of 5 in {}", "monetary_score", "currency_code"),
    )
    # By way of an array: concatenating lists takes eight times as long.
    return pl.concat_arr(*sentences).arr.to_list()


def _vip_thresholds(customers: pl.DataFrame, vip_value_share: float) -> pl.DataFrame:
    """A currency's smallest value that is still a VIP's, and its lower median."""
    # Whole units of the fourth decimal: sums of integers do not depend on the order of the rows.
    units = customers.select("currency_code", _units=(pl.col("monetary_amount") * 10_000).cast(pl.Int128))
    lines = []
    for currency in units["currency_code"].unique().sort():
        values = units.filter(pl.col("currency_code") == currency)["_units"].sort(descending=True)
        is_in = values.cum_sum() - values < int(values.sum()) * vip_value_share
        least, median = values.filter(is_in)[-1], values[values.len() - 1 - (values.len() - 1) // 2]
        lines.append((currency, Decimal(least).scaleb(-4), Decimal(median).scaleb(-4)))
    return pl.DataFrame(lines, schema={"currency_code": pl.String, "_vip_from": MONEY, "_median": MONEY}, orient="row")


def _counts(scores: pl.DataFrame, column: str) -> dict[str, int]:
    return dict(scores.group_by(column).len().sort(column).iter_rows())
