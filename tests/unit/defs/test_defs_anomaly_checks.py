"""Anomalies as checks: a warning with the money at stake, for the last closed day only."""

from datetime import date
from decimal import Decimal
from typing import Any

import dagster as dg
import polars as pl

from commerce_assets.defs.scoring.anomaly_checks import anomaly_check_result
from commerce_assets.scoring.anomalies import ANOMALY_SCHEMA

KEY = dg.AssetKey(["scores", "daily_anomalies"])


def days(*rows: dict[str, Any]) -> pl.DataFrame:
    ordinary = {
        "metric": "orders",
        "channel": "web",
        "day_on": date(2026, 11, 27),
        "value": 100.0,
        "expected_value": 100.0,
        "low_value": 70.0,
        "high_value": 140.0,
        "deviation": 0.0,
        "is_anomaly": False,
        "is_judged": True,
        "currency_code": "GBP",
        "reasons": ["as usual"],
    }
    return pl.DataFrame([{**ordinary, **row} for row in rows], schema=ANOMALY_SCHEMA)


def test_a_usual_day_passes() -> None:
    result = anomaly_check_result(KEY, "orders", days({}))
    assert result.passed
    assert result.description == "orders of 2026-11-27 as usual in 1 series"


def test_an_unusual_day_warns_with_the_money_at_stake() -> None:
    drop = {"value": 20.0, "is_anomaly": True, "direction": "low", "at_stake_amount": Decimal("-3600.50"), "reasons": ["far too few"]}
    result = anomaly_check_result(KEY, "orders", days(drop, {"channel": "pos"}))
    assert not result.passed
    assert result.severity == dg.AssetCheckSeverity.WARN
    assert result.metadata["money_at_stake"].value == {"GBP": -3600.5}
    assert "-3,600.50 GBP at stake" in (result.description or "")
    assert "far too few" in str(result.metadata["anomalies"].value)


def test_a_surplus_of_one_channel_is_not_taken_off_the_loss_of_another_and_what_is_not_known_is_not_told_as_nothing() -> None:
    loss = {"is_anomaly": True, "direction": "low", "at_stake_amount": Decimal(-5000)}
    surplus = {"channel": "pos", "is_anomaly": True, "direction": "high", "at_stake_amount": Decimal(5000)}
    unknown = {"channel": "app", "is_anomaly": True, "direction": "low", "at_stake_amount": None, "currency_code": "EUR"}
    result = anomaly_check_result(KEY, "orders", days(loss, surplus, unknown))
    assert result.metadata["money_at_stake"].value == {"GBP": -5000.0, "GBP above expected": 5000.0}
    assert anomaly_check_result(KEY, "orders", days(surplus)).metadata["money_at_stake"].value == {"GBP": 5000.0}


def test_an_anomaly_of_an_earlier_day_is_counted_and_warns_no_more() -> None:
    result = anomaly_check_result(KEY, "orders", days({"day_on": date(2026, 11, 20), "is_anomaly": True}, {}))
    assert result.passed
    assert result.metadata["anomalies_of_last_days"].value == 1


def test_a_metric_without_days_passes_and_says_so() -> None:
    assert anomaly_check_result(KEY, "stock_moves", days()).description == "no closed day of stock_moves to judge"
