"""What asks for the marts behind micro-batches: the models behind the families that landed since, in one run, at most one at a time.

Belongs here: when a build is due for events, and of what. Does not belong here: what follows a build (automation.py asks for scores,
figures, publish and push once the marts changed).
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import dagster as dg
import sqlalchemy as sa

from commerce_assets.config import load_settings
from commerce_assets.contracts import family as tables_of
from commerce_assets.defs.events.checks import FAMILIES_OF_EVENTS, family_key

NAME = "events_landed"
FAMILIES_TAG = "commerce/events_families"
BUILD_SECONDS = 30
"""A build is asked for at most every so many seconds, whatever number of micro-batches landed."""
OVERLAP = timedelta(minutes=10)
"""Batches are named by when they were begun: one may land after others that were begun later."""
FIRST_LOOK = timedelta(hours=6)
"""How far back the first look goes; what landed before that, the builds behind the pulls took along."""
RETRY_AFTER = timedelta(minutes=5)
"""A build that failed is asked for again after so long, also when nothing else landed."""


@dataclass(frozen=True)
class LastBuild:
    """The newest run that the sensor asked for. `ended_at` is None while it is queued or running."""

    families: frozenset[str]
    is_success: bool
    ended_at: datetime | None


def events_sensor(dbt_models: dg.AssetsDefinition) -> dg.SensorDefinition:
    """The sensor over the models before the scores."""
    behind = models_behind_families(dbt_models)

    @dg.sensor(
        name=NAME,
        target=dg.AssetSelection.assets(*sorted(set().union(*behind.values()))),
        minimum_interval_seconds=BUILD_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Asks for the models behind the families that events landed in since it last asked; one build at a time.",
    )
    def events_landed(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        now = datetime.now(UTC)
        since = datetime.fromisoformat(context.cursor) if context.cursor else now - FIRST_LOOK
        landed = landed_since(load_settings().events_database, since)
        built = {name for name, moment in landed.items() if is_built_since(context.instance, name, moment)}
        due = families_due(set(landed) - built, last_build(context.instance), now)
        if isinstance(due, str):
            return dg.SkipReason(due)
        cursor = max([since, *landed.values()]).isoformat()
        if not due:
            return dg.SensorResult(cursor=cursor, skip_reason=f"nothing landed since {since:%Y-%m-%d %H:%M:%S} that is not built")
        request = dg.RunRequest(
            asset_selection=sorted(set().union(*(behind[name] for name in due))), tags={FAMILIES_TAG: ",".join(sorted(due))}
        )
        return dg.SensorResult(run_requests=[request], cursor=cursor)

    return events_landed


def families_due(landed: Collection[str], last: LastBuild | None, now: datetime) -> frozenset[str] | str:
    """The families to build; or why nothing is asked for now, without anything being forgotten."""
    if last is not None and last.ended_at is None:
        return f"the build of {', '.join(sorted(last.families))} is still under way"
    again: frozenset[str] = frozenset()
    if last is not None and last.ended_at is not None and not last.is_success:
        if now - last.ended_at < RETRY_AFTER:
            return f"the build of {', '.join(sorted(last.families))} failed; it is asked for again in {RETRY_AFTER} (see its run)"
        again = last.families
    return frozenset(landed) | again


def models_behind_families(dbt_models: dg.AssetsDefinition) -> dict[str, list[dg.AssetKey]]:
    """Of each family that events land in, the models that read it, directly or through others."""
    parents = {spec.key: {dep.asset_key for dep in spec.deps} for spec in dbt_models.specs}
    found = {}
    for name in FAMILIES_OF_EVENTS:
        behind = {family_key(name)}
        while more := {key for key, deps in parents.items() if key not in behind and deps & behind}:
            behind |= more
        found[name] = sorted(behind - {family_key(name)})
    return found


def landed_since(events_database: str, since: datetime) -> dict[str, datetime]:
    """Family -> when the newest micro-batch landed in it, of those that landed after `since`."""
    from commerce_assets.events.books import BATCHES, as_utc
    from commerce_assets.observability.facts import looking

    columns = BATCHES.c
    query = (
        sa.select(columns.family, sa.func.max(columns.finished_at).label("landed_at"))
        .where(columns.batch_id >= (since - OVERLAP).strftime("%Y%m%dT%H%M%S"), columns.status == "landed", columns.finished_at > since)
        .group_by(columns.family)
    )
    with looking(events_database, BATCHES) as connection:
        rows: Sequence[sa.Row[tuple[str, datetime]]] = connection.execute(query).all() if connection is not None else ()
    moments: Mapping[str, datetime | None] = {row.family: as_utc(row.landed_at) for row in rows}
    return {name: moment for name, moment in moments.items() if moment is not None and name in FAMILIES_OF_EVENTS}


def is_built_since(instance: dg.DagsterInstance, family: str, moment: datetime) -> bool:
    """Whether a run that began after a moment built the family's root table: a pull's, or one by declarative automation."""
    staged = dg.AssetKey(["warehouse", "staging", f"stg_storefront__{tables_of(family)[0].name}"])
    event = instance.get_latest_materialization_event(staged)
    record = instance.get_run_record_by_id(event.run_id) if event is not None else None
    return record is not None and record.start_time is not None and record.start_time >= moment.timestamp()


def last_build(instance: dg.DagsterInstance) -> LastBuild | None:
    """The newest run that the sensor asked for."""
    records = instance.get_run_records(dg.RunsFilter(tags={"dagster/sensor_name": NAME}), limit=1)
    if not records:
        return None
    run, end = records[0].dagster_run, records[0].end_time
    ended_at = datetime.fromtimestamp(end or records[0].update_timestamp.timestamp(), UTC) if run.is_finished else None
    return LastBuild(frozenset(run.tags.get(FAMILIES_TAG, "").split(",")) - {""}, run.is_success, ended_at)
