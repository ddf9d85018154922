"""A score of one column for tests of how scores are run, kept and shown: what it says of itself can be set."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl

from commerce_assets.config import Settings
from commerce_assets.scoring.receipts import Receipt, Scored
from commerce_assets.service.scores.running import Inputs, KeptTable, Moment, ScoreJob

NOW = datetime(2026, 11, 28, 4, 25, tzinfo=UTC)
CUSTOMERS = 300
SCHEMA: dict[str, pl.DataType] = {"customer_id": pl.Int64(), "churn_rate": pl.Float64()}
BESIDE = KeptTable("churn_beside", {"bin": pl.Int64()}, {"bin": "A bin."})


def moment(hours: float = 0) -> Moment:
    """Some hours after NOW, valid for 26 hours."""
    at = NOW + timedelta(hours=hours)
    return Moment(at.date(), at, at + timedelta(hours=26))


def inputs(hours: float = 0) -> Inputs:
    return Inputs({}, None, Settings(), moment(hours))


def job(rate: float = 0.5, **said: Any) -> ScoreJob:
    """A score that gives customers 1 to 300 `rate`; `said` are fields of its receipt."""

    def score(given: Inputs) -> Scored:
        at = given.moment
        receipt = Receipt("churn", "constant", "churn-1", "0" * 12, date(2026, 11, 28), at.scored_at, at.valid_until, 1, {}, CUSTOMERS)
        rows = pl.DataFrame({"customer_id": range(1, CUSTOMERS + 1), "churn_rate": rate})
        receipt = replace(receipt, **{"monitored": {"mean_rate": rate}, **said})
        return Scored(rows, receipt, {"beside": pl.DataFrame({"bin": [1]})})

    return ScoreJob("churn", SCHEMA, {}, (), (), score, tables={"beside": BESIDE})
