"""Running a score: read its inputs, make it, judge its receipt, and let its rows replace those before only if it was accepted.

A receipt is written first, its rows last, each by rename: whoever is killed between leaves the rows before in place, and every row names
a receipt that was accepted.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from importlib.resources import files
from typing import TYPE_CHECKING

import polars as pl

from commerce_assets.config import Settings
from commerce_assets.lake import Lake, LoadReport
from commerce_assets.observability.snapshots import ensure as ensure_copies
from commerce_assets.scoring.receipt_rows import (
    FOLD_SCHEMA,
    RECEIPT_SCHEMA,
    Accepted,
    as_written_now,
    fold_rows,
    last_accepted,
    monitored_figures,
    receipt_row,
    with_folds,
    with_receipt,
)
from commerce_assets.scoring.receipts import Bounds, Scored, Verdict, judge

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

RECEIPTS, FOLDS = "receipts", "receipt_folds"
SHOWN_RUNS = 30
"""Runs whose monitored figures are shown."""
RECEIPT_ID = "receipt_id"
"""The column by which a score's row names its receipt."""
Schema = Mapping[str, pl.DataType]


@dataclass(frozen=True)
class Moment:
    """When a score is made, of which day, and how long it may be used."""

    as_of: date
    scored_at: datetime
    valid_until: datetime

    @classmethod
    def now(cls, settings: Settings, as_of: date | None = None) -> "Moment":
        """This moment, of today (UTC) or `as_of`."""
        now = datetime.now(UTC)
        return cls(as_of or now.date(), now, now + timedelta(hours=settings.scores_max_age_hours))


@dataclass(frozen=True)
class Inputs:
    """What a score reads."""

    frames: Mapping[str, pl.DataFrame]
    complete_at: datetime | None
    """When all of it was last known to be complete; None where nobody can say."""
    settings: Settings
    moment: Moment


Plots = Callable[[Inputs, Scored], Mapping[str, bytes]]


@dataclass(frozen=True)
class KeptTable:
    """A table of a score that is kept beside its rows, under a name of its own."""

    name: str
    schema: Schema
    columns: Mapping[str, str]


@dataclass(frozen=True)
class ScoreJob:
    """One score: everything but when it runs and how it is shown."""

    name: str
    schema: Schema
    columns: Mapping[str, str]
    queries: tuple[str, ...]
    """Files in sql/ (without the suffix), each an input frame of that name."""
    families: tuple[str, ...]
    """Document families behind the inputs."""
    score: Callable[[Inputs], Scored]
    plots: Plots = lambda *_: {}
    tables: Mapping[str, KeptTable] = field(default_factory=dict)
    """Name in `Scored.tables` -> where it is kept."""
    uses: tuple[str, ...] = ()
    """Kept tables of other scores that are inputs too, under their own names; made before it."""
    shown_tables: tuple[str, ...] = ()
    """Of `Scored.tables`, those short enough to be shown whole beside the plots."""
    may_be_empty: bool = False
    max_drift: float | None = None
    """Bound of its own; default COMMERCE_SCORES_MAX_DRIFT."""
    tolerance: float = 0.0
    """How much worse than its baseline it may be, relative to it, where the backtest cannot tell finer."""

    def bounds(self, settings: Settings) -> Bounds:
        return Bounds(
            max_input_age=timedelta(hours=settings.scores_max_input_age_hours),
            max_drift=self.max_drift if self.max_drift is not None else settings.scores_max_drift,
            may_be_empty=self.may_be_empty,
            tolerance=self.tolerance,
        )


@dataclass(frozen=True)
class Outcome:
    """What a run of a score came to."""

    scored: Scored
    verdict: Verdict
    before: Accepted | None
    is_drift_accepted: bool
    figures: pl.DataFrame
    """Monitored figures of this and earlier runs (`monitored_figures`)."""


def read_inputs(
    job: ScoreJob, connection: "DuckDBPyConnection", lake: Lake, settings: Settings, moment: Moment, built_at: datetime | None = None
) -> Inputs:
    """The job's frames from the build file. `built_at`: when the marts read were built, where that is known."""
    ensure_copies(lake.root)
    connection.execute("SET VARIABLE lake_root = ?", [str(lake.root)])
    connection.execute("SET VARIABLE as_of_on = ?", [moment.as_of])
    connection.execute("SET VARIABLE chargeback_tags = ?", [[tag.lower() for tag in settings.chargeback_tag_list]])
    frames = {name: connection.sql(query(name)).pl() for name in job.queries}
    frames |= {name: lake.read_scores(name, {}) for name in job.uses}
    return Inputs(frames, complete_at(lake, job.families, built_at), settings, moment)


def run_score(job: ScoreJob, inputs: Inputs, lake: Lake, *, accept_drift: bool = False) -> Outcome:
    """Make the score and judge it; its rows, tables and receipt are kept as the verdict says.

    Raises `ScoringError` when the input lacks what the score needs; then nothing is kept.
    """
    scored = with_expiry(job.score(inputs), inputs.moment.valid_until)
    bounds, beside = job.bounds(inputs.settings), {name: scored.tables[name] for name in job.tables}
    with lake.scoring(job.name):
        receipts = receipts_of(lake, job.name)
        before = last_accepted(receipts)
        strict = judge(scored.receipt, scored.rows, before, bounds, inputs.moment.scored_at, beside=beside)
        verdict = strict
        if accept_drift and not strict.is_accepted:
            any_drift = replace(bounds, max_drift=float("inf"))
            verdict = judge(scored.receipt, scored.rows, before, any_drift, inputs.moment.scored_at, beside=beside)
        is_drift_accepted = verdict.is_accepted and not strict.is_accepted
        kept = _keep(job, scored, verdict, lake, receipts, is_drift_accepted)
    return Outcome(scored, verdict, before, is_drift_accepted, monitored_figures(kept, SHOWN_RUNS))


def with_expiry(scored: Scored, valid_until: datetime) -> Scored:
    """One expiry for all scores, that of the settings, on receipt, rows and tables."""

    def stamped(rows: pl.DataFrame) -> pl.DataFrame:
        return rows.with_columns(valid_until=pl.lit(valid_until).cast(pl.Datetime("us", "UTC"))) if "valid_until" in rows.columns else rows

    tables = {name: stamped(rows) for name, rows in scored.tables.items()}
    return Scored(stamped(scored.rows), replace(scored.receipt, valid_until=valid_until), tables)


def ensure_scores(lake: Lake, jobs: Iterable[ScoreJob]) -> None:
    """A typed empty file for every score and kept table that was never made, so that the models behind them always build."""
    for job in jobs:
        for name, schema in _kept(job).items():
            if not lake.score_file(name).exists():
                lake.write_scores(name, pl.DataFrame(schema=with_receipt_id(schema)))


def score_relations(jobs: Iterable[ScoreJob]) -> dict[tuple[str, str], tuple[str, ...]]:
    """(schema, table) -> columns of everything the scores keep, as dbt's source `scores` names it."""
    return {("scores", name): tuple(with_receipt_id(schema)) for job in jobs for name, schema in _kept(job).items()}


def with_receipt_id(schema: Schema) -> dict[str, pl.DataType]:
    """The schema as it is kept."""
    return {**schema, RECEIPT_ID: pl.String()}


def receipts_of(lake: Lake, name: str) -> pl.DataFrame:
    """Every receipt of a score that is kept, in the order in which they were made."""
    return as_written_now(lake.read_scores(RECEIPTS, RECEIPT_SCHEMA, part=name), RECEIPT_SCHEMA)


def in_force(lake: Lake, name: str) -> Accepted | None:
    """The receipt of the rows that are in place; None when there are none, or theirs is not known. Where there is no row to name one, it is the
    last that was accepted without rows: one with rows was killed before they lay there."""
    place = lake.score_file(name)
    if not place.exists():
        return None
    first = pl.scan_parquet(place).select(RECEIPT_ID).head(1).collect()
    is_named = pl.col(RECEIPT_ID).is_in(first[RECEIPT_ID].implode()) if first.height else pl.col("row_count") == 0
    named = receipts_of(lake, name).filter(is_named)
    return last_accepted(named)


def why_not_pushed(lake: Lake, names: Iterable[str], now: datetime) -> list[str]:
    """Reasons for which what these scores say may not be pushed now: none made, or its receipt has expired, or the newest run was refused."""
    reasons = []
    for name in names:
        receipt = in_force(lake, name)
        newest = receipts_of(lake, name).tail(1).to_dicts()
        if newest and not newest[0]["is_accepted"]:
            reasons.append(f"the newest run of scores/{name} was refused: {'; '.join(newest[0]['refused_because'])}")
        elif receipt is None:
            reasons.append(f"there is no accepted scores/{name} yet; materialise it first")
        elif now > receipt.valid_until:
            hours = (now - receipt.scored_at).total_seconds() / 3600
            reasons.append(
                f"scores/{name} is {hours:.1f} h old, valid until {receipt.valid_until:%Y-%m-%d %H:%M} UTC (COMMERCE_SCORES_MAX_AGE_HOURS); "
                "materialise it and its sync model again"
            )
    return reasons


def complete_at(lake: Lake, families: Iterable[str], built_at: datetime | None = None) -> datetime | None:
    """When the families were last known to be complete in the lake (the oldest of their newest loads), and in the marts if `built_at` says."""
    moments = [newest for family in families if (newest := newest_load(lake, family)) is not None]
    if built_at is not None and moments:
        moments.append(built_at)
    return min(moments, default=None)


def newest_load(lake: Lake, family: str) -> datetime | None:
    """When the newest pull of a family began; load ids begin with the time."""
    newest = max((lake.root / "loads").glob(f"*-{family}-*.json"), key=lambda path: path.name, default=None)
    return LoadReport.from_json(newest.read_text(encoding="utf-8")).loaded_at if newest else None


def query(name: str) -> str:
    """The text of sql/<name>.sql."""
    return (files("commerce_assets.service.scores") / "sql" / f"{name}.sql").read_text(encoding="utf-8")


def _keep(job: ScoreJob, scored: Scored, verdict: Verdict, lake: Lake, receipts: pl.DataFrame, is_drift_accepted: bool) -> pl.DataFrame:
    """Keep what the verdict allows; the score's receipts with this one."""
    kept = with_receipt(receipts, receipt_row(scored.receipt, verdict, is_drift_accepted=is_drift_accepted))
    lake.write_scores(RECEIPTS, kept, part=job.name)
    known = as_written_now(lake.read_scores(FOLDS, FOLD_SCHEMA, part=job.name), FOLD_SCHEMA)
    folds = with_folds(known, fold_rows(scored.receipt), kept)
    lake.write_scores(FOLDS, folds, part=job.name)
    if not verdict.is_accepted:
        return kept
    named = pl.lit(scored.receipt.receipt_id).alias(RECEIPT_ID)
    for table, place in job.tables.items():
        lake.write_scores(place.name, _typed(scored.tables[table], place.schema).with_columns(named))
    lake.write_scores(job.name, _typed(scored.rows, job.schema).with_columns(named))
    return kept


def _kept(job: ScoreJob) -> dict[str, Schema]:
    return {job.name: job.schema, **{kept.name: kept.schema for kept in job.tables.values()}}


def _typed(rows: pl.DataFrame, schema: Schema) -> pl.DataFrame:
    return rows.select(pl.col(name).cast(dtype) for name, dtype in schema.items())
