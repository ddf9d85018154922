"""Receipts as rows: how they lie in the lake and are published (`scores.receipts`, `scores.receipt_folds`), and what is read back of them.

The receipts of a score stand in the order in which they were made. That order says which is the newest, not their moments: a clock that was
ahead once would otherwise have the last word for as long as it was ahead.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import polars as pl

from commerce_assets.scoring.receipts import Receipt, Verdict, backtest_table

KEPT_RECEIPTS = 400
"""Of a score: more than a year of daily runs."""
KEPT_FOLDS = 60
"""Receipts of a score whose folds are kept."""

_INSTANT = pl.Datetime("us", "UTC")
_COLUMNS: tuple[tuple[str, pl.DataType, str], ...] = (
    ("receipt_id", pl.String(), "Names the run of the score; every row of the score carries that of the run it came from."),
    ("score", pl.String(), "The score."),
    ("model", pl.String(), "The model that made it."),
    ("version", pl.String(), "Version of the model as written here."),
    ("code_digest", pl.String(), "Digest of the source files that made it."),
    ("as_of_on", pl.Date(), "Day it describes."),
    ("scored_at", _INSTANT, "When it was computed."),
    ("valid_until", _INSTANT, "Until when it may be pushed."),
    ("is_accepted", pl.Boolean(), "Whether its rows replaced those before."),
    ("refused_because", pl.List(pl.String()), "Why they did not, in words."),
    ("is_drift_accepted", pl.Boolean(), "Accepted by name although figures drifted beyond their bound."),
    ("row_count", pl.Int64(), "Rows of the score."),
    ("is_converged", pl.Boolean(), "Whether the fit converged."),
    ("fallback", pl.String(), "Why a simpler model was used; null where it was not."),
    ("notes", pl.List(pl.String()), "What a reader should know besides."),
    ("trained_from_on", pl.Date(), "First day of the training window."),
    ("trained_to_on", pl.Date(), "Last day of the training window."),
    ("seed", pl.Int64(), "Seed of everything drawn."),
    ("inputs", pl.String(), "JSON: rows, first and last day, and last completeness of every input."),
    ("excluded", pl.String(), "JSON: what was left out, by reason."),
    ("parameters", pl.String(), "JSON: fitted parameters with standard errors."),
    ("settings", pl.String(), "JSON: settings of the run."),
    ("monitored", pl.String(), "JSON: figures whose change from run to run is bounded."),
    ("packages", pl.String(), "JSON: versions of the libraries used."),
)
RECEIPT_SCHEMA: dict[str, pl.DataType] = {name: dtype for name, dtype, _ in _COLUMNS}
RECEIPT_COLUMNS: dict[str, str] = {name: description for name, _, description in _COLUMNS}
FOLD_SCHEMA: dict[str, pl.DataType] = {"receipt_id": pl.String(), "score": pl.String(), **backtest_table(()).schema}
_AS_JSON = ("inputs", "excluded", "parameters", "settings", "monitored", "packages")


@dataclass(frozen=True)
class Accepted:
    """What later runs and pushes need of a receipt that was accepted."""

    receipt_id: str
    score: str
    version: str
    as_of_on: date
    scored_at: datetime
    valid_until: datetime
    rows: int
    monitored: Mapping[str, float]


def receipt_row(receipt: Receipt, verdict: Verdict, *, is_drift_accepted: bool) -> pl.DataFrame:
    """One row of `RECEIPT_SCHEMA`."""
    whole = receipt.as_dict()
    row: dict[str, Any] = {
        **{name: getattr(receipt, name) for name in RECEIPT_SCHEMA if hasattr(receipt, name)},
        **{name: json.dumps(whole[name], sort_keys=True) for name in _AS_JSON},
        "is_accepted": verdict.is_accepted,
        "refused_because": list(verdict.reasons),
        "is_drift_accepted": is_drift_accepted,
        "row_count": receipt.rows,
        "notes": list(receipt.notes),
    }
    return pl.DataFrame([[row[name] for name in RECEIPT_SCHEMA]], schema=RECEIPT_SCHEMA, orient="row")


def fold_rows(receipt: Receipt) -> pl.DataFrame:
    """The receipt's backtest: rows of `FOLD_SCHEMA`."""
    named = backtest_table(receipt.backtest).with_columns(receipt_id=pl.lit(receipt.receipt_id), score=pl.lit(receipt.score))
    return named.select(pl.col(name).cast(dtype) for name, dtype in FOLD_SCHEMA.items())


def as_written_now(rows: pl.DataFrame, schema: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """Receipts or folds that another version of this code kept, in today's columns: null where it knew none, without what only it knew."""
    return rows.select((pl.col(name) if name in rows.columns else pl.lit(None)).cast(dtype).alias(name) for name, dtype in schema.items())


def last_accepted(receipts: pl.DataFrame) -> Accepted | None:
    """The newest accepted of one score's receipts."""
    return next(accepted_receipts(receipts.filter("is_accepted").tail(1)), None)


def accepted_receipts(receipts: pl.DataFrame) -> Iterator[Accepted]:
    """Every accepted one, in the order given."""
    for row in receipts.filter("is_accepted").iter_rows(named=True):
        about = {name: row[name] for name in ("receipt_id", "score", "version", "as_of_on", "scored_at", "valid_until")}
        figures = {name: value for name, value in json.loads(row["monitored"] or "{}").items() if value is not None}
        yield Accepted(**about, rows=row["row_count"] or 0, monitored=figures)


def monitored_figures(receipts: pl.DataFrame, last: int) -> pl.DataFrame:
    """scored_at, figure, value, is_accepted of the last receipts of one score: what drift is looked for in."""
    rows = [
        (row["scored_at"], name, float(value), row["is_accepted"])
        for row in receipts.tail(last).iter_rows(named=True)
        for name, value in json.loads(row["monitored"] or "{}").items()
        if value is not None
    ]
    schema = {"scored_at": _INSTANT, "figure": pl.String(), "value": pl.Float64(), "is_accepted": pl.Boolean()}
    return pl.DataFrame(rows, schema=schema, orient="row")


def with_receipt(receipts: pl.DataFrame, added: pl.DataFrame) -> pl.DataFrame:
    """The receipts of one score with one more; the oldest go, the last accepted one never does."""
    every = pl.concat([receipts, added])
    kept = pl.concat([every.filter("is_accepted").tail(1), every.tail(KEPT_RECEIPTS)])["receipt_id"].unique()
    return every.filter(pl.col("receipt_id").is_in(kept.implode()))


def with_folds(folds: pl.DataFrame, added: pl.DataFrame, receipts: pl.DataFrame) -> pl.DataFrame:
    """The folds of one score with those of one more run; kept for the newest receipts."""
    kept = receipts.tail(KEPT_FOLDS)["receipt_id"]
    return pl.concat([folds, added]).filter(pl.col("receipt_id").is_in(kept.implode()))
