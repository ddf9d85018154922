"""The list of scores: what each reads, the pure function that makes it, and where its tables are kept."""

from collections.abc import Mapping

import polars as pl

from commerce_assets.config import Settings, SettingsError
from commerce_assets.scoring import (
    RFM_COLUMNS,
    RFM_SCHEMA,
    RfmSettings,
    anomalies,
    customers,
    demand,
    recommendations,
    risk,
    score_customers,
)
from commerce_assets.scoring.receipts import InputFacts, Receipt, Scored, backtest_table, code_digest, package_versions
from commerce_assets.service.scores.events_file import read_events
from commerce_assets.service.scores.policies_file import read_policies
from commerce_assets.service.scores.running import Inputs, KeptTable, ScoreJob

SEED = 20_261_128
"""Of everything a score draws."""


def _customer_rfm(inputs: Inputs) -> Scored:
    from commerce_assets.scoring import rfm, transactions

    settings = RfmSettings(lapsed_after_days=inputs.settings.lapsed_after_days)
    moment = inputs.moment
    scores, receipt = score_customers(inputs.frames["orders"], moment.as_of, scored_at=moment.scored_at, settings=settings)
    counts = {**receipt.segments, **receipt.lifecycles}
    return Scored(
        scores,
        Receipt(
            score="customer_rfm",
            model="quintiles",
            version=receipt.version,
            code_digest=code_digest(rfm.__file__, transactions.__file__),
            as_of_on=receipt.as_of_on,
            scored_at=receipt.scored_at,
            valid_until=moment.valid_until,
            seed=0,
            inputs={"orders": InputFacts(receipt.input_rows, receipt.input_first_on, receipt.input_last_on, inputs.complete_at)},
            rows=receipt.scored_customers,
            excluded={f"orders_{reason}": count for reason, count in receipt.excluded.items()},
            trained_from_on=receipt.input_first_on,
            trained_to_on=receipt.input_last_on,
            settings=dict(receipt.parameters),
            notes=(", ".join(f"{count:,} {name}" for name, count in counts.items()),) if counts else (),
            monitored={"scored_customers": float(receipt.scored_customers)},
            packages=package_versions("polars"),
        ),
    )


def _customer_value(inputs: Inputs) -> Scored:
    settings = customers.CustomerValueSettings(
        horizon_days=inputs.settings.value_horizon_days,
        annual_discount_rate=inputs.settings.value_discount_rate,
        lapsed_after_days=inputs.settings.lapsed_after_days,
    )
    return customers.score_customer_value(
        inputs.frames["orders"],
        inputs.moment.as_of,
        scored_at=inputs.moment.scored_at,
        settings=settings,
        complete_at=inputs.complete_at,
        seed=SEED,
    )


def _customer_value_plots(_: Inputs, scored: Scored) -> Mapping[str, bytes]:
    plots = {}
    if (matrix := scored.tables["alive_matrix"]).height:
        plots["alive"] = customers.alive_plot(matrix)
    if (calibration := scored.tables["calibration"]).height:
        plots["reliability"] = customers.reliability_plot(calibration)
    if (lift := scored.tables["value_lift"]).height:
        plots["lift"] = customers.lift_plot(lift, lift["currency_code"].mode().sort()[0])
    if (frequency := scored.tables["frequency_holdout"]).height:
        plots["frequency"] = customers.frequency_plot(frequency)
    return plots


def _demand_forecast(inputs: Inputs) -> Scored:
    return demand.score_demand(
        inputs.frames["sales"],
        inputs.frames["stock_history"],
        inputs.frames["variants"],
        inputs.moment.as_of,
        scored_at=inputs.moment.scored_at,
        complete_at=inputs.complete_at,
        seed=SEED,
    )


def _demand_plots(inputs: Inputs, scored: Scored) -> Mapping[str, bytes]:
    from commerce_assets.scoring.demand import plots

    drawn = {}
    if (totals := scored.tables["totals"]).height:
        sold = inputs.frames["sales"].filter(pl.col("sold_on") <= inputs.moment.as_of)
        drawn["total"] = plots.total_fan(sold, totals)
    if (reliability := scored.tables["reliability"]).height:
        drawn["reliability"] = plots.reliability(reliability)
    return drawn


def _replenishment(inputs: Inputs) -> Scored:
    frames, settings = inputs.frames, inputs.settings
    rules = demand.ReplenishmentSettings(lead_time_days=settings.lead_time_days, service_level=settings.service_level)
    whole_until = demand.last_whole_day(inputs.moment.as_of, inputs.moment.scored_at, inputs.complete_at)
    return demand.score_replenishment(
        frames["demand_series"],
        frames["stock"],
        read_policies(settings.replenishment_policies, frames["skus"]),
        frames["sync_latency"],
        inputs.moment.as_of,
        scored_at=inputs.moment.scored_at,
        settings=rules,
        complete_at=inputs.complete_at,
        seed=SEED,
        backtest=demand.simulated_service(frames["sales"], frames["stock_history"], frames["variants"], whole_until, settings=rules),
    )


def _replenishment_plots(_: Inputs, scored: Scored) -> Mapping[str, bytes]:
    from commerce_assets.scoring.demand import plots

    if not scored.rows["days_of_cover"].drop_nulls().len():
        return {}
    return {"stock_out_risk": plots.stock_out_risk(scored.rows), "days_of_cover": plots.days_of_cover(scored.rows)}


def _product_recommendations(inputs: Inputs) -> Scored:
    return recommendations.recommend_products(
        inputs.frames["lines"],
        inputs.frames["products"],
        inputs.moment.as_of,
        scored_at=inputs.moment.scored_at,
        complete_at=inputs.complete_at,
        products_complete_at=inputs.complete_at,
        seed=SEED,
    )


def _recommendation_plots(_: Inputs, scored: Scored) -> Mapping[str, bytes]:
    plots = {"list_lengths": recommendations.plot_list_lengths(scored.rows)} if scored.rows.height else {}
    if scored.receipt.backtest:
        plots["recall"] = recommendations.plot_backtest(backtest_table(scored.receipt.backtest))
    return plots


def _order_risk(inputs: Inputs) -> Scored:
    return risk.score_order_risk(
        inputs.frames["risk_orders"],
        inputs.moment.as_of,
        scored_at=inputs.moment.scored_at,
        settings=risk.RiskSettings(review_capacity_rate=inputs.settings.review_capacity_rate),
        complete_at=inputs.complete_at,
        seed=SEED,
    )


def _order_risk_plots(_: Inputs, scored: Scored) -> Mapping[str, bytes]:
    from commerce_assets.scoring.risk import plots

    drawn = {}
    if scored.receipt.backtest:
        drawn["at_capacity"] = plots.plot_at_capacity(backtest_table(scored.receipt.backtest))
    if (gain := scored.tables["gain"]).height:
        drawn["gain"] = plots.plot_gain(gain)
    if (calibration := scored.tables["calibration"]).height:
        drawn["calibration"] = plots.plot_calibration(calibration)
    return drawn


def _daily_anomalies(inputs: Inputs) -> Scored:
    return anomalies.judge_days(
        inputs.frames["daily_metrics"],
        inputs.moment.as_of,
        scored_at=inputs.moment.scored_at,
        settings=anomalies.AnomalySettings(own_events=read_events(inputs.settings.calendar_events)),
        complete_at=inputs.complete_at,
        seed=SEED,
    )


def _anomaly_plots(_: Inputs, scored: Scored) -> Mapping[str, bytes]:
    """The band of each metric, of the channel with the most."""
    from commerce_assets.scoring.anomalies import plots

    bands = scored.tables["bands"]
    largest = (
        bands.filter("is_judged")
        .group_by("metric", "channel")
        .agg(pl.col("value").sum())
        .sort("metric", "value", "channel", descending=[False, True, False])
        .unique("metric", keep="first", maintain_order=True)
    )
    return {metric: plots.plot_band(bands, metric, channel) for metric, channel, _ in largest.iter_rows()}


_TRANSITION_COLUMNS = {
    "lifecycle_before": "State some days before; new_customer where there was no sale yet.",
    "lifecycle_now": "State on the as-of day.",
    "customer_count": "Customers who went from the one to the other.",
    "share_rate": "Their share of those who were in the state before.",
}
_CALIBRATION_COLUMNS = {
    "stage": "raw, or calibrated on other folds.",
    "bin": "Bin of the predicted chance.",
    "customer_count": "Customers in it.",
    "predicted_rate": "Mean predicted chance of no order.",
    "observed_rate": "Share of them who did not order.",
}

JOBS: dict[str, ScoreJob] = {
    made.name: made
    for made in (
        ScoreJob(
            name="customer_rfm",
            schema=RFM_SCHEMA,
            columns=RFM_COLUMNS,
            queries=("orders",),
            families=("orders",),
            score=_customer_rfm,
            may_be_empty=True,
        ),
        ScoreJob(
            name="customer_value",
            schema=customers.CUSTOMER_VALUE_SCHEMA,
            columns=customers.CUSTOMER_VALUE_COLUMNS,
            queries=("orders",),
            families=("orders",),
            score=_customer_value,
            plots=_customer_value_plots,
            tables={
                "transitions": KeptTable("customer_transitions", customers.TABLE_SCHEMAS["transitions"], _TRANSITION_COLUMNS),
                "calibration": KeptTable("customer_calibration", customers.TABLE_SCHEMAS["calibration"], _CALIBRATION_COLUMNS),
            },
            shown_tables=("calibration", "value_lift", "frequency_holdout", "transitions"),
            may_be_empty=True,
        ),
        ScoreJob(
            name="demand_forecast",
            schema=demand.DEMAND_SCHEMA,
            columns=demand.DEMAND_COLUMNS,
            queries=("sales", "stock_history", "variants"),
            families=("orders",),
            score=_demand_forecast,
            plots=_demand_plots,
            tables={
                "series": KeptTable("demand_series", demand.SERIES_SCHEMA, demand.SERIES_COLUMNS),
                "totals": KeptTable("demand_totals", demand.TOTAL_SCHEMA, demand.TOTAL_COLUMNS),
            },
            may_be_empty=True,
        ),
        ScoreJob(
            name="replenishment",
            schema=demand.REPLENISHMENT_SCHEMA,
            columns=demand.REPLENISHMENT_COLUMNS,
            queries=("stock", "skus", "sync_latency", "sales", "stock_history", "variants"),
            families=("orders", "inventory"),
            score=_replenishment,
            plots=_replenishment_plots,
            uses=("demand_series",),
            may_be_empty=True,
        ),
        ScoreJob(
            name="product_recommendations",
            schema=recommendations.RECOMMENDATION_SCHEMA,
            columns=recommendations.RECOMMENDATION_COLUMNS,
            queries=("lines", "products"),
            families=("orders", "products"),
            score=_product_recommendations,
            plots=_recommendation_plots,
            tables={
                "customers": KeptTable(
                    "customer_recommendations", recommendations.NEXT_PURCHASE_SCHEMA, recommendations.NEXT_PURCHASE_COLUMNS
                )
            },
            may_be_empty=True,
            # Of a recall of some 12 %, a thousand hold-out baskets tell a tenth from nothing, and no finer.
            tolerance=0.1,
        ),
        ScoreJob(
            name="order_risk",
            schema=risk.RISK_SCHEMA,
            columns=risk.RISK_COLUMNS,
            queries=("risk_orders",),
            families=("orders",),
            score=_order_risk,
            shown_tables=("calibration", "gain"),
            plots=_order_risk_plots,
            may_be_empty=True,
        ),
        ScoreJob(
            name="daily_anomalies",
            schema=anomalies.ANOMALY_SCHEMA,
            columns=anomalies.ANOMALY_COLUMNS,
            queries=("daily_metrics",),
            families=("orders", "inventory"),
            score=_daily_anomalies,
            plots=_anomaly_plots,
            may_be_empty=True,
        ),
    )
}


def made_in(settings: Settings) -> dict[str, ScoreJob]:
    """The scores that are made here, in the order in which they can be: all, or those that COMMERCE_SCORES names."""
    if settings.scores is None:
        return JOBS
    wanted = {name.strip() for name in settings.scores.split(",") if name.strip()}
    if unknown := sorted(wanted - set(JOBS)):
        raise SettingsError(f"COMMERCE_SCORES names {', '.join(unknown)}; there are {', '.join(JOBS)}")
    chosen = {name: job for name, job in JOBS.items() if name in wanted}
    kept = {kept.name for job in chosen.values() for kept in job.tables.values()}
    for name, job in chosen.items():
        if lacking := sorted(set(job.uses) - kept):
            raise SettingsError(f"COMMERCE_SCORES: {name} reads {', '.join(lacking)}, which no score named there makes")
    return chosen
