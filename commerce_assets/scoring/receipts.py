"""The receipt of a score: what it was computed from, with which model, how good it is, until when it may be used; and the verdict on it.

Every run of a score makes one, whether its rows are then used or not. `judge` says which: a score that did not converge, is worse than
its naive baseline, lies far from the last accepted run, or was fed by stale data is refused; the rows accepted last then stay.

Belongs here: receipts, folds of backtests, verdicts. Does not belong here: any model, and where receipts are kept (defs/scoring).
"""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import date, datetime, timedelta
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, Protocol

import polars as pl

Better = Literal["lower", "higher", "nearer"]
"""`nearer`: the baseline is an aim to be met, such as the nominal share of an interval, and no rival; no gate is of this kind."""
MIN_FOLDS = 3
"""Folds a walk-forward backtest has where history allows for them."""


@dataclass(frozen=True)
class Estimate:
    """A fitted parameter."""

    value: float
    standard_error: float | None = None


@dataclass(frozen=True)
class InputFacts:
    """What is known of a table that was read."""

    rows: int
    first_on: date | None = None
    last_on: date | None = None
    complete_at: datetime | None = None
    """When the data was last known to be complete: the newest load behind it, a UTC moment. None where nobody can say (a file)."""


@dataclass(frozen=True)
class Fold:
    """One figure of one fold of a walk-forward backtest: trained on what was known up to `cutoff_on`, held against what came until `until_on`."""

    fold: int
    cutoff_on: date
    until_on: date
    metric: str
    model: str
    value: float
    baseline: str
    baseline_value: float
    better: Better
    is_gate: bool = False
    """Whether the model has to be at least as good as its baseline here, over all folds, for the score to be used."""

    def __post_init__(self) -> None:
        if self.is_gate and self.better == "nearer":
            raise ValueError(f"{self.metric} has an aim and no rival: it cannot decide whether a score may be used")


@dataclass(frozen=True)
class Receipt:
    """One run of a score."""

    score: str
    model: str
    version: str
    """Of the model as written here, such as `customer-value-1`; raised when its results change."""
    code_digest: str
    """Of the source files that made it (`code_digest`)."""
    as_of_on: date
    scored_at: datetime
    valid_until: datetime
    seed: int
    inputs: Mapping[str, InputFacts]
    rows: int
    excluded: Mapping[str, int] = field(default_factory=dict)
    """What was left out, by reason; customers, orders, series or products, as the reason's name says."""
    trained_from_on: date | None = None
    trained_to_on: date | None = None
    parameters: Mapping[str, Estimate] = field(default_factory=dict)
    settings: Mapping[str, float | int | str | bool] = field(default_factory=dict)
    is_converged: bool = True
    fallback: str | None = None
    """Why a simpler model than the intended one was used, in words; None where it was not."""
    notes: tuple[str, ...] = ()
    backtest: tuple[Fold, ...] = ()
    monitored: Mapping[str, float] = field(default_factory=dict)
    """Figures whose change against the last accepted run is bounded, such as the mean predicted value."""
    packages: Mapping[str, str] = field(default_factory=dict)
    """Versions of the libraries that computed it."""

    @property
    def receipt_id(self) -> str:
        """Score, moment and content: the same run has the same id, two different ones never do."""
        return f"{self.score}-{self.scored_at:%Y%m%dT%H%M%S%f}-{sha256(self.to_json().encode()).hexdigest()[:8]}"

    def as_dict(self) -> dict[str, Any]:
        """JSON-able; moments as ISO 8601 text, numbers that are none (NaN, infinite) as null."""
        return jsonable(asdict(self))

    def to_json(self) -> str:
        return json.dumps(self.as_dict(), sort_keys=True)


@dataclass(frozen=True)
class Scored:
    """What a score's function returns: the rows to be used, the receipt, and tables for people (calibration, transitions) by name."""

    rows: pl.DataFrame
    receipt: Receipt
    tables: Mapping[str, pl.DataFrame] = field(default_factory=dict)


@dataclass(frozen=True)
class Bounds:
    """What a receipt has to keep to be accepted."""

    max_input_age: timedelta | None = timedelta(hours=26)
    """None: not asked (a file has no freshness)."""
    max_drift: float = 0.5
    """Relative change of a monitored figure against the last accepted run: |now - before| / max(|before|, tiny)."""
    min_rate_drift: float = 0.1
    """Absolute change of a monitored share (`…_rate`) below which it is no drift: one in a hundred becomes two in a hundred by chance."""
    min_drift_rows: int = 200
    """Rows of a score below which, now and before, its figures are not watched: a shop's first customers double within a week."""
    tolerance: float = 0.0
    """How much worse than its baseline a gate's mean over the folds may be, relative to the baseline."""
    may_be_empty: bool = False


class Before(Protocol):
    """What is asked of the receipt accepted last."""

    @property
    def version(self) -> str: ...
    @property
    def as_of_on(self) -> date: ...
    @property
    def rows(self) -> int: ...
    @property
    def monitored(self) -> Mapping[str, float]: ...


@dataclass(frozen=True)
class Verdict:
    """Whether a score's rows may be used, and if not, why: every reason in words that say what to do."""

    reasons: tuple[str, ...]

    @property
    def is_accepted(self) -> bool:
        return not self.reasons


def judge(
    receipt: Receipt,
    rows: pl.DataFrame,
    before: Before | None,
    bounds: Bounds,
    now: datetime,
    *,
    beside: Mapping[str, pl.DataFrame] | None = None,
) -> Verdict:
    """The verdict on a run of a score, given the receipt accepted `before` it (None: the first); `beside`: tables that are kept with its rows."""
    reasons = [
        *_unusable_rows(receipt, rows, bounds),
        *(f"{name}: {reason}" for name, table in (beside or {}).items() for reason in _not_finite(table)),
        *([] if receipt.is_converged else [f"{receipt.model} did not converge: look at the input's rows and dates, then score again"]),
        *_stale_inputs(receipt, bounds, now),
        *_worse_than_baseline(receipt, bounds),
        *_drift(receipt, before, bounds),
    ]
    return Verdict(tuple(reasons))


def gate_figures(backtest: Iterable[Fold]) -> dict[str, tuple[float, float, str, str]]:
    """Metric -> means over the folds of model and baseline, which is better, and the baseline's name; of gates only."""
    by_metric: dict[str, list[Fold]] = {}
    for fold in backtest:
        if fold.is_gate:
            by_metric.setdefault(fold.metric, []).append(fold)
    return {
        metric: (
            sum(fold.value for fold in folds) / len(folds),
            sum(fold.baseline_value for fold in folds) / len(folds),
            folds[0].better,
            folds[0].baseline,
        )
        for metric, folds in by_metric.items()
    }


def backtest_table(backtest: Iterable[Fold]) -> pl.DataFrame:
    """Folds as a frame: fold, cutoff_on, until_on, metric, model, value, baseline, baseline_value, better, is_gate."""
    schema = {
        "fold": pl.Int64(),
        "cutoff_on": pl.Date(),
        "until_on": pl.Date(),
        "metric": pl.String(),
        "model": pl.String(),
        "value": pl.Float64(),
        "baseline": pl.String(),
        "baseline_value": pl.Float64(),
        "better": pl.String(),
        "is_gate": pl.Boolean(),
    }
    return pl.DataFrame([asdict(fold) for fold in backtest], schema=schema)


def cutoffs(first_on: date, last_on: date, horizon_days: int, *, folds: int = MIN_FOLDS, min_history_days: int = 90) -> tuple[date, ...]:
    """Days up to which the folds of a walk-forward backtest are trained, oldest first.

    Their hold-outs of `horizon_days` end at `last_on` at the latest, do not overlap where history allows, and each has at least
    `min_history_days` of history before it. Fewer than `folds` (down to none) where there is too little history.
    """
    latest = last_on - timedelta(days=horizon_days)
    earliest = first_on + timedelta(days=min_history_days)
    if latest < earliest:
        return ()
    step = min(horizon_days, max((latest - earliest).days // max(folds - 1, 1), 1))
    found = [latest - timedelta(days=step * back) for back in range(folds)]
    return tuple(sorted(cutoff for cutoff in found if cutoff >= earliest))


def code_digest(*files: str) -> str:
    """Twelve hex digits over the source files given (pass `__file__` of each module that makes the score)."""
    digest = sha256()
    for file in sorted(files):
        digest.update(_source(file))
    return digest.hexdigest()[:12]


def package_versions(*names: str) -> dict[str, str]:
    """Installed versions of the libraries named."""
    return {name: version(name) for name in names}


def jsonable(value: Any) -> Any:
    """What strict JSON can hold, by ISO 8601 and with null for a number that is none (NaN, infinite)."""
    if isinstance(value, Mapping):
        return {str(name): jsonable(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(part) for part in value]
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


@cache
def _source(file: str) -> bytes:
    return Path(file).read_bytes()


def _unusable_rows(receipt: Receipt, rows: pl.DataFrame, bounds: Bounds) -> list[str]:
    if rows.is_empty():
        return [] if bounds.may_be_empty else [f"{receipt.score} has no rows: {_excluded_in_words(receipt)}"]
    return _not_finite(rows)


def _not_finite(rows: pl.DataFrame) -> list[str]:
    floats = [name for name, dtype in rows.schema.items() if dtype.is_float()]
    bad = rows.select((~pl.col(floats).is_finite()).sum()).row(0, named=True) if floats else {}
    return [f"{count:,} rows have no finite {name}: never to be pushed" for name, count in bad.items() if count]


def _stale_inputs(receipt: Receipt, bounds: Bounds, now: datetime) -> list[str]:
    if bounds.max_input_age is None:
        return []
    allowed_hours = bounds.max_input_age.total_seconds() / 3600
    return [
        f"{name} was last complete {(now - facts.complete_at).total_seconds() / 3600:.1f} h ago, more than the {allowed_hours:.0f} h allowed: "
        "pull it and build the warehouse, then score again"
        for name, facts in receipt.inputs.items()
        if facts.complete_at is not None and now - facts.complete_at > bounds.max_input_age
    ]


def _worse_than_baseline(receipt: Receipt, bounds: Bounds) -> list[str]:
    reasons = []
    for metric, (value, baseline, better, name) in gate_figures(receipt.backtest).items():
        slack = bounds.tolerance * abs(baseline)
        is_worse = value > baseline + slack if better == "lower" else value < baseline - slack
        if is_worse or not (math.isfinite(value) and math.isfinite(baseline)):
            against = "worse than" if is_worse else "not to be held against"
            reasons.append(f"{metric} is {value:.4g}, {against} the {baseline:.4g} of {name} over the backtest's folds")
    return reasons


def _drift(receipt: Receipt, before: Before | None, bounds: Bounds) -> list[str]:
    if before is None or before.version != receipt.version or max(receipt.rows, before.rows) < bounds.min_drift_rows:
        return []
    reasons = []
    if not receipt.rows and math.isfinite(bounds.max_drift):
        reasons.append(
            f"no row is left of the {before.rows:,} of {before.as_of_on}: {_excluded_in_words(receipt)}; "
            "see whether the data or the shop changed, then accept it with accept_drift"
        )
    for name, now in receipt.monitored.items():
        then = before.monitored.get(name)
        if then is None or not math.isfinite(now):
            continue
        change = abs(now - then) / max(abs(then), 1e-9)
        is_small_share = name.endswith("_rate") and abs(now - then) < bounds.min_rate_drift
        if change > bounds.max_drift and not is_small_share:
            reasons.append(
                f"{name} went from {then:.4g} to {now:.4g} since {before.as_of_on} ({change:.0%}, more than the {bounds.max_drift:.0%} allowed): "
                "see whether the data or the shop changed, then accept it with accept_drift"
            )
    return reasons


def _excluded_in_words(receipt: Receipt) -> str:
    return ", ".join(f"{count:,} {reason}" for reason, count in receipt.excluded.items()) or "its input is empty"
