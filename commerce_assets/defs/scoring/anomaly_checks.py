"""Daily anomalies as checks: a warning for each metric that was not as usual on the last closed day, with the money at stake.

Warnings, never blocking: the data is right, the day is not.
"""

from collections.abc import Iterator
from typing import Any

import dagster as dg
import polars as pl

from commerce_assets.scoring.receipts import Scored

METRICS = {
    "orders": "Orders a day, by channel.",
    "revenue": "What was sold a day, by channel, before what comes back of it.",
    "refunds": "Refunds a day, by channel; only too many are alarming.",
    "stock_moves": "Units that entered or left stock a day, by location.",
}
SHOWN = 10


def anomaly_check_specs(key: dg.AssetKey) -> list[dg.AssetCheckSpec]:
    """A check for every metric."""
    return [
        dg.AssetCheckSpec(_name(metric), asset=key, description=f"{about} On the last closed day every one is within its usual limits.")
        for metric, about in METRICS.items()
    ]


def anomaly_check_results(key: dg.AssetKey, scored: Scored) -> Iterator[dg.AssetCheckResult]:
    """What the last closed day of each metric says."""
    for metric in METRICS:
        yield anomaly_check_result(key, metric, scored.rows.filter(pl.col("metric") == metric))


def anomaly_check_result(key: dg.AssetKey, metric: str, days: pl.DataFrame) -> dg.AssetCheckResult:
    """Passed where no series of the metric is anomalous on its last day; else a warning with each, and what is at stake by currency."""
    last = days.filter(pl.col("day_on") == pl.col("day_on").max()) if days.height else days
    alarms = last.filter("is_anomaly").sort(pl.col("at_stake_amount").abs(), "channel", descending=[True, False], nulls_last=True)
    metadata: dict[str, Any] = {
        "judged_series": last.filter("is_judged").height,
        "anomalies_of_last_days": days.filter("is_anomaly").height,
    }
    if last.height:
        metadata["day_on"] = str(last["day_on"][0])
    if alarms.height:
        metadata["money_at_stake"] = dg.MetadataValue.json(_money_at_stake(alarms))
        metadata["anomalies"] = dg.MetadataValue.md(_table(alarms))
    return dg.AssetCheckResult(
        asset_key=key,
        check_name=_name(metric),
        passed=alarms.is_empty(),
        severity=dg.AssetCheckSeverity.WARN,
        description=_sentence(metric, last, alarms),
        metadata=metadata,
    )


def _money_at_stake(alarms: pl.DataFrame) -> dict[str, float]:
    """By currency what is missing, as a negative figure, or what is too much where nothing is missing. Where both are, in different
    channels, the surplus stands beside the loss and is not taken off it. Alarms whose worth is not known are not in it.
    """
    amount = pl.col("at_stake_amount")
    sides = (
        alarms.drop_nulls(["at_stake_amount", "currency_code"])
        .group_by("currency_code")
        .agg(missing=amount.filter(amount < 0).sum(), surplus=amount.filter(amount > 0).sum())
        .sort("currency_code")
    )
    stake: dict[str, float] = {}
    for currency, missing, surplus in sides.iter_rows():
        stake[currency] = float(missing or surplus)
        if missing and surplus:
            stake[f"{currency} above expected"] = float(surplus)
    return stake


def _sentence(metric: str, last: pl.DataFrame, alarms: pl.DataFrame) -> str:
    if last.is_empty():
        return f"no closed day of {metric} to judge"
    if alarms.is_empty():
        return f"{metric} of {last['day_on'][0]} as usual in {last.filter('is_judged').height} series"
    worst = alarms.row(0, named=True)
    amount = f", {worst['at_stake_amount']:,.2f} {worst['currency_code']} at stake" if worst["at_stake_amount"] is not None else ""
    return (
        f"{metric} of {worst['day_on']} in {worst['channel']}: {worst['value']:,.4g} where {worst['expected_value']:,.4g} was to be expected"
        f" ({worst['low_value']:,.4g} to {worst['high_value']:,.4g}){amount}"
    )


def _table(alarms: pl.DataFrame) -> str:
    lines = ["| channel | actual | expected | usual | at stake | why |", "|---|---:|---:|---|---:|---|"]
    for row in alarms.head(SHOWN).iter_rows(named=True):
        amount = f"{row['at_stake_amount']:,.2f} {row['currency_code']}" if row["at_stake_amount"] is not None else ""
        usual = f"{row['low_value']:,.4g} to {row['high_value']:,.4g}"
        lines.append(
            f"| {row['channel']} | {row['value']:,.4g} | {row['expected_value']:,.4g} | {usual} | {amount} | {'; '.join(row['reasons'])} |"
        )
    return "\n".join(lines)


def _name(metric: str) -> str:
    return f"{metric}_as_usual"
