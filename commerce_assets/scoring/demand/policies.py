"""What is known of the supply of every item: lead time, review, service level, packs, and how late its storefront learns of a sale.

A value comes from the row of the variant at the location, else of the variant, else of everything (no variant), else from the settings. A
value that cannot be (a negative lead time, a service level of 100 %) counts as unknown, and is counted.
"""

from dataclasses import dataclass

import polars as pl

from commerce_assets.scoring.demand.history import checked
from commerce_assets.scoring.errors import ScoringError

POLICY_COLUMNS: dict[str, str] = {
    "variant_id": "Variant id; null: the row holds for every variant.",
    "location_id": "Optional: location id; null: the row holds at every location.",
    "lead_time_days": "Optional: mean days from order to stock.",
    "lead_time_sd_days": "Optional: standard deviation of that, days; null: a share of the lead time.",
    "review_days": "Optional: days between two looks at whether to order.",
    "service_level": "Optional: probability, between 0 and 1, of no stock-out until the next order's delivery.",
    "pack_size": "Optional: units of a pack; orders are whole packs.",
    "minimum_order_count": "Optional: least units of an order.",
}
LATENCY_COLUMNS: dict[str, str] = {
    "variant_id": "Variant id; null: the row holds for every variant.",
    "location_id": "Optional: location id; null: the row holds at every location.",
    "sync_p95_seconds": "95th percentile, seconds, from a sale to the stock shown by the channel; of several channels the slowest counts.",
}
_LIMITS: dict[str, tuple[float, float]] = {
    "lead_time_days": (0.0, 730.0),
    "lead_time_sd_days": (0.0, 365.0),
    "review_days": (0.0, 365.0),
    "service_level": (0.5, 0.9999),
    "pack_size": (1.0, 1e6),
    "minimum_order_count": (0.0, 1e9),
    "sync_p95_seconds": (0.0, 30 * 86_400.0),
}


@dataclass(frozen=True)
class ReplenishmentSettings:
    """What holds where no policy says otherwise."""

    lead_time_days: float = 14.0
    lead_time_sd_rate: float = 3 / 14
    """Standard deviation of a lead time of which no policy says it, as a share of that lead time: 3 days of 14."""
    review_days: float = 7.0
    service_level: float = 0.95
    pack_size: float = 1.0
    minimum_order_count: float = 0.0
    overstock_after_days: float = 120.0
    """Stock beyond what is to be on hand and this many days of demand is too much."""
    valid_hours: int = 24

    def __post_init__(self) -> None:
        for name, (least, most) in _LIMITS.items():
            value = getattr(self, name, least)
            if not least <= value <= most:
                raise ScoringError(f"replenishment settings out of range: {name} is {value}, not from {least:g} to {most:g}")
        if not 0 <= self.lead_time_sd_rate <= 5:
            raise ScoringError(f"replenishment settings out of range: lead_time_sd_rate is {self.lead_time_sd_rate}, not from 0 to 5")
        if self.lead_time_days + self.review_days <= 0 or self.overstock_after_days < 1 or self.valid_hours < 1:
            raise ScoringError(f"replenishment settings out of range: lead time and review, overstock or validity, in {self}")


def with_policies(
    items: pl.DataFrame, policies: pl.DataFrame, latency: pl.DataFrame, settings: ReplenishmentSettings
) -> tuple[pl.DataFrame, dict[str, int]]:
    """`items` with the columns of a policy, sync_p95_seconds (0 where nobody measured), and has_lead_time; and bad values by reason."""
    bad: dict[str, int] = {}
    names = [name for name in _LIMITS if name != "sync_p95_seconds"]
    defaults = [name for name in names if name != "lead_time_sd_days"]
    found = _resolved(items, _usable(policies, "policies", names, bad), names)
    found = _resolved(found, _usable(latency, "latency", ["sync_p95_seconds"], bad), ["sync_p95_seconds"])
    return found.with_columns(
        pl.col("lead_time_days").is_not_null().alias("has_lead_time"),
        *(pl.col(name).fill_null(getattr(settings, name)) for name in defaults),
        pl.col("lead_time_sd_days").fill_null(settings.lead_time_sd_rate * pl.col("lead_time_days").fill_null(settings.lead_time_days)),
        pl.col("sync_p95_seconds").fill_null(0.0),
    ), bad


def _usable(rows: pl.DataFrame, table: str, names: list[str], bad: dict[str, int]) -> pl.DataFrame:
    """One row a key, its values within their limits or null. Of several rows of a key each value takes the most cautious: the largest."""
    optional = [pl.lit(None, pl.Int64).alias("location_id")] if "location_id" not in rows.columns else []
    optional += [pl.lit(None, pl.Float64).alias(name) for name in names if name not in rows.columns and name != "sync_p95_seconds"]
    wanted: dict[str, pl.DataType] = {"variant_id": pl.Int64(), "location_id": pl.Int64(), **dict.fromkeys(names, pl.Float64())}
    typed = checked(rows.with_columns(optional), table, wanted)
    within = {name: pl.col(name).is_finite() & pl.col(name).is_between(*_LIMITS[name]) for name in names}
    counts = typed.select((pl.col(name).is_not_null() & ~within[name]).sum().alias(name) for name in names).row(0, named=True)
    bad.update({f"{table}_bad_{name}": count for name, count in counts.items() if count})
    return (
        typed.with_columns(pl.when(within[name]).then(pl.col(name)).alias(name) for name in names)
        .group_by("variant_id", "location_id")
        .agg(pl.col(names).max())
    )


def _resolved(items: pl.DataFrame, rows: pl.DataFrame, names: list[str]) -> pl.DataFrame:
    """Every value from the most particular row that has one."""
    has_variant, has_location = pl.col("variant_id").is_not_null(), pl.col("location_id").is_not_null()
    steps = (
        (rows.filter(has_variant & has_location), ["variant_id", "location_id"]),
        (rows.filter(has_variant & ~has_location).drop("location_id"), ["variant_id"]),
        (rows.filter(~has_variant & has_location).drop("variant_id"), ["location_id"]),
    )
    for step, (some, key) in enumerate(steps):
        items = items.join(some.rename({name: f"_{step}_{name}" for name in names}), on=key, how="left")
    everywhere = rows.filter(~has_variant & ~has_location)
    common = everywhere.row(0, named=True) if everywhere.height else dict.fromkeys(names)
    return items.with_columns(
        pl.coalesce(*(f"_{step}_{name}" for step in range(len(steps))), pl.lit(common[name], pl.Float64)).alias(name) for name in names
    ).drop(f"_{step}_{name}" for step in range(len(steps)) for name in names)
