"""Order risk: one row an order of the last days, with a score, whether people should look at it, and why."""

from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from commerce_assets.scoring.errors import ScoringError
from commerce_assets.scoring.receipts import Estimate, InputFacts, Receipt, Scored, code_digest, package_versions
from commerce_assets.scoring.rfm import MONEY
from commerce_assets.scoring.risk.backtest import (
    EVIDENCE,
    MODEL,
    Backtest,
    backtest_folds,
    review_capacity,
    run_backtest,
    split_for_calibration,
)
from commerce_assets.scoring.risk.evidence import evidence_points, pieces
from commerce_assets.scoring.risk.features import order_features
from commerce_assets.scoring.risk.model import Calibration, ChargebackModel, Floats, calibrate, train
from commerce_assets.scoring.risk.orders import checked_orders
from commerce_assets.scoring.risk.settings import VERSION, RiskSettings
from commerce_assets.scoring.risk.tables import backtest_tables

_COLUMNS: tuple[tuple[str, pl.DataType, str], ...] = (
    ("order_id", pl.Int64(), "Order id (numeric part of the gid)."),
    ("ordered_at", pl.Datetime("us", "UTC"), "When it was ordered."),
    ("risk_score", pl.Float64(), "0 to 100, comparable between models: 1.8 is an order without evidence, 50 has 55 times its odds."),
    ("chargeback_rate", pl.Float64(), "Probability of a chargeback, calibrated on known outcomes; null where there are too few."),
    ("risk_level", pl.String(), "low, medium or high."),
    ("is_review", pl.Boolean(), "Not low, and within what people can look at of its UTC day, the riskiest first."),
    ("amount_at_risk_amount", MONEY, "Total of the order, which a chargeback would take back, in `currency_code`."),
    ("currency_code", pl.String(), "Currency of the order (ISO 4217)."),
    ("model_name", pl.String(), "evidence, or gradient-boosting."),
    ("reasons", pl.List(pl.String()), "What speaks for or against the order, weightiest first, with points of log-odds."),
    ("as_of_on", pl.Date(), "Last UTC day whose orders are in the score."),
    ("valid_until", pl.Datetime("us", "UTC"), "Until when the score may be used."),
    ("scored_at", pl.Datetime("us", "UTC"), "When the score was computed."),
)
RISK_COLUMNS: dict[str, str] = {name: description for name, _, description in _COLUMNS}
RISK_SCHEMA: dict[str, pl.DataType] = {name: dtype for name, dtype, _ in _COLUMNS}
VALID_FOR = timedelta(days=2)
MIN_POINTS_TOLD = 0.05


@dataclass(frozen=True)
class _Chosen:
    """The score in use: its log-odds of any order, shifted to where an order without evidence stands."""

    name: str
    model: ChargebackModel | None
    calibration: Calibration | None
    fallback: str | None


def score_order_risk(
    orders: pl.DataFrame,
    as_of: date,
    *,
    scored_at: datetime,
    settings: RiskSettings | None = None,
    complete_at: datetime | None = None,
    seed: int = 0,
) -> Scored:
    """Score the orders (`RISK_ORDER_COLUMNS`) of the `score_days` up to and including `as_of`, a UTC day; the older ones are their history.

    Rows are `RISK_SCHEMA`, riskiest last moment first: sorted by `ordered_at`, `order_id`. Tables: `backtest`, `gain`, `calibration`
    (`tables.py`). Without enough chargebacks the score is the evidence alone and says so in the receipt's fallback; a trained model
    takes its place only where it ranks hold-out orders better by `acceptance_z` standard errors. Raises ScoringError for missing
    columns, money that is no DECIMAL and moments without a time zone.
    """
    settings = settings or RiskSettings()
    if scored_at.tzinfo is None:
        raise ScoringError("scored_at has no time zone: pass a UTC moment")
    usable, excluded = checked_orders(orders, as_of, label_maturity_days=settings.label_maturity_days)
    features = order_features(usable, settings)
    points = evidence_points(features, settings)
    features = features.with_columns(evidence=settings.usual_log_odds + points.sum_horizontal())
    labelled = _labelled(features)
    backtest = run_backtest(labelled, settings, seed)
    chosen = _choose(labelled, backtest, settings, seed)

    is_recent = (
        pl.lit(True) if settings.score_days is None else pl.col("ordered_at").dt.date() > as_of - timedelta(days=settings.score_days)
    )
    is_scored = features.select(is_recent & ~pl.col("is_cancelled").fill_null(False)).to_series()
    rows = _rows(features.filter(is_scored), points.filter(is_scored), chosen, settings)
    rows = rows.with_columns(
        as_of_on=pl.lit(as_of), scored_at=pl.lit(scored_at), valid_until=pl.lit(scored_at + VALID_FOR), model_name=pl.lit(chosen.name)
    ).select(pl.col(name).cast(dtype) for name, dtype in RISK_SCHEMA.items())
    cancelled = features.select((is_recent & pl.col("is_cancelled").fill_null(False)).sum()).item()
    excluded |= {"cancelled": cancelled} if cancelled else {}
    days = usable["ordered_at"].dt.date()
    training_days = labelled["ordered_at"].dt.date()
    receipt = Receipt(
        score="order_risk",
        model=chosen.name,
        version=VERSION,
        code_digest=code_digest(*(str(Path(__file__).with_name(name)) for name in _MODULES)),
        as_of_on=as_of,
        scored_at=scored_at,
        valid_until=scored_at + VALID_FOR,
        seed=seed,
        inputs={"orders": InputFacts(orders.height, _day(days.min()), _day(days.max()), complete_at)},
        rows=rows.height,
        excluded=excluded,
        trained_from_on=_day(training_days.min()) if chosen.model or chosen.calibration else None,
        trained_to_on=_day(training_days.max()) if chosen.model or chosen.calibration else None,
        parameters=_parameters(chosen, labelled, backtest),
        settings={
            name: value if not isinstance(value, tuple) else str(value) for name, value in asdict(settings).items() if value is not None
        },
        fallback=chosen.fallback,
        notes=_notes(chosen, labelled),
        backtest=backtest_folds(backtest, settings),
        monitored=_monitored(rows),
        packages=package_versions("polars", "numpy", "scikit-learn"),
    )
    return Scored(rows, receipt, backtest_tables(backtest, receipt.backtest, settings))


_MODULES = ("score.py", "settings.py", "orders.py", "windows.py", "value.py", "features.py", "evidence.py", "model.py", "backtest.py")


def _labelled(features: pl.DataFrame) -> pl.DataFrame:
    """Mature orders whose outcome is known. A cancelled order was paid back: that nobody charged it back says nothing."""
    is_mature_outcome = pl.col("is_chargeback").is_not_null() & ~pl.col("is_cancelled").fill_null(False) & pl.col("is_mature")
    return features.filter(is_mature_outcome)


def _choose(labelled: pl.DataFrame, backtest: Backtest, settings: RiskSettings, seed: int) -> _Chosen:
    chargebacks = int(labelled["is_chargeback"].sum())
    earlier, later = split_for_calibration(labelled, settings)
    if backtest.is_model_better and earlier["is_chargeback"].any():
        model = train(earlier, settings, seed)
        return _Chosen(MODEL, model, calibrate(model.log_odds(later), later["is_chargeback"].to_numpy(), settings), None)
    if not chargebacks:
        fallback = (
            "evidence only: no order with a known outcome was charged back, so that neither weights nor probabilities can be measured"
        )
    elif chargebacks < settings.min_chargebacks:
        fallback = f"evidence only: {chargebacks} chargebacks among mature orders, a model needs {settings.min_chargebacks}"
    elif backtest.margin_z is None:
        fallback = "evidence only: the history is too short to test a model on later orders"
    else:
        fallback = (
            f"evidence only: a trained model ranks later orders {backtest.margin_z:+.1f} standard errors from the evidence, "
            f"{settings.acceptance_z:+.2f} and a higher average precision are asked for"
        )
    calibration = calibrate(later["evidence"].to_numpy(), later["is_chargeback"].to_numpy(), settings)
    return _Chosen(EVIDENCE, None, calibration, fallback)


def _rows(features: pl.DataFrame, points: pl.DataFrame, chosen: _Chosen, settings: RiskSettings) -> pl.DataFrame:
    log_odds, owed = features["evidence"].to_numpy(), points
    own_log_odds = log_odds
    if chosen.model is not None:
        own_log_odds = chosen.model.log_odds(features)
        owed = chosen.model.contributions(features, pieces(settings))
        # The same scale as the evidence's: a usual order stands where an order without evidence does.
        usual = np.log(chosen.model.usual_rate / (1 - chosen.model.usual_rate))
        log_odds = own_log_odds - usual + settings.usual_log_odds
    rates = pl.lit(None, pl.Float64) if chosen.calibration is None else pl.Series(chosen.calibration.rates(own_log_odds))
    scored = features.with_columns(
        risk_score=pl.Series(_score(log_odds)).round(2),
        chargeback_rate=rates,
        amount_at_risk_amount=pl.col("total_amount"),
        _rank=pl.Series(log_odds),
    ).with_columns(day_on=pl.col("ordered_at").dt.date())
    riskiest_first = [-pl.col("_rank"), -pl.col("total_amount"), pl.col("order_id")]
    place = pl.int_range(pl.len()).over("day_on", order_by=riskiest_first)
    level = (
        pl.when(pl.col("risk_score") >= settings.high_from_score)
        .then(pl.lit("high"))
        .when(pl.col("risk_score") >= settings.medium_from_score)
        .then(pl.lit("medium"))
        .otherwise(pl.lit("low"))
    )
    is_review = (place < review_capacity("day_on", settings)) & (pl.col("risk_level") != "low")
    return scored.with_columns(risk_level=level).with_columns(is_review=is_review, reasons=_reasons(features, owed, settings))


def _reasons(features: pl.DataFrame, points: pl.DataFrame, settings: RiskSettings) -> pl.Series:
    """The weightiest pieces of each order in words, those that raise the risk before those that lower it."""
    rows = pl.int_range(features.height, eager=True).alias("_row")
    told = []
    for number, piece in enumerate(pieces(settings)):
        with_points = features.with_columns(rows, _points=points[piece.name]).filter(pl.col("_points").abs() >= MIN_POINTS_TOLD)
        sign = pl.when(pl.col("_points") > 0).then(pl.lit("+")).otherwise(pl.lit("-"))
        sentence = pl.format("{} ({}{})", piece.sentence, sign, pl.col("_points").abs().round(1).cast(pl.String))
        told.append(with_points.select("_row", "_points", pl.lit(number).alias("_piece"), sentence.alias("_sentence")))
    weightiest = (
        pl.concat(told)
        .sort("_row", pl.col("_points").abs(), "_piece", descending=[False, True, False])
        .group_by("_row", maintain_order=True)
        .head(settings.reason_count)
        .sort("_row", "_points", "_piece", descending=[False, True, False])
        .group_by("_row", maintain_order=True)
        .agg(pl.col("_sentence").alias("reasons"))
    )
    found = rows.to_frame().join(weightiest, on="_row", how="left", maintain_order="left")["reasons"]
    return found.fill_null(pl.Series([["nothing stands out"]]).first())


def _score(log_odds: Floats) -> Floats:
    return 100 / (1 + np.exp(-log_odds))


def _parameters(chosen: _Chosen, labelled: pl.DataFrame, backtest: Backtest) -> dict[str, Estimate]:
    found = {"mature_orders": Estimate(labelled.height), "mature_chargebacks": Estimate(float(labelled["is_chargeback"].sum()))}
    if labelled.height:
        rate = found["mature_chargebacks"].value / labelled.height
        found["chargeback_rate"] = Estimate(rate, (rate * (1 - rate) / labelled.height) ** 0.5)
    if backtest.margin_z is not None:
        found["model_margin_z"] = Estimate(backtest.margin_z)
    if chosen.calibration is not None:
        found["calibration_orders"] = Estimate(chosen.calibration.orders)
        found["calibration_chargebacks"] = Estimate(chosen.calibration.chargebacks)
    return found


def _notes(chosen: _Chosen, labelled: pl.DataFrame) -> tuple[str, ...]:
    notes = ["an order stopped by a review is never charged back: outcomes understate what a review would find"] if labelled.height else []
    if chosen.model is not None:
        notes.append("the model was chosen on the folds of the backtest: its figures there are a little too good")
    if chosen.calibration is None:
        notes.append("chargeback_rate is null: too few known outcomes to calibrate a probability; risk_score ranks, it is no probability")
    return tuple(notes)


def _monitored(rows: pl.DataFrame) -> dict[str, float]:
    """The middle of the scores: a wave of fraud leaves it where it was, a column gone missing does not."""
    median = rows["risk_score"].median()
    return {"median_risk_score": float(median)} if isinstance(median, float) else {}


def _day(day: object) -> date | None:
    return day if isinstance(day, date) else None
