"""The backtest page of the configured shop, or of a transactions file."""

from dataclasses import replace
from datetime import date
from pathlib import Path

import polars as pl

from commerce_assets.config import Settings
from commerce_assets.lake import Lake
from commerce_assets.service.scores.jobs import JOBS, made_in
from commerce_assets.service.scores.report import BacktestReport, Say, backtest, frames_of
from commerce_assets.service.scores.running import Moment, read_inputs
from commerce_assets.service.scores.transactions_file import columns_option, currency_option, read_transactions
from commerce_assets.warehouse import reading


def backtest_shop(settings: Settings, *, as_of: date | None = None, say: Say = lambda _: None) -> BacktestReport:
    """From the warehouse that was built last."""
    moment, lake = Moment.now(settings, as_of), Lake(settings.lake_root)
    frames: dict[str, pl.DataFrame] = {}
    with reading(settings.build_path) as connection:
        for job in made_in(settings).values():
            frames |= read_inputs(job, connection, lake, settings, moment).frames
    return backtest(made_in(settings).values(), frames, settings, moment, source=settings.shopify_shop or "sandbox store", say=say)


def backtest_file(
    path: Path,
    settings: Settings,
    *,
    columns: str | None = None,
    currency: str | None = None,
    as_of: date | None = None,
    say: Say = lambda _: None,
) -> BacktestReport:
    """From a file: the scores whose inputs it holds."""
    transactions = read_transactions(path, columns_option(columns), currency=currency_option(currency))
    moment = Moment.now(settings, as_of)
    moment = replace(moment, as_of=transactions.day(as_of, moment.scored_at.date()))
    about = {
        "rows": f"{transactions.rows:,}",
        "orders": f"{transactions.orders.height:,}",
        "customers": f"{transactions.customers.height:,}",
    }
    if left_out := transactions.rejections():
        about["left out"] = "; ".join(left_out)
    return backtest(JOBS.values(), frames_of(transactions), settings, moment, source=path.name, about=about, say=say)
