"""A treatment whose effect is known: orders of customers in two arms, of whom the treated place more; to see that the lift table finds it.

    .venv/bin/python tests/simulated_treatment.py --data-root data/run

takes the arms that a sync with a holdout left in the data root (2,000 made-up customers where there are none) and the shop's orders before,
adds simulated orders as if the days had passed, and prints what the lift table makes of them. Nothing is written to the shop or the data root.
"""

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import numpy as np
import polars as pl
from activation_models import FACTS, lift_rows

from commerce_assets.observability.activation_log import place, read
from commerce_assets.observability.snapshots import write
from commerce_assets.observability.tables import ACTIVATION_TABLES


@dataclass(frozen=True)
class Treatment:
    """Orders come at a steady rate over `days` after the assignment: Poisson in number, gamma in amount."""

    orders: float = 0.4
    """Of a customer held out, expected over all days."""
    added_orders: float = 0.2
    """Of a treated one, beside those: the effect."""
    mean_amount: float = 40.0
    days: int = 30
    currency_code: str = "EUR"
    seed: int = 7

    def effect(self, metric: str, window_days: int | None) -> float:
        """The true difference between the arms."""
        share = min((window_days or self.days) / self.days, 1)
        without, added = self.orders * share, self.added_orders * share
        if metric in ("order_rate", "retention"):
            return math.exp(-without) - math.exp(-without - added)
        return added * (self.mean_amount if metric == "net_spend" else 1)

    def orders_of(self, arms: pl.DataFrame) -> pl.DataFrame:
        """Orders (as rows of `fct_order` that the lift reads) of customers with `customer_id`, `arm`, `assigned_at`."""
        random = np.random.default_rng([self.seed, 1])  # a stream of its own: chance must not tie orders to arms
        arms = arms.sort("customer_id")
        rates = self.orders + self.added_orders * (arms["arm"] == "treated").to_numpy()
        placed = arms.select("customer_id", "assigned_at")[np.repeat(np.arange(arms.height), random.poisson(rates))]
        after = pl.Series("after", (random.random(placed.height) * self.days * 86_400 + 1).astype(np.int64))
        return placed.with_columns(after).select(
            "customer_id",
            processed_at=pl.col("assigned_at").dt.replace_time_zone(None) + pl.duration(seconds="after"),
            net_amount=pl.Series(random.gamma(2, self.mean_amount / 2, placed.height)).round(2).cast(FACTS["net_amount"]),
            currency_code=pl.lit(self.currency_code),
            is_reportable=pl.lit(True),
            order_kind=pl.lit("sale"),
        )


def made_up_arms(customers: int, holdout_share: float, assigned_at: datetime, *, sync: str = "simulated", seed: int = 7) -> pl.DataFrame:
    """Arms as the lake holds them, of customers 1, 2, 3…"""
    is_held_out = np.random.default_rng([seed, 0]).random(customers) < holdout_share
    return pl.DataFrame(
        {
            "destination": "simulation",
            "sync": sync,
            "record_key": [f"gid://shopify/Customer/{number}" for number in range(1, customers + 1)],
            "arm": np.where(is_held_out, "holdout", "treated"),
            "assigned_at": pl.repeat(assigned_at, customers, eager=True),
            "holdout_share": holdout_share,
        },
        schema=ACTIVATION_TABLES["arms"],
    )


def with_customers(arms: pl.DataFrame) -> pl.DataFrame:
    """With `customer_id` from the key; keys of nobody are left out."""
    customer_id = pl.col("record_key").str.extract(r"([0-9]+)$").cast(pl.Int64)
    return arms.with_columns(customer_id=customer_id).filter(pl.col("customer_id").is_not_null(), pl.col("arm") != "before")


def lift_of(arms: pl.DataFrame, orders: pl.DataFrame, at: datetime) -> pl.DataFrame:
    """What the lift table makes of arms and orders."""
    with TemporaryDirectory() as folder:
        write(place(Path(folder), "arms"), ACTIVATION_TABLES["arms"], [arms])
        return lift_rows(Path(folder), orders, at)


def beside_the_truth(lift: pl.DataFrame, treatment: Treatment) -> pl.DataFrame:
    """The lift table's differences and intervals beside the true effects, where there are intervals."""
    truth = [treatment.effect(metric, days) for metric, days in lift.select("metric", "window_days").iter_rows()]
    shown = ("sync", "metric", "window_name", "treated_count", "holdout_count", "treated_mean", "holdout_mean", "difference")
    return (
        lift.with_columns(true_effect=pl.Series(truth))
        .filter(pl.col("always_low").is_not_null())
        .select(
            *shown,
            *("true_effect", "fixed_low", "fixed_high", "always_low", "always_high"),
            is_recovered=pl.col("true_effect").is_between("always_low", "always_high"),
        )
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the lift table on simulated orders; 1 when an always-valid interval misses the effect."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", type=Path, help="data root of an installation; none: made-up customers only")
    parser.add_argument("--sync", help="the sync whose arms are taken; by default the first that has any")
    parser.add_argument(
        "--added-orders", type=float, default=Treatment.added_orders, help="the effect: orders that the treatment adds a customer"
    )
    chosen = parser.parse_args(arguments)
    treatment = Treatment(added_orders=chosen.added_orders)
    arms = read(chosen.data_root / "lake", "arms") if chosen.data_root else pl.DataFrame(schema=ACTIVATION_TABLES["arms"])
    arms = arms.filter(pl.col("sync") == (chosen.sync or pl.col("sync").first()))
    if not with_customers(arms).height:
        arms = made_up_arms(2_000, 0.3, datetime.now(UTC))
    moments = arms["assigned_at"].sort().to_list()
    before = _orders_before(chosen.data_root, moments[0]) if chosen.data_root else pl.DataFrame(schema=FACTS)
    at = moments[-1] + timedelta(days=treatment.days, hours=1)
    orders = pl.concat([before, treatment.orders_of(with_customers(arms))])
    lift = beside_the_truth(lift_of(arms, orders, at), treatment)
    with pl.Config(tbl_rows=-1, tbl_cols=-1, tbl_width_chars=240, float_precision=3, tbl_hide_dataframe_shape=True):
        print(lift)
    return 0 if lift.height and lift["is_recovered"].all() else 1


def _orders_before(data_root: Path, moment: datetime) -> pl.DataFrame:
    """The shop's own orders up to a moment, as it published them."""
    published = data_root / "warehouse" / "commerce.duckdb"
    if not published.exists():
        return pl.DataFrame(schema=FACTS)
    with duckdb.connect(str(published), read_only=True) as connection:
        connection.execute("set TimeZone = 'UTC'")
        orders = connection.execute(f"select {', '.join(FACTS)} from marts.fct_order").pl()
    return orders.cast(pl.Schema(FACTS)).filter(pl.col("processed_at") <= moment.astimezone(UTC).replace(tzinfo=None))


if __name__ == "__main__":
    sys.exit(main())
