"""What to order, what runs out, and what lies too long: one row for every item in stock (`score_replenishment`)."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from commerce_assets.scoring.demand.history import MOST_UNITS, checked
from commerce_assets.scoring.demand.policies import ReplenishmentSettings, with_policies
from commerce_assets.scoring.demand.spread import DISPERSION_COLUMNS, LEAST_MEAN, TAIL_COLUMNS
from commerce_assets.scoring.demand.stock_levels import order_up_to, stock_out_probability
from commerce_assets.scoring.demand.wording import stock_reasons
from commerce_assets.scoring.errors import ScoringError
from commerce_assets.scoring.receipts import Fold, InputFacts, Receipt, Scored, code_digest, package_versions
from commerce_assets.scoring.rfm import MONEY

VERSION = "replenishment-2"
MOMENT = pl.Datetime("us", "UTC")
MODULES = ("replenishment", "policies", "stock_levels", "simulation", "spread", "wording")
SECONDS_A_DAY = 86_400

SERIES_READ: dict[str, str] = {
    "variant_id": "Variant id, BIGINT.",
    "location_id": "Location id, BIGINT.",
    "valid_until": "Optional: a forecast past this moment is refused.",
    "series_class": "Class of the series.",
    "daily_units": "Expected units of a mean day.",
    **dict.fromkeys((*DISPERSION_COLUMNS, *TAIL_COLUMNS), "Spread of demand, as `score_demand` measured it."),
}
"""What is read of the table `series` of `score_demand`."""
ON_HAND_COLUMNS: dict[str, str] = {
    "variant_id": "Variant id, BIGINT.",
    "location_id": "Location id, BIGINT.",
    "available_count": "Units available to sell now; negative where more was promised than there is.",
    "incoming_count": "Optional: units ordered and not yet there; null is none.",
    "unit_cost_amount": "Optional: cost of a unit, DECIMAL; null where unknown.",
    "currency_code": "Optional: currency of the cost (ISO 4217).",
}

_COLUMNS: tuple[tuple[str, pl.DataType, str], ...] = (
    ("variant_id", pl.Int64(), "Variant id."),
    ("location_id", pl.Int64(), "Location id."),
    ("as_of_on", pl.Date(), "Day the stock and the forecast describe."),
    ("available_count", pl.Int64(), "Units available to sell."),
    ("incoming_count", pl.Int64(), "Units ordered and not yet there."),
    ("daily_units", pl.Float64(), "Expected units of a mean day; null without a forecast."),
    ("lead_time_days", pl.Float64(), "Days from order to stock."),
    ("has_lead_time", pl.Boolean(), "Whether a policy says the lead time; otherwise it is the default."),
    ("review_days", pl.Float64(), "Days between two looks at whether to order."),
    ("service_level", pl.Float64(), "Probability wanted of no stock-out until the next order's delivery."),
    ("safety_stock_count", pl.Int64(), "Units beyond the mean demand of lead time, review and sync latency; null without a forecast."),
    ("sync_buffer_count", pl.Int64(), "Units to hold back from the storefront for what sells while it does not know yet."),
    ("reorder_point_count", pl.Int64(), "Available and incoming below this: order up to it."),
    ("days_of_cover", pl.Float64(), "Days the available units last at the mean; null where nothing sells."),
    ("stock_out_rate", pl.Float64(), "Probability that the available units run out before an order of today could arrive."),
    ("is_overstock", pl.Boolean(), "More than the reorder point and the demand of the overstock days; null without a forecast."),
    ("overstock_count", pl.Int64(), "Units too many."),
    ("overstock_amount", MONEY, "Their cost; null where the cost is unknown."),
    ("suggested_order_count", pl.Int64(), "Units to order now, whole packs; 0 where none are needed."),
    ("suggested_order_amount", MONEY, "Their cost; null where the cost is unknown."),
    ("currency_code", pl.String(), "Currency of the amounts; null where there is no cost."),
    ("reasons", pl.List(pl.String()), "Why, in words."),
    ("valid_until", MOMENT, "Not to be used after this moment."),
    ("scored_at", MOMENT, "When it was computed."),
)
REPLENISHMENT_COLUMNS: dict[str, str] = {name: description for name, _, description in _COLUMNS}
REPLENISHMENT_SCHEMA: dict[str, pl.DataType] = {name: dtype for name, dtype, _ in _COLUMNS}


def score_replenishment(
    series: pl.DataFrame,
    stock: pl.DataFrame,
    policies: pl.DataFrame,
    latency: pl.DataFrame,
    as_of: date,
    *,
    scored_at: datetime,
    settings: ReplenishmentSettings | None = None,
    complete_at: datetime | None = None,
    seed: int = 0,
    backtest: Sequence[Fold] = (),
) -> Scored:
    """A row for every item of `stock`, by variant and location.

    `series` is the table of `score_demand` (SERIES_READ), `stock` has ON_HAND_COLUMNS, `policies` POLICY_COLUMNS, `latency` LATENCY_COLUMNS
    (both may be empty). `backtest` goes into the receipt as `simulated_service` made it. An item without a forecast has no figures but its
    stock; nothing is random (`seed` is recorded only). Counts are whole units, fractions of available units are cut off.
    """
    settings = settings or ReplenishmentSettings()
    if scored_at.tzinfo is None:
        raise ScoringError("scored_at has no time zone: pass a UTC moment")
    forecasts = _forecasts(series, scored_at)
    items, excluded = _items(stock)
    unstocked = forecasts.join(items, on=["variant_id", "location_id"], how="anti").height
    if unstocked:
        excluded["series_without_stock"] = unstocked
    items, bad = with_policies(items.join(forecasts, on=["variant_id", "location_id"], how="left"), policies, latency, settings)
    items = _ordered(_counted(items.sort("variant_id", "location_id"), settings))
    valid_until = scored_at + timedelta(hours=settings.valid_hours)
    rows = items.with_columns(
        reasons=stock_reasons(),
        as_of_on=pl.lit(as_of, pl.Date),
        valid_until=pl.lit(valid_until).cast(MOMENT),
        scored_at=pl.lit(scored_at).cast(MOMENT),
    ).select(pl.col(name).cast(dtype) for name, dtype in REPLENISHMENT_SCHEMA.items())
    receipt = Receipt(
        score="replenishment",
        model="order up to the quantile of demand over lead time, review and sync latency",
        version=VERSION,
        code_digest=code_digest(*(str(Path(__file__).with_name(f"{name}.py")) for name in MODULES)),
        as_of_on=as_of,
        scored_at=scored_at,
        valid_until=valid_until,
        seed=seed,
        inputs={
            name: InputFacts(table.height, complete_at=complete_at)
            for name, table in (("series", series), ("stock", stock), ("policies", policies), ("latency", latency))
        },
        rows=rows.height,
        excluded=dict(sorted({**excluded, **bad}.items())),
        settings=asdict(settings),
        notes=_notes(rows, settings),
        backtest=tuple(backtest),
        monitored=_monitored(rows),
        packages=package_versions("scipy", "numpy", "polars"),
    )
    return Scored(rows, receipt)


def _forecasts(series: pl.DataFrame, scored_at: datetime) -> pl.DataFrame:
    """One row a series; the table is our own, so anything wrong in it is an error and not a row to leave out."""
    wanted: dict[str, pl.DataType] = {"variant_id": pl.Int64(), "location_id": pl.Int64(), "series_class": pl.String()}
    numbers = ["daily_units", *DISPERSION_COLUMNS, *TAIL_COLUMNS]
    valid_until = series["valid_until"].min() if "valid_until" in series.columns else None
    if isinstance(valid_until, datetime) and valid_until < scored_at:
        raise ScoringError(f"the forecast was valid until {valid_until:%Y-%m-%d %H:%M} UTC: run score_demand first")
    typed = checked(series, "series", {**wanted, **dict.fromkeys(numbers, pl.Float64())})
    usable = pl.all_horizontal(pl.col(numbers).is_finite().fill_null(False) & (pl.col(numbers) >= 0))
    if not typed.select(usable.all()).item() or typed.select("variant_id", "location_id").is_duplicated().any():
        raise ScoringError(
            "series have a key twice, or a level or spread that is no number: pass the table `series` of score_demand as it is"
        )
    return typed


def _items(stock: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, int]]:
    """Usable rows of stock, one an item, and the others by reason."""
    types: dict[str, pl.DataType] = {
        "incoming_count": pl.Float64(),
        "unit_cost_amount": MONEY,
        "currency_code": pl.String(),
    }
    absent = [pl.lit(None, dtype).alias(name) for name, dtype in types.items() if name not in stock.columns]
    required: dict[str, pl.DataType] = {"variant_id": pl.Int64(), "location_id": pl.Int64(), "available_count": pl.Float64()}
    typed = checked(stock.with_columns(absent), "stock", {**required, **types})
    key = ("variant_id", "location_id")
    # Beyond a billion it is a slip of the pen, and its cost would not fit into money.
    unusable = pl.col("available_count").is_null() | ~(pl.col("available_count").abs() <= MOST_UNITS)
    # Of several rows of an item the one with the least to sell counts.
    ordered = typed.sort(*key, unusable, *(name for name in typed.columns if name not in key), nulls_last=True)
    reason = (
        pl.when(pl.col("variant_id").is_null())
        .then(pl.lit("stock_no_variant"))
        .when(pl.col("location_id").is_null())
        .then(pl.lit("stock_no_location"))
        .when(unusable)
        .then(pl.lit("stock_no_count"))
        .when(~pl.struct(key).is_first_distinct())
        .then(pl.lit("stock_duplicate"))
    )
    labelled = ordered.with_columns(reason=reason)
    counts = labelled.filter(pl.col("reason").is_not_null()).group_by("reason").len()
    has_cost = (pl.col("unit_cost_amount") >= 0) & pl.col("currency_code").is_not_null()
    incoming = pl.when(pl.col("incoming_count").is_between(0, MOST_UNITS)).then(pl.col("incoming_count")).otherwise(0.0)
    items = labelled.filter(pl.col("reason").is_null()).with_columns(
        pl.col("available_count").floor(),
        incoming.floor().alias("incoming_count"),
        pl.when(has_cost).then(pl.col("unit_cost_amount")).alias("unit_cost_amount"),
        pl.when(has_cost).then(pl.col("currency_code")).alias("currency_code"),
    )
    return items.drop("reason"), dict(counts.iter_rows())


def _counted(items: pl.DataFrame, settings: ReplenishmentSettings) -> pl.DataFrame:
    """The figures of every item that has a forecast; null for the others."""
    known = items.filter(pl.col("daily_units").is_not_null())
    daily, lead, review, spread_days, service = (
        known[name].to_numpy() for name in ("daily_units", "lead_time_days", "review_days", "lead_time_sd_days", "service_level")
    )
    dispersion, tail = known.select(DISPERSION_COLUMNS).to_numpy(), known.select(TAIL_COLUMNS).to_numpy()
    latency_days = known["sync_p95_seconds"].to_numpy() / SECONDS_A_DAY
    protected = lead + review + latency_days
    available = known["available_count"].to_numpy()
    level = order_up_to(daily, dispersion, tail, protected, spread_days, service)
    buffer = order_up_to(daily, dispersion, tail, latency_days, np.zeros_like(lead), service)
    sells = daily >= LEAST_MEAN
    runs_out = stock_out_probability(available, daily, dispersion, tail, lead + latency_days, spread_days)
    runs_out = np.where(sells, np.where(available <= 0, 1.0, runs_out), 0.0)
    position = available + known["incoming_count"].to_numpy()
    too_many = np.floor(position - level - daily * settings.overstock_after_days)
    # What is still to come can be cancelled; only what is there lies too long. A new item has not had its chance yet.
    too_many = np.where(known["series_class"].to_numpy() == "new", 0.0, np.clip(too_many, 0.0, np.maximum(available, 0.0)))
    with np.errstate(divide="ignore", invalid="ignore"):
        cover = np.round(np.maximum(available, 0.0) / daily, 1)
    figures = known.select("variant_id", "location_id").with_columns(
        pl.Series("reorder_point_count", level),
        pl.Series("safety_stock_count", np.ceil(np.maximum(level - daily * protected, 0.0))),
        pl.Series("sync_buffer_count", buffer),
        pl.Series("days_of_cover", cover).set(pl.Series(~sells), None),
        pl.Series("stock_out_rate", np.clip(runs_out, 0.0, 1.0)),
        pl.Series("overstock_count", too_many),
        pl.Series("is_overstock", too_many > 0),
    )
    return items.join(figures, on=["variant_id", "location_id"], how="left")


def _ordered(items: pl.DataFrame) -> pl.DataFrame:
    """What to order, and what things cost."""
    short = pl.col("reorder_point_count") - pl.col("available_count") - pl.col("incoming_count")
    wanted = pl.max_horizontal(short, "minimum_order_count")
    # Whole packs of whole units.
    pack = pl.col("pack_size").ceil()
    order = pl.when(short > 0).then((wanted / pack).ceil() * pack).when(short.is_not_null()).then(0.0)
    counts = ("available_count", "incoming_count", "safety_stock_count", "sync_buffer_count", "reorder_point_count", "overstock_count")
    items = items.with_columns(order.cast(pl.Int64).alias("suggested_order_count"), pl.col(counts).cast(pl.Int64))
    cost = pl.col("unit_cost_amount")
    return items.with_columns(
        (cost * pl.col("overstock_count").cast(pl.Decimal(18, 0))).cast(MONEY, strict=False).alias("overstock_amount"),
        (cost * pl.col("suggested_order_count").cast(pl.Decimal(18, 0))).cast(MONEY, strict=False).alias("suggested_order_amount"),
    )


def _notes(rows: pl.DataFrame, settings: ReplenishmentSettings) -> tuple[str, ...]:
    unknown_lead, no_forecast = rows.filter(~pl.col("has_lead_time")).height, rows["daily_units"].null_count()
    no_cost = rows.filter(pl.col("currency_code").is_null()).height
    notes = (
        f"{unknown_lead:,} items have no lead time in the policies: {settings.lead_time_days:g} days" if unknown_lead else "",
        f"{no_forecast:,} items have no forecast: nothing is said of them" if no_forecast else "",
        f"{no_cost:,} items have no cost: their amounts are null" if no_cost else "",
    )
    return tuple(note for note in notes if note)


def _monitored(rows: pl.DataFrame) -> dict[str, float]:
    """What only changes with the shop or the data; suggestions are not in it, for buying what was suggested ends them."""
    return {"item_count": float(rows.height), "safety_stock_count": float(rows["safety_stock_count"].sum())}
