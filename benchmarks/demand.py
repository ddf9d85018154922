"""Forecasting the demand of 10,000 series of two years, from rows of sales to forecasts, intervals, totals and a backtest of three folds.

Bounds: 60 s on two cores, and less than 2 GB of peak memory, of a process of its own. Beside it, from the same run: what statsforecast's
seasonal naive alone takes for the same series, already in its own frame.
"""

import json
import resource
import subprocess
import sys
import time
from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl

from commerce_assets.scoring.demand import DemandSettings, score_demand

SERIES = 10_000
DAYS = 730
AS_OF = date(2026, 11, 21)
SCORED_AT = datetime(2026, 11, 22, tzinfo=UTC)
BOUND_SECONDS = 60.0
BOUND_MIB = 2048.0


def shop() -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Sales, stock and variants: 2,500 series each smooth, erratic, intermittent and lumpy, with a weekday profile, some begun lately."""
    random = np.random.default_rng(20261121)
    kind = np.arange(SERIES) % 4
    chance = np.where(kind < 2, 0.95, random.uniform(0.02, 0.4, SERIES))
    size = random.gamma(2.0, 3.0, SERIES) + 1
    week = 1 + 0.4 * np.sin(np.arange(DAYS) * 2 * np.pi / 7)
    is_sale = random.random((SERIES, DAYS)) < chance[:, None] * np.minimum(week, 1)[None, :]
    uneven = np.where(kind % 2 == 1, 0.6, 20.0)[:, None]
    units = np.where(is_sale, 1 + random.poisson(random.gamma(uneven, size[:, None] / uneven * week[None, :])), 0)
    start = np.where(random.random(SERIES) < 0.2, random.integers(0, DAYS - 5, SERIES), 0)
    units[np.arange(DAYS)[None, :] < start[:, None]] = 0
    rows, days = np.nonzero(units)
    first_on = AS_OF - timedelta(days=DAYS - 1)
    sales = pl.DataFrame({"variant_id": rows, "_day": days, "unit_count": units[rows, days]}).select(
        "variant_id",
        (pl.col("variant_id") % 3).alias("location_id"),
        (pl.lit(first_on) + pl.duration(days="_day")).alias("sold_on"),
        "unit_count",
    )
    out = random.random(len(rows)) < 0.01
    stock = sales.filter(pl.Series(out)).select("variant_id", "location_id", snapshot_on="sold_on", available_count=pl.lit(0))
    variants = pl.select(variant_id=pl.int_range(SERIES)).with_columns(
        product_id=pl.col("variant_id") // 4, product_type=pl.format("type {}", pl.col("variant_id") % 20)
    )
    return sales, stock, variants


def seasonal_naive_seconds(sales: pl.DataFrame) -> float:
    from statsforecast import StatsForecast
    from statsforecast.models import SeasonalNaive

    first_on = AS_OF - timedelta(days=DAYS - 1)
    days = pl.date_range(first_on, AS_OF, eager=True).alias("ds").to_frame()
    every = sales.select(unique_id="variant_id").unique().join(days, how="cross")
    sold = sales.select(unique_id="variant_id", ds="sold_on", y=pl.col("unit_count").cast(pl.Float64))
    frame = every.join(sold, on=["unique_id", "ds"], how="left").with_columns(pl.col("y").fill_null(0.0)).sort("unique_id", "ds")
    started = time.perf_counter()
    StatsForecast(models=[SeasonalNaive(7)], freq="1d", n_jobs=1).forecast(df=frame, h=28)
    return time.perf_counter() - started


def measured(folds: int) -> dict[str, float]:
    sales, stock, variants = shop()
    settings = DemandSettings(folds=folds)
    started = time.perf_counter()
    scored = score_demand(sales, stock, variants, AS_OF, scored_at=SCORED_AT, settings=settings)
    seconds = time.perf_counter() - started
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    gate = [fold for fold in scored.receipt.backtest if fold.is_gate]
    return {
        "missing_rows": sales["variant_id"].n_unique() * settings.horizon_days - scored.rows.height,
        "seconds": seconds,
        "peak_mib": peak_mib,
        "naive_seconds": seasonal_naive_seconds(sales),
        "wrmsse": float(np.mean([fold.value for fold in gate])) if gate else 0.0,
        "naive_wrmsse": float(np.mean([fold.baseline_value for fold in gate])) if gate else 0.0,
    }


def main() -> int:
    is_kept = True
    print(f"{f'{SERIES:,} series x {DAYS} days':<44} {'seconds':>8} {'x naive':>8} {'peak MiB':>9}")
    for name, folds in (("forecast, intervals, totals", 0), ("the same with a backtest of 3 folds", 3)):
        # In a process of its own, so that the peak is that of this alone (with the generated shop in it).
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.demand", "--measure", str(folds)], check=True, capture_output=True, text=True
        )
        figures = json.loads(done.stdout.splitlines()[-1])
        print(f"{name:<44} {figures['seconds']:>8.1f} {figures['seconds'] / figures['naive_seconds']:>8.1f} {figures['peak_mib']:>9.0f}")
        is_kept &= figures["missing_rows"] == 0 and figures["seconds"] <= BOUND_SECONDS and figures["peak_mib"] <= BOUND_MIB
    print(f"{'seasonal naive alone, its frame at hand':<44} {figures['naive_seconds']:>8.1f} {1:>8.1f}")
    print(f"wrmsse {figures['wrmsse']:.3f} beside {figures['naive_wrmsse']:.3f} of seasonal naive on these generated series")
    is_kept &= figures["wrmsse"] < figures["naive_wrmsse"]
    print(f"bounds {BOUND_SECONDS:.0f} s, {BOUND_MIB:.0f} MiB and better than seasonal naive: {'kept' if is_kept else 'MISSED'}")
    return 0 if is_kept else 1


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        print(json.dumps(measured(int(sys.argv[2]))))
        raise SystemExit(0)
    raise SystemExit(main())
