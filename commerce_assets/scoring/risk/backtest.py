"""Walk-forward test of the evidence and the model: trained on what was known then, held against the orders that came after.

A fold's training orders are those whose outcome was known at its cut-off: placed `label_maturity_days` before. Its hold-out are the orders
of the days after the cut-off, all of them mature by now. Features look back only, so that they need no second making.
"""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
from numpy.typing import NDArray

from commerce_assets.scoring.receipts import Fold, cutoffs
from commerce_assets.scoring.risk.model import Calibration, Floats, calibrate, train
from commerce_assets.scoring.risk.settings import RiskSettings

EVIDENCE, MODEL, BY_AMOUNT = "evidence", "gradient-boosting", "largest amount first"
MIN_TRAINING_DAYS = 60
GATE_MIN_CHARGEBACKS = 20
"""Chargebacks over all hold-outs below which no figure decides anything."""

HELD_OUT_COLUMNS: dict[str, str] = {
    "fold": "Fold, from 0.",
    "day_on": "UTC day of the order.",
    "is_chargeback": "What became of it.",
    "amount": "Its total, for ranking only.",
    "evidence": "Evidence score in log-odds.",
    "model": "Model's log-odds; null in folds with too few chargebacks to train on.",
    "rate": "Probability by the chosen score, calibrated on orders before the cut-off; null where it could not be.",
}
"""One row an order of a hold-out."""


@dataclass(frozen=True)
class Backtest:
    """Hold-out orders with what each score said of them, and the cut-offs."""

    held_out: pl.DataFrame
    cutoffs: tuple[date, ...]
    is_model_better: bool
    margin_z: float | None
    """Standard errors by which the model's area under the ROC curve exceeds the evidence's; None where no model was trained."""


def run_backtest(labelled: pl.DataFrame, settings: RiskSettings, seed: int) -> Backtest:
    """`labelled`: orders with features, `evidence` in log-odds, and a known outcome; sorted by `ordered_at` and `order_id`."""
    days = labelled["ordered_at"].dt.date()
    first_on, last_on = days.min(), days.max()
    found: tuple[date, ...] = ()
    if isinstance(first_on, date) and isinstance(last_on, date):
        history_days = settings.label_maturity_days + MIN_TRAINING_DAYS
        found = cutoffs(first_on, last_on, settings.backtest_days, folds=settings.backtest_folds, min_history_days=history_days)
    parts = [_held_out(labelled, fold, cutoff, settings, seed) for fold, cutoff in enumerate(found)]
    held_out = pl.concat(parts) if parts else _no_orders()
    z, is_more_precise = _margin(held_out)
    is_better = z is not None and z >= settings.acceptance_z and is_more_precise
    chosen_rate = "model_rate" if is_better else "evidence_rate"
    held_out = held_out.with_columns(rate=pl.col(chosen_rate)).select(*HELD_OUT_COLUMNS)
    return Backtest(held_out, found, is_better, z)


def backtest_folds(backtest: Backtest, settings: RiskSettings) -> tuple[Fold, ...]:
    """Average precision, precision and recall at capacity of the chosen score against the largest amounts, and of the model against the evidence."""
    held_out = backtest.held_out
    chosen = "model" if backtest.is_model_better else "evidence"
    names = {"model": MODEL, "evidence": EVIDENCE, "amount": BY_AMOUNT}
    is_gate = int(held_out["is_chargeback"].sum()) >= GATE_MIN_CHARGEBACKS
    folds = []
    for number, cutoff in enumerate(backtest.cutoffs):
        orders = held_out.filter(pl.col("fold") == number)
        if not orders["is_chargeback"].any():
            continue
        has_model = orders["model"].null_count() == 0
        pairs = [(chosen, "amount")] if chosen == "evidence" or has_model else []
        if has_model:
            pairs.append(("model", "evidence"))
        for one, other in pairs:
            ones, others = ranking_figures(orders, one, settings), ranking_figures(orders, other, settings)
            for metric, value in ones.items():
                better: Literal["higher"] = "higher"
                gate = is_gate and metric == "average_precision" and other == "amount"
                label = metric if other == "amount" else f"{metric}_against_evidence"
                until = cutoff + timedelta(days=settings.backtest_days)
                folds.append(Fold(number, cutoff, until, label, names[one], value, names[other], others[metric], better, gate))
    return tuple(folds)


def ranking_figures(orders: pl.DataFrame, by: str, settings: RiskSettings) -> dict[str, float]:
    """Average precision over the orders, and precision and recall when each day's capacity is looked at; needs a chargeback."""
    ranked = orders.sort(by, "amount", descending=True, maintain_order=True)
    looked_at = ranked.filter(pl.int_range(pl.len()).over("day_on") < review_capacity("day_on", settings))
    caught, chargebacks = int(looked_at["is_chargeback"].sum()), int(orders["is_chargeback"].sum())
    return {
        "average_precision": float(_precision_at_chargebacks(orders[by].to_numpy(), orders["is_chargeback"].to_numpy()).mean()),
        "precision_at_capacity": caught / looked_at.height if looked_at.height else 0.0,
        "recall_at_capacity": caught / chargebacks,
    }


def review_capacity(day: str, settings: RiskSettings) -> pl.Expr:
    """Orders of its day that can be looked at."""
    if settings.review_capacity_orders is not None:
        return pl.lit(settings.review_capacity_orders)
    return (pl.len().over(day) * settings.review_capacity_rate).round().clip(1)


def _held_out(labelled: pl.DataFrame, fold: int, cutoff: date, settings: RiskSettings, seed: int) -> pl.DataFrame:
    end_of_cutoff = _end_of(cutoff)
    matured = pl.col("ordered_at") < end_of_cutoff - timedelta(days=settings.label_maturity_days)
    was_known = pl.col("is_chargeback") & (pl.col("chargeback_known_at") < end_of_cutoff).fill_null(False)
    known = labelled.filter(matured).with_columns(is_chargeback=was_known)
    orders = labelled.filter(
        pl.col("ordered_at").is_between(end_of_cutoff, _end_of(cutoff + timedelta(days=settings.backtest_days)), closed="left")
    )
    evidence = orders["evidence"].to_numpy()
    columns: dict[str, Floats | None] = {"model": None, "model_rate": None, "evidence_rate": None}
    earlier, later = split_for_calibration(known, settings)
    columns["evidence_rate"] = _rates(calibrate(later["evidence"].to_numpy(), later["is_chargeback"].to_numpy(), settings), evidence)
    if int(known["is_chargeback"].sum()) >= settings.min_chargebacks and earlier["is_chargeback"].any():
        model = train(earlier, settings, seed)
        by_model = model.log_odds(orders)
        calibration = calibrate(model.log_odds(later), later["is_chargeback"].to_numpy(), settings)
        columns["model"], columns["model_rate"] = by_model, _rates(calibration, by_model)
    return orders.select(
        pl.lit(fold).cast(pl.Int64).alias("fold"),
        pl.col("ordered_at").dt.date().alias("day_on"),
        "is_chargeback",
        pl.col("total_amount").cast(pl.Float64).alias("amount"),
        "evidence",
        *(
            pl.lit(None, pl.Float64).alias(name) if values is None else pl.Series(name, values, dtype=pl.Float64)
            for name, values in columns.items()
        ),
    )


def split_for_calibration(known: pl.DataFrame, settings: RiskSettings) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Orders to train on, and the latest share of them to calibrate on."""
    training = known.height - int(known.height * settings.calibration_share)
    return known[:training], known[training:]


def _rates(calibration: Calibration | None, log_odds: Floats) -> Floats | None:
    return None if calibration is None else calibration.rates(log_odds)


def _margin(held_out: pl.DataFrame) -> tuple[float | None, bool]:
    """Standard errors by which the model's area under the ROC curve exceeds the evidence's, and whether its average precision does too.

    The paired test of DeLong, DeLong and Clarke-Pearson (1988, equations 4 to 8) over chargebacks and other orders of all folds, each
    placed within its own fold. Precisions are no ground for a test: those of one ranking hang together. Folds without a model say nothing.
    """
    of_chargebacks, of_others, gained = [], [], []
    for _, orders in held_out.filter(pl.col("model").is_not_null()).group_by("fold", maintain_order=True):
        outcome = orders["is_chargeback"].to_numpy()
        if not outcome.any() or outcome.all():
            continue
        by_model, by_evidence = orders["model"].to_numpy(), orders["evidence"].to_numpy()
        (ours, others), (theirs, their_others) = _placements(by_model, outcome), _placements(by_evidence, outcome)
        of_chargebacks.append(ours - theirs)
        of_others.append(others - their_others)
        gained.append(_precision_at_chargebacks(by_model, outcome).mean() - _precision_at_chargebacks(by_evidence, outcome).mean())
    differences = np.concatenate(of_chargebacks) if of_chargebacks else np.zeros(0)
    if len(differences) < GATE_MIN_CHARGEBACKS:
        return None, False
    others_differences = np.concatenate(of_others)
    variance = differences.var(ddof=1) / len(differences) + others_differences.var(ddof=1) / len(others_differences)
    return float(differences.mean() / max(variance**0.5, 1e-12)), float(np.mean(gained)) > 0


def _placements(scores: Floats, outcome: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """For each chargeback the share of other orders scored lower, for each other order that of chargebacks scored higher; ties half."""
    risky, others = np.sort(scores[outcome]), np.sort(scores[~outcome])
    lower = np.searchsorted(others, scores[outcome], side="left") + np.searchsorted(others, scores[outcome], side="right")
    not_higher = np.searchsorted(risky, scores[~outcome], side="left") + np.searchsorted(risky, scores[~outcome], side="right")
    return lower / (2 * len(others)), 1 - not_higher / (2 * len(risky))


def _precision_at_chargebacks(scores: Floats, outcome: NDArray[np.bool_]) -> Floats:
    """For each chargeback, in the order of the orders, the share of chargebacks among the orders scored no lower: ties are one step."""
    ascending = np.sort(scores)
    no_lower = len(scores) - np.searchsorted(ascending, scores[outcome], side="left")
    of_chargebacks = np.sort(scores[outcome])
    chargebacks_no_lower = len(of_chargebacks) - np.searchsorted(of_chargebacks, scores[outcome], side="left")
    return chargebacks_no_lower / no_lower


def _end_of(day: date) -> datetime:
    return datetime.combine(day + timedelta(days=1), datetime.min.time(), ZoneInfo("UTC"))


def _no_orders() -> pl.DataFrame:
    floats = ("amount", "evidence", "model", "model_rate", "evidence_rate")
    return pl.DataFrame(schema={"fold": pl.Int64, "day_on": pl.Date, "is_chargeback": pl.Boolean, **dict.fromkeys(floats, pl.Float64)})
