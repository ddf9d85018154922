"""One factory makes the asset of a score: read, score, judge, keep, and show the receipt.

Blocking check `accepted`: the receipt of the run was accepted and its rows are in place. Refused, the run fails, the rows accepted last
stay, and the pushes behind them refuse until a run is accepted.
"""

import base64
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import dagster as dg
import polars as pl

from commerce_assets.config import load_settings
from commerce_assets.defs.names import ANALYTICS, tags
from commerce_assets.defs.resources import LakeFolder, Warehouse
from commerce_assets.defs.schemas import frame_schema
from commerce_assets.scoring.errors import ScoringError
from commerce_assets.scoring.plots import drift_plot
from commerce_assets.scoring.receipt_rows import RECEIPT_COLUMNS
from commerce_assets.scoring.receipts import Scored, backtest_table
from commerce_assets.service.scores.running import RECEIPT_ID, Inputs, Moment, Outcome, ScoreJob, read_inputs, run_score, with_receipt_id

ACCEPTED = "accepted"
SHOWN_FOLDS = 60
SHOWN_ROWS = 30

ExtraChecks = Callable[[dg.AssetKey, Scored], Iterator[dg.AssetCheckResult]]


class ScoreConfig(dg.Config):
    """What to score."""

    as_of_on: str | None = None
    """The day (YYYY-MM-DD, UTC) the score describes; default today."""
    accept_drift: bool = False
    """Accept this run though its figures lie beyond their bound from the last accepted one; kept on its receipt."""


@dataclass(frozen=True)
class Shown:
    """How a score is shown and when it runs."""

    description: str
    tier: int
    domain: str
    deps: Sequence[dg.AssetKey]
    automation: dg.AutomationCondition
    freshness: dg.FreshnessPolicy | None
    owner: str = ANALYTICS
    kinds: frozenset[str] = frozenset({"polars", "parquet"})
    check_specs: Sequence[dg.AssetCheckSpec] = ()
    checks: ExtraChecks | None = None


def score_key(name: str) -> dg.AssetKey:
    """`scores/<name>`."""
    return dg.AssetKey(["scores", name])


def score_asset(job: ScoreJob, shown: Shown) -> dg.AssetsDefinition:
    """The asset of a score."""
    key = score_key(job.name)

    @dg.asset(
        key=key,
        deps=list(shown.deps),
        description=shown.description,
        group_name="scores",
        owners=[shown.owner],
        tags=tags(shown.tier, shown.domain, False),
        kinds=set(shown.kinds),
        metadata=_columns(job),
        automation_condition=shown.automation,
        freshness_policy=shown.freshness,
        output_required=False,
        check_specs=[
            dg.AssetCheckSpec(
                ACCEPTED,
                asset=key,
                blocking=True,
                description="The newest run converged, is no worse than its naive baseline, did not drift beyond its bound, and read fresh data.",
            ),
            *shown.check_specs,
        ],
    )
    def score(context: dg.AssetExecutionContext, config: ScoreConfig, warehouse: Warehouse, lake: LakeFolder) -> Iterator[Any]:
        settings = load_settings()
        opened = lake.open()
        moment = Moment.now(settings, date.fromisoformat(config.as_of_on) if config.as_of_on else None)
        with warehouse.reading() as connection:
            inputs = read_inputs(job, connection, opened, settings, moment, built_at(context.instance, shown.deps))
        try:
            outcome = run_score(job, inputs, opened, accept_drift=config.accept_drift)
        except ScoringError as error:
            yield _refused(key, [str(error)])
            raise dg.Failure(f"scores/{job.name} could not be made: {error}", allow_retries=False) from error
        if not outcome.verdict.is_accepted:
            drift = drift_metadata(outcome, job.bounds(settings).max_drift)
            yield _refused(key, outcome.verdict.reasons, {**receipt_metadata(outcome.scored), **drift})
            raise dg.Failure(refusal(job.name, outcome), metadata=receipt_metadata(outcome.scored), allow_retries=False)
        context.log.info(in_words(job.name, outcome))
        shown_beside = drift_metadata(outcome, job.bounds(settings).max_drift)
        try:
            shown_beside |= _pictures(job, inputs, outcome.scored)
        except Exception as error:  # the rows are in place: a picture that cannot be drawn must not make the run say otherwise
            context.log.warning(f"scores/{job.name}: plots and tables left out ({type(error).__name__}: {error})")
        yield dg.MaterializeResult(metadata={**receipt_metadata(outcome.scored), **shown_beside})
        yield _accepted(key, outcome)
        if shown.checks:
            yield from shown.checks(key, outcome.scored)

    return score


def built_at(instance: dg.DagsterInstance, deps: Sequence[dg.AssetKey]) -> datetime | None:
    """When any of the marts read was built last; None when this instance built none."""
    events = [event for dep in deps if dep.path[0] == "warehouse" and (event := instance.get_latest_materialization_event(dep))]
    return max((datetime.fromtimestamp(event.timestamp, UTC) for event in events), default=None)


def in_words(name: str, outcome: Outcome) -> str:
    """One line about a run that was accepted."""
    receipt = outcome.scored.receipt
    left_out = f"; left out: {', '.join(f'{count:,} {reason}' for reason, count in receipt.excluded.items())}" if receipt.excluded else ""
    instead = f"; simpler model: {receipt.fallback}" if receipt.fallback else ""
    return f"scores/{name}: {receipt.rows:,} rows as of {receipt.as_of_on} by {receipt.model}{instead}{left_out}"


def refusal(name: str, outcome: Outcome) -> str:
    """Why a run was refused, and what stands instead."""
    stands = f"the rows of {outcome.before.as_of_on} stay" if outcome.before else "there are none before it to stay"
    return f"scores/{name} refused: {'; '.join(outcome.verdict.reasons)}. Nothing was replaced: {stands}; what is pushed from them waits."


def receipt_metadata(scored: Scored) -> dict[str, Any]:
    """The receipt as the UI shows it: what matters as figures, the rest as JSON, the backtest as a table."""
    receipt = scored.receipt
    shown: dict[str, Any] = {
        "dagster/row_count": receipt.rows,
        "as_of_on": receipt.as_of_on.isoformat(),
        "model": receipt.model,
        "version": receipt.version,
        "valid_until": dg.MetadataValue.timestamp(receipt.valid_until),
        "converged": receipt.is_converged,
        "receipt_id": receipt.receipt_id,
        "receipt": dg.MetadataValue.json(receipt.as_dict()),
    }
    if receipt.fallback:
        shown["fallback"] = receipt.fallback
    if receipt.notes:
        shown["notes"] = dg.MetadataValue.md("\n".join(f"- {note}" for note in receipt.notes))
    if receipt.excluded:
        shown["excluded"] = dg.MetadataValue.json(dict(receipt.excluded))
    if receipt.parameters:
        rows = [
            f"| {name} | {part.value:.4g} | {'' if part.standard_error is None else f'{part.standard_error:.2g}'} |"
            for name, part in receipt.parameters.items()
        ]
        shown["parameters"] = dg.MetadataValue.md("\n".join(["| parameter | value | standard error |", "|---|---:|---:|", *rows]))
    if receipt.backtest:
        shown["backtest"] = dg.MetadataValue.md(markdown_of_folds(scored))
    return shown


def markdown_of_folds(scored: Scored) -> str:
    """The backtest as a table: one line a fold and metric, gates marked."""
    lines = ["| fold | trained to | metric | model | value | baseline | its value | better |", "|---:|---|---|---|---:|---|---:|---|"]
    for fold in backtest_table(scored.receipt.backtest).head(SHOWN_FOLDS).iter_rows(named=True):
        metric = f"**{fold['metric']}** (gate)" if fold["is_gate"] else fold["metric"]
        lines.append(
            f"| {fold['fold']} | {fold['cutoff_on']} | {metric} | {fold['model']} | {fold['value']:.4g} "
            f"| {fold['baseline']} | {fold['baseline_value']:.4g} | {fold['better']} |"
        )
    return "\n".join(lines)


def as_image(png: bytes) -> dg.MarkdownMetadataValue:
    """A small image inside the metadata itself."""
    return dg.MetadataValue.md(f"![plot](data:image/png;base64,{base64.b64encode(png).decode()})")


def drift_metadata(outcome: Outcome, max_drift: float) -> dict[str, Any]:
    """Monitored figures beside those of the last accepted run before, and over the last runs as a plot once there are two."""
    receipt, before = outcome.scored.receipt, outcome.before
    if not receipt.monitored:
        return {}
    lines = ["| figure | before | now | change |", "|---|---:|---:|---:|"]
    for name, now in receipt.monitored.items():
        then = before.monitored.get(name) if before else None
        change = f"{(now - then) / abs(then):+.1%}" if then else ""
        lines.append(f"| {name} | {'' if then is None else f'{then:,.4g}'} | {now:,.4g} | {change} |")
    lines.append(f"\nAllowed from one accepted run to the next: {max_drift:.0%}.")
    shown: dict[str, Any] = {"drift": dg.MetadataValue.md("\n".join(lines))}
    if outcome.figures["scored_at"].n_unique() > 1 and outcome.figures["is_accepted"].any():
        shown["plot_drift"] = as_image(drift_plot(outcome.figures, max_drift))
    return shown


def _pictures(job: ScoreJob, inputs: Inputs, scored: Scored) -> dict[str, Any]:
    """The score's plots, and its short tables beside them."""
    plots = {f"plot_{name}": as_image(png) for name, png in job.plots(inputs, scored).items()}
    tables = {name: scored.tables[name] for name in job.shown_tables if scored.tables[name].height}
    return {**plots, **{f"table_{name}": dg.MetadataValue.md(markdown_of(table.head(SHOWN_ROWS))) for name, table in tables.items()}}


def markdown_of(rows: pl.DataFrame) -> str:
    """A short frame as a table."""
    numbers = [pl.col(name).round(4) for name, dtype in rows.schema.items() if dtype.is_float()]
    lines = [f"| {' | '.join(rows.columns)} |", f"|{'---|' * rows.width}"]
    lines += [f"| {' | '.join('' if cell is None else str(cell) for cell in row)} |" for row in rows.with_columns(numbers).iter_rows()]
    return "\n".join(lines)


def _columns(job: ScoreJob) -> dict[str, Any]:
    described = {RECEIPT_ID: RECEIPT_COLUMNS[RECEIPT_ID]}
    metadata: dict[str, Any] = {"dagster/column_schema": frame_schema(with_receipt_id(job.schema), {**job.columns, **described})}
    for kept in job.tables.values():
        metadata[f"{kept.name}/columns"] = frame_schema(with_receipt_id(kept.schema), {**kept.columns, **described})
    return metadata


def _accepted(key: dg.AssetKey, outcome: Outcome) -> dg.AssetCheckResult:
    by_name = " (drift accepted by name)" if outcome.is_drift_accepted else ""
    receipt = outcome.scored.receipt
    return dg.AssetCheckResult(
        asset_key=key,
        check_name=ACCEPTED,
        passed=True,
        description=f"{receipt.model} accepted{by_name}; valid until {receipt.valid_until:%Y-%m-%d %H:%M} UTC",
        metadata={"receipt_id": receipt.receipt_id},
    )


def _refused(key: dg.AssetKey, reasons: Sequence[str], metadata: dict[str, Any] | None = None) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        asset_key=key,
        check_name=ACCEPTED,
        passed=False,
        severity=dg.AssetCheckSeverity.ERROR,
        description=f"refused: {'; '.join(reasons)}",
        metadata=metadata or {},
    )
