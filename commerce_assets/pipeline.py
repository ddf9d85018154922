"""The main job from end to end in this process: storefront, warehouse, scores, publish, push, with progress and a summary that adds up.

It runs the very assets that the Dagster UI shows, on the same instance, stage by stage: a stream that fails keeps what it had and does not
stop the others; a build that fails stops what is behind it. The command line prints what this returns.
"""

import contextlib
import fcntl
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.storage.dagster_run import IN_PROGRESS_RUN_STATUSES

from commerce_assets.config import Settings
from commerce_assets.defs.activation.pushing import model_key, push_declared, push_key
from commerce_assets.defs.activation.segments import KEY as SEGMENTS
from commerce_assets.defs.automation import RANGE_END_TAG, RANGE_START_TAG
from commerce_assets.defs.dagster_home import open_instance, quick_storage
from commerce_assets.defs.observability.activation_log import KEY as ACTIVATION_LOG
from commerce_assets.defs.observability.books import EVENT_LOG, STOCK_BOOKS
from commerce_assets.defs.resources import LakeFolder, Storefront, Warehouse
from commerce_assets.defs.scoring.assets import RFM_KEY, score_keys
from commerce_assets.defs.storefront.coverage import days_due, reports_of
from commerce_assets.defs.warehouse.published import KEY as PUBLISHED_KEY
from commerce_assets.service.syncs import declared_syncs, sync_named

PIPELINE_TAG = "commerce/pipeline"
PROBLEM_LINES = 6
_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
Progress = Callable[[str], None]


class PipelineError(Exception):
    """The pipeline cannot start; the message says why and what to do."""


@dataclass(frozen=True)
class Stream:
    """What a family's pull read, and what became of it."""

    read: int
    accepted: int
    quarantined: int
    duplicates: int


@dataclass(frozen=True)
class Stage:
    """One stage: how long it took and what went wrong, if anything."""

    name: str
    seconds: float
    problems: tuple[str, ...] = ()
    is_skipped: bool = False

    @property
    def is_ok(self) -> bool:
        return not self.problems and not self.is_skipped


@dataclass
class PipelineSummary:
    """What a run of the main job did."""

    warehouse_path: str
    ui_url: str
    streams: dict[str, Stream] = field(default_factory=dict)
    stages: list[Stage] = field(default_factory=list)
    tables_built: int = 0
    checks_passed: int = 0
    checks_warned: int = 0
    checks_failed: int = 0
    customers_scored: int = 0
    scores: dict[str, str] = field(default_factory=dict)
    """Score -> rows, model and, where there is one, why a simpler model was used."""
    syncs: dict[str, dict[str, int]] = field(default_factory=dict)
    """Sync -> records that were written, are as they were, or failed."""
    published_version: str | None = None
    seconds: float = 0.0

    @property
    def is_ok(self) -> bool:
        return (
            all(stage.is_ok for stage in self.stages)
            and self.checks_failed == 0
            and not any(sync["failed"] for sync in self.syncs.values())
        )

    def as_dict(self) -> dict[str, Any]:
        return {"is_ok": self.is_ok, **asdict(self)}

    def render(self) -> str:
        """The summary for people."""
        lines = ["", f"{'stream':<12}{'read':>12}{'accepted':>12}{'quarantined':>13}{'duplicates':>12}"]
        lines += [
            f"{name:<12}{stream.read:>12,}{stream.accepted:>12,}{stream.quarantined:>13,}{stream.duplicates:>12,}"
            for name, stream in self.streams.items()
        ]
        lines += [
            "",
            f"tables built       {self.tables_built:,}",
            f"checks             {self.checks_passed:,} passed, {self.checks_warned:,} warned, {self.checks_failed:,} failed",
            f"customers scored   {self.customers_scored:,}",
            *(
                f"  activation/{name:<24}{counts['written']:>9,} written, {counts['unchanged']:,} unchanged, {counts['failed']:,} failed"
                for name, counts in self.syncs.items()
            ),
            *(f"  scores/{name:<24}{words}" for name, words in self.scores.items()),
            "seconds            "
            + ", ".join(f"{stage.name} {stage.seconds:.1f}" for stage in self.stages)
            + f"; {self.seconds:.1f} in all",
            f"warehouse          {self.warehouse_path}"
            + (f" (version {self.published_version})" if self.published_version else " (not published)"),
            f"Dagster UI         {self.ui_url} (make run)",
        ]
        for stage in self.stages:
            lines += [f"FAILED  {stage.name}: {problem}" for problem in stage.problems]
            lines += [f"SKIPPED {stage.name}"] if stage.is_skipped else []
        return "\n".join([*lines, "", "all well" if self.is_ok else "NOT all well: see above"])


@dataclass(frozen=True)
class PushSummary:
    """What a push did, or would do."""

    is_ok: bool
    status: str
    counts: Mapping[str, int]
    problems: tuple[str, ...] = ()
    sample: Mapping[str, list[str]] = field(default_factory=dict)
    run_id: str | None = None
    """In the ledger: what `commerce sync undo` takes."""
    title: str = "push of customer scores"

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def render(self) -> str:
        """For people."""
        lines = [
            f"{self.title}: {self.status}" + (f", run {self.run_id}" if self.run_id else ""),
            *(f"  {name:<24}{count:>10,}" for name, count in self.counts.items()),
        ]
        lines += [f"  e.g. {operation}: {', '.join(keys)}" for operation, keys in self.sample.items()]
        return "\n".join([*lines, *(f"FAILED  {problem}" for problem in self.problems)])


def run_pipeline(
    settings: Settings, *, progress: Progress, instance: dg.DagsterInstance | None = None, full: bool = False, days: int | None = None
) -> PipelineSummary:
    """Run everything once. `full` pulls all again; `days` pulls at least that many days of orders."""
    started = time.monotonic()
    summary = PipelineSummary(str(settings.published_path), f"http://127.0.0.1:{settings.port}")
    with _Pipeline.opened(settings, progress, instance) as pipeline:
        _pull_storefront(pipeline, summary, full=full, days=days)
        _build_and_activate(pipeline, summary)
    summary.seconds = time.monotonic() - started
    return summary


def run_push(
    settings: Settings,
    *,
    dry_run: bool,
    progress: Progress,
    name: str,
    plan_id: str | None = None,
    instance: dg.DagsterInstance | None = None,
) -> PushSummary:
    """Run the push of that name, behind the gate; or say what it would write. With `plan_id`, only what that plan said is written."""
    declared = sync_named(settings, name)
    title = f"push of {declared.title}"
    if dry_run:
        report = push_declared(
            declared,
            Storefront(base_url=settings.storefront_url, api_version=settings.shopify_api_version),
            Warehouse(build_path=str(settings.build_path)),
            dry_run=True,
            requested_by="commerce sync --dry-run",
            say=progress,
        )
        counts = {count: getattr(report, count) for count in ("desired", "creates", "updates", "removals", "unchanged")}
        return PushSummary(True, "planned, nothing written", counts, sample=report.sample, title=title)
    key = push_key(declared)
    with _Pipeline.opened(settings, progress, instance) as pipeline:
        stage, result = pipeline.run("push", [key], config={"plan_id": plan_id} if plan_id else None)
        metadata = _metadata(result, key)
    names = ("desired", "creates", "updates", "removals", "unchanged", "succeeded", "failed", "gone", "canary", "canary_failed")
    counts = {count: int(metadata[count]) for count in names if count in metadata}
    counts |= {f"skipped, {reason}": int(count) for reason, count in (metadata.get("skipped") or {}).items()}
    return PushSummary(
        is_ok=stage.is_ok and not counts.get("failed"),
        status=str(metadata.get("status", "not done")),
        counts=counts,
        problems=stage.problems,
        run_id=str(metadata.get("ledger_run_id", "")) or None,
        title=title,
    )


def run_model(settings: Settings, name: str, *, progress: Progress, instance: dg.DagsterInstance | None = None) -> Stage:
    """Build and test the model of the sync of that name."""
    declared = sync_named(settings, name)
    with _Pipeline.opened(settings, progress, instance) as pipeline:
        stage, _ = pipeline.run("sync models", [model_key(declared)])
    return stage


def run_publish(settings: Settings, *, progress: Progress, instance: dg.DagsterInstance | None = None) -> Stage:
    """Publish the built warehouse, behind the gate."""
    with _Pipeline.opened(settings, progress, instance) as pipeline:
        stage, _ = pipeline.run("publish", [PUBLISHED_KEY])
    return stage


def _pull_storefront(pipeline: "_Pipeline", summary: PipelineSummary, *, full: bool, days: int | None) -> None:
    """Every stream, each in a run of its own, so that one that fails stops no other."""
    today = datetime.now(UTC).date()
    start, end = pipeline.order_days(today, full=full, days=days)
    pipeline.progress(f"orders: {start} to {end}, {(end - start).days + 1} day(s) in one bulk operation")
    runs: list[tuple[str, dict[str, Any]]] = [
        ("products", {"config": {"full": full}}),
        ("customers", {"config": {"full": full}}),
        ("locations", {}),
        ("orders", {"tags": {RANGE_START_TAG: start.isoformat(), RANGE_END_TAG: end.isoformat()}}),
        ("inventory", {"partition_key": today.isoformat()}),
        ("ids", {}),
    ]
    for name, options in runs:
        key = dg.AssetKey(["storefront", name])
        stage, result = pipeline.run(name, [key], **options)
        summary.stages.append(stage)
        _count_checks(summary, result)
        if stream := _stream(result, key):
            summary.streams[name] = stream
            rejected = f", {stream.quarantined:,} in quarantine" if stream.quarantined else ""
            pipeline.progress(f"{name}: {stream.accepted:,} of {stream.read:,} rows accepted{rejected} ({stage.seconds:.1f} s)")


def _build_and_activate(pipeline: "_Pipeline", summary: PipelineSummary) -> None:
    """Marts, scores, sync models, figures, publish, push: each only when what it stands on was built."""
    stages: list[tuple[str, Sequence[dg.AssetKey], str]] = [
        ("warehouse", pipeline.models("dbt_models"), "dbt builds and tests staging, intermediate and marts"),
        ("scores", score_keys(pipeline.settings), "scoring customers, products, stock and orders, each against its baseline"),
        ("sync models", pipeline.models("dbt_sync_models"), "dbt builds and tests what is to be pushed"),
        (
            "push",
            pipeline.present([*pipeline.pushes(), SEGMENTS]),
            "pushing scores, recommendations and segments, each sync behind its gates",
        ),
        ("figures", [EVENT_LOG, STOCK_BOOKS, ACTIVATION_LOG, *pipeline.models("dbt_ops_models")], "measuring the platform itself"),
        ("publish", [PUBLISHED_KEY], "copying, auditing and publishing the warehouse"),
    ]
    needs = {"scores": "warehouse", "sync models": "warehouse", "figures": "warehouse", "publish": "warehouse", "push": "sync models"}
    done: dict[str, bool] = {}
    for name, keys, doing in stages:
        if not keys:
            continue
        if name in needs and not done[needs[name]]:
            done[name] = False
            summary.stages.append(Stage(name, 0.0, is_skipped=True))
            pipeline.progress(f"{name}: skipped, because {needs[name]} did not succeed")
            continue
        pipeline.progress(f"{name}: {doing}")
        stage, result = pipeline.run(name, keys)
        done[name] = stage.is_ok
        summary.stages.append(stage)
        _count_checks(summary, result)
        _note(summary, name, result)


def _note(summary: PipelineSummary, name: str, result: dg.ExecuteInProcessResult) -> None:
    if name in ("warehouse", "sync models", "figures"):
        keys = {event.asset_key for event in result.get_asset_materialization_events() if event.asset_key}
        built = {key for key in keys if key.path[0] == "warehouse"}
        summary.tables_built += len(built)
    elif name == "scores":
        summary.customers_scored = int(_metadata(result, RFM_KEY).get("dagster/row_count", 0))
        for key in sorted({event.asset_key for event in result.get_asset_materialization_events() if event.asset_key}):
            if metadata := _metadata(result, key):
                instead = f"; simpler: {metadata['fallback']}" if "fallback" in metadata else ""
                summary.scores[key.path[-1]] = f"{int(metadata['dagster/row_count']):>9,} rows by {metadata['model']}{instead}"
    elif name == "publish":
        summary.published_version = _metadata(result, PUBLISHED_KEY).get("version")
    elif name == "push":
        for event in result.get_asset_materialization_events():
            if event.asset_key and event.asset_key.path[0] == "activation" and event.asset_key != SEGMENTS:
                metadata = _metadata(result, event.asset_key)
                counts = {
                    "written": metadata.get("succeeded", 0),
                    "unchanged": metadata.get("unchanged", 0),
                    "failed": metadata.get("failed", 0),
                }
                summary.syncs["/".join(event.asset_key.path[1:])] = {what: int(count) for what, count in counts.items()}


@dataclass(frozen=True)
class _Pipeline:
    """The definitions and the instance they run on; one pipeline at a time."""

    settings: Settings
    definitions: dg.Definitions
    instance: dg.DagsterInstance
    progress: Progress
    log: Path

    @classmethod
    @contextlib.contextmanager
    def opened(cls, settings: Settings, progress: Progress, instance: dg.DagsterInstance | None) -> Iterator["_Pipeline"]:
        """Alone on this data root, with the runs of a pipeline that was killed declared dead (they would hold their places for ever)."""
        from commerce_assets.definitions import build_defs

        log = settings.data_root / "logs" / f"pipeline-{datetime.now(UTC).strftime('%Y%m%dT%H%M%S')}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with _alone(settings.data_root), contextlib.ExitStack() as stack:
            if instance is None:
                stack.enter_context(quick_storage(settings.dagster_home_path))
                instance = stack.enter_context(open_instance(settings.dagster_home_path))
            _bury_dead_runs(instance)
            yield cls(settings, build_defs(), instance, progress, log)

    def run(
        self,
        name: str,
        keys: Sequence[dg.AssetKey],
        *,
        config: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
        partition_key: str | None = None,
    ) -> tuple[Stage, dg.ExecuteInProcessResult]:
        """Materialise `keys` in one run."""
        started = time.monotonic()
        job = self.definitions.resolve_implicit_global_asset_job_def()
        ops = {"__".join(keys[0].path): {"config": dict(config)}} if config else {}
        with self.log.open("a") as log, contextlib.redirect_stdout(log), _quiet_logging():
            result = job.execute_in_process(
                instance=self.instance,
                run_config={**_QUIET, "ops": ops} if ops else _QUIET,
                tags={PIPELINE_TAG: name, **(tags or {})},
                partition_key=partition_key,
                asset_selection=list(keys),
                raise_on_error=False,
            )
        problems = tuple(_problems(result))
        for problem in problems:
            self.progress(f"{name}: FAILED: {problem}")
        return Stage(name, time.monotonic() - started, problems), result

    def models(self, name: str) -> list[dg.AssetKey]:
        """The models of one of dbt's steps: dbt_models, dbt_sync_models, dbt_ops_models."""
        return [
            key
            for asset in self.definitions.assets or ()
            if isinstance(asset, dg.AssetsDefinition) and asset.op.name == name
            for key in asset.keys
        ]

    def pushes(self) -> list[dg.AssetKey]:
        """Every declared sync that is not left to a person."""
        return [push_key(placed.declared) for placed in declared_syncs(self.settings).values() if placed.declared.automation != "manual"]

    def present(self, keys: Sequence[dg.AssetKey]) -> list[dg.AssetKey]:
        """Those of the keys that there is an asset for."""
        made = {key for asset in self.definitions.assets or () if isinstance(asset, dg.AssetsDefinition) for key in asset.keys}
        return [key for key in keys if key in made]

    def order_days(self, today: date, *, full: bool, days: int | None) -> tuple[date, date]:
        """The days of orders to pull: those not closed yet, from the shop's earliest on."""
        first, earliest = self.settings.orders_start_on, self._earliest_order_day()
        if earliest is not None:
            if earliest < first:
                self.progress(
                    f"orders: some were last changed on {earliest}, before COMMERCE_ORDERS_START_ON ({first}): they are not pulled"
                )
            first = max(first, min(earliest, today))
        lake = LakeFolder(root=str(self.settings.lake_root), max_reject_rate=self.settings.quarantine_max_rate).open()
        start, end = (first, today) if full else days_due(reports_of(lake, "orders"), first, today)
        if days is not None:
            start = min(start, max(self.settings.orders_start_on, today - timedelta(days=days - 1)))
        return start, end

    def _earliest_order_day(self) -> date | None:
        from commerce_assets.sources.shopify.client import document

        storefront = Storefront(base_url=self.settings.storefront_url, api_version=self.settings.shopify_api_version)
        try:
            with storefront.client() as client:
                edges = client.execute(document("earliest_order"))["orders"]["edges"]
        except Exception as error:  # the pull itself will say what is wrong with the shop
            self.progress(
                f"orders: the shop did not say which order is its first ({type(error).__name__}); starting at COMMERCE_ORDERS_START_ON"
            )
            return None
        return datetime.fromisoformat(edges[0]["node"]["updatedAt"]).astimezone(UTC).date() if edges else None


@contextlib.contextmanager
def _alone(data_root: Path) -> Iterator[None]:
    """One pipeline a data root; the lock dies with its holder."""
    data_root.mkdir(parents=True, exist_ok=True)
    with (data_root / "pipeline.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PipelineError(
                f"another run of the main job is under way on {data_root}; wait for it to end, or set COMMERCE_DATA_ROOT"
            ) from None
        yield


def _bury_dead_runs(instance: dg.DagsterInstance) -> None:
    """Whoever holds the lock is the only pipeline: runs of another one that still look alive were killed."""
    for run in instance.get_runs(filters=dg.RunsFilter(statuses=IN_PROGRESS_RUN_STATUSES)):
        if PIPELINE_TAG in run.tags:
            instance.report_run_failed(run, "The process of this run was killed.")
            instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)


@contextlib.contextmanager
def _quiet_logging() -> Iterator[None]:
    """Dagster's own loggers speak of errors only; what matters is in the summary and in the UI."""
    loggers = [logging.getLogger(name) for name in ("dagster", "dagster_dbt", "dagster.builtin", "alembic")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _problems(result: dg.ExecuteInProcessResult) -> Iterator[str]:
    """What failed, one line each: the message of the innermost cause."""
    if result.success:
        return
    failures = [event for event in result.all_events if event.is_step_failure]
    for event in failures:
        error = event.step_failure_data.error
        while error is not None and error.cause is not None:
            error = error.cause
        described = event.step_failure_data.user_failure_data
        yield _short(described.description if described and described.description else str(error.message if error else "failed"))
    if not failures:
        yield "the run failed before its first step; see it in the Dagster UI"


def _short(text: str) -> str:
    """The beginning of a message: dbt's go on for dozens of lines, which stand in the run's log and in the UI."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    shown = " | ".join(lines[:PROBLEM_LINES])
    return (
        shown if len(lines) <= PROBLEM_LINES else f"{shown} | … (the whole message is in the Dagster UI and in logs/ under the data root)"
    )


def _metadata(result: dg.ExecuteInProcessResult, key: dg.AssetKey) -> dict[str, Any]:
    """Plain values of the metadata that an asset's materialisation carries; empty when there was none."""
    for event in result.get_asset_materialization_events():
        if event.asset_key == key:
            return {name: value.value for name, value in event.materialization.metadata.items()}
    return {}


def _stream(result: dg.ExecuteInProcessResult, key: dg.AssetKey) -> Stream | None:
    """The counts of a family's load, over its tables."""
    metadata, names = _metadata(result, key), ("read", "accepted", "quarantined", "duplicates")
    return Stream(**{name: int(metadata[name]) for name in names}) if "read" in metadata else None


def _count_checks(summary: PipelineSummary, result: dg.ExecuteInProcessResult) -> None:
    for evaluation in result.get_asset_check_evaluations():
        if evaluation.passed:
            summary.checks_passed += 1
        elif evaluation.severity == dg.AssetCheckSeverity.ERROR:
            summary.checks_failed += 1
        else:
            summary.checks_warned += 1
