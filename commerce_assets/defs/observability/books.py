"""Copies of the books of events and stock in the lake, for the figures in schema `ops`, with checks on backlog, dead letters and drift."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from commerce_assets.config import Settings, load_settings
from commerce_assets.defs import automation
from commerce_assets.defs.names import DATA_PLATFORM, tags
from commerce_assets.defs.resources import LakeFolder
from commerce_assets.defs.schemas import frame_schema
from commerce_assets.observability.tables import EVENT_TABLES, FLOW_TABLES, STOCK_TABLES

EVENT_LOG = dg.AssetKey(["observability", "event_log"])
STOCK_BOOKS = dg.AssetKey(["observability", "stock_books"])
ORDERS_MART = dg.AssetKey(["warehouse", "marts", "fct_order"])

BACKLOG_WARN_SECONDS, BACKLOG_ERROR_SECONDS = 300, 3_600
DRIFT_TOLERATED_SECONDS = 900
"""A figure of ours is on its way, or a suspicion settles, for so long at most."""
DRIFT_ERROR_RATE = 0.01
"""Share of shelves that differ lastingly above which the check is an error."""


def observability_assets() -> list[dg.AssetsDefinition]:
    """Both copies."""
    return [_event_log(), _stock_books()]


def _event_log() -> dg.AssetsDefinition:
    @dg.asset(
        key=EVENT_LOG,
        deps=[ORDERS_MART],
        description=(
            "What became of every event of the last 30 days, and what else an order's flight passes (loads, quarantine, publishes, scores, pushes), "
            "copied from the operational databases. No body, no value. Copied when the marts changed and every quarter of an hour."
        ),
        check_specs=[
            dg.AssetCheckSpec("backlog_age", asset=EVENT_LOG, description="No event waits for longer than five minutes (an hour: error)."),
            dg.AssetCheckSpec("dead_letters", asset=EVENT_LOG, description="No event is a dead letter."),
        ],
        metadata=_columns({**EVENT_TABLES, **FLOW_TABLES}),
        automation_condition=automation.when_upstream_changed() | automation.by_the_clock(automation.QUARTER_HOURLY),
        **_described("reference"),
    )
    def event_log(lake: LakeFolder) -> Iterator[Any]:
        from commerce_assets.observability import kpis
        from commerce_assets.observability.snapshots import read, take_event_log

        now = datetime.now(UTC)
        opened = lake.open()
        counts = take_event_log(_settings(lake), now)
        yield dg.MaterializeResult(metadata=_counts(counts))
        events = read(opened.root, "events")
        yield backlog_result(kpis.backlog(events, now))
        yield dead_letters_result(kpis.dead_letters(events))

    return event_log


def _stock_books() -> dg.AssetsDefinition:
    @dg.asset(
        key=STOCK_BOOKS,
        description=(
            "Our stock by item and location beside what the storefront shows, what was sent to it and what others changed on it, "
            "copied from the worker's books every quarter of an hour."
        ),
        check_specs=[
            dg.AssetCheckSpec(
                "stock_drift",
                asset=STOCK_BOOKS,
                description="The storefront shows our stock; a difference lasts a quarter of an hour at most.",
            )
        ],
        metadata=_columns(STOCK_TABLES),
        automation_condition=automation.by_the_clock(automation.QUARTER_HOURLY),
        **_described("inventory"),
    )
    def stock_books(lake: LakeFolder) -> Iterator[Any]:
        from commerce_assets.observability import kpis
        from commerce_assets.observability.snapshots import read, take_stock

        now = datetime.now(UTC)
        opened = lake.open()
        counts = take_stock(_settings(lake), now)
        yield dg.MaterializeResult(metadata=_counts(counts))
        yield drift_result(kpis.drift(read(opened.root, "stock_shelves"), now, DRIFT_TOLERATED_SECONDS))

    return stock_books


def backlog_result(backlog: Any) -> dg.AssetCheckResult:
    """Passed while the oldest event is younger than five minutes; an error from an hour on."""
    severity = dg.AssetCheckSeverity.ERROR if backlog.age_seconds > BACKLOG_ERROR_SECONDS else dg.AssetCheckSeverity.WARN
    metadata: dict[str, Any] = {
        "depth": backlog.depth,
        "age_seconds": round(backlog.age_seconds, 3),
        "by_lane": dg.MetadataValue.json(
            {lane: {"depth": depth, "age_seconds": round(age, 3)} for lane, (depth, age) in backlog.by_lane.items()}
        ),
    }
    passed = backlog.age_seconds <= BACKLOG_WARN_SECONDS
    if not passed:
        metadata["next_step"] = "commerce worker --once"
    return dg.AssetCheckResult(
        asset_key=EVENT_LOG,
        check_name="backlog_age",
        passed=passed,
        severity=severity,
        description=f"{backlog.depth:,} events wait, the oldest for {backlog.age_seconds:,.0f} s",
        metadata=metadata,
    )


def dead_letters_result(dead: Any) -> dg.AssetCheckResult:
    """Passed without dead letters; a warning with them, with topics and reasons."""
    metadata: dict[str, Any] = {"dead_letters": dead.count}
    if dead.count:
        metadata["by_topic_and_reason"] = dg.MetadataValue.json(
            [{"topic": topic, "reason": reason, "events": events} for topic, reason, events in dead.by_topic_and_reason]
        )
        metadata["next_step"] = "commerce dlq list"
    return dg.AssetCheckResult(
        asset_key=EVENT_LOG,
        check_name="dead_letters",
        passed=dead.count == 0,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{dead.count:,} events are dead letters",
        metadata=metadata,
    )


def drift_result(drift: Any) -> dg.AssetCheckResult:
    """Passed when no difference lasts; an error when more than one shelf in a hundred differs lastingly."""
    is_much = drift.lasting > DRIFT_ERROR_RATE * drift.shelves
    metadata: dict[str, Any] = {
        "shelves": drift.shelves,
        "different": drift.different,
        "lasting": drift.lasting,
        "units": drift.units,
        "longest_seconds": round(drift.longest_seconds, 3),
    }
    if drift.lasting:
        metadata["worst"] = dg.MetadataValue.json([dict(shelf) for shelf in drift.worst])
    return dg.AssetCheckResult(
        asset_key=STOCK_BOOKS,
        check_name="stock_drift",
        passed=drift.lasting == 0,
        severity=dg.AssetCheckSeverity.ERROR if is_much else dg.AssetCheckSeverity.WARN,
        description=f"{drift.lasting:,} of {drift.shelves:,} shelves differ from the storefront for more than {DRIFT_TOLERATED_SECONDS} s",
        metadata=metadata,
    )


def _settings(lake: LakeFolder) -> Settings:
    """The settings; the lake is the resource's."""
    settings = load_settings()
    if str(settings.lake_root) != lake.root:
        raise dg.Failure(f"the lake of this run ({lake.root}) is not that of the settings: copies would lie where nobody reads them")
    return settings


def _described(domain: str) -> dict[str, Any]:
    return {
        "group_name": "observability",
        "owners": [DATA_PLATFORM],
        "tags": tags(2, domain, False),
        "kinds": {"sqlalchemy", "parquet"},
    }


def _columns(tables: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The columns of every table."""
    return {f"{name}/columns": frame_schema(dict(schema), {}) for name, schema in tables.items()}


def _counts(counts: Mapping[str, int]) -> dict[str, Any]:
    return {"dagster/row_count": sum(counts.values()), "rows_by_table": dg.MetadataValue.json(dict(counts))}
