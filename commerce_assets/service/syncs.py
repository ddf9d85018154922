"""The life of a sync: plan, undo, resync and where each stands, on the configured shop, warehouse and ledger.

Pushes themselves run as Dagster assets, behind their gate; what is here never writes more than a push was allowed to.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import polars as pl
import sqlalchemy as sa

from commerce_assets.activation.engine import new_id, plan_push
from commerce_assets.activation.ledger import RUNS, Ledger
from commerce_assets.activation.pauses import pause_of
from commerce_assets.activation.plan import Plan
from commerce_assets.activation.plans import keep_plan
from commerce_assets.activation.resync import ResyncReport, resync
from commerce_assets.activation.syncs import SYNCS, NamedSync
from commerce_assets.activation.undo import UndoReport, sync_of_run, undo
from commerce_assets.config import Settings
from commerce_assets.service.shop import open_client

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from commerce_assets.activation.destinations.shopify import ShopifyObjects
    from commerce_assets.sources.shopify.client import ShopifyClient

Say = Callable[[str], None]
RUNS_SHOWN = 20
_COUNTS = ("desired", "create", "update", "remove", "unchanged", "skipped", "succeeded", "failed", "unknown", "resolved", "request")


@dataclass(frozen=True)
class PlannedSync:
    """A plan as it is shown: counts, ids, and names of fields; never a value."""

    plan_id: str
    sync: str
    counts: Mapping[str, int]
    skipped: Mapping[str, int]
    sample: Mapping[str, Mapping[str, list[str]]]
    """Operation -> record -> names of the fields that change."""
    path: str
    requests: int
    points: int
    points_a_second: float | None
    seconds: float | None
    """At the rate in force; None where the shop does not say it."""
    open_intents: int
    paused_because: str | None


def plan_sync(named: NamedSync, settings: Settings, say: Say) -> PlannedSync:
    """What a push would write, kept in the ledger to be applied by its id; writes nothing outside."""
    desired = named.as_records(_desired(named, settings))
    with _opened(named, settings, say) as (client, destination), Ledger(settings.ops_url) as ledger:
        plan = plan_push(named.sync, desired, ledger, destination)
        client.shop_info()
        budget = client.throttle.status
        kept = keep_plan(ledger, named.sync, plan, new_id())
        paused = pause_of(ledger, named.sync)
        estimate = plan.estimate or destination.estimate(0, 0, 0)
        return PlannedSync(
            plan_id=kept.plan_id,
            sync=named.sync.name,
            counts=kept.counts,
            skipped=plan.skipped,
            sample=_sample(named, plan, desired, ledger),
            path=estimate.path,
            requests=estimate.requests,
            points=estimate.points,
            points_a_second=budget.restore_rate if budget else None,
            seconds=max(0.0, estimate.points - budget.currently_available) / budget.restore_rate if budget else None,
            open_intents=ledger.count_open_intents(named.sync),
            paused_because=paused.reason if paused else None,
        )


def undo_run(run_id: str, settings: Settings, by: str, say: Say) -> UndoReport:
    """Take back what a run wrote; pauses its sync."""
    with Ledger(settings.ops_url, undo_days=settings.undo_days) as ledger:
        _, name = sync_of_run(ledger, run_id)
        named = SYNCS[name]
        with _opened(named, settings, say) as (_, destination):
            return undo(named.sync, run_id, ledger, destination, requested_by=by, progress=_counted("undo", named, say))


def read_back(named: NamedSync, settings: Settings, by: str, say: Say) -> ResyncReport:
    """Take what the shop holds for the ledger's truth.

    Records that the ledger does not know are read too, except where such values may be the merchant's own.
    """
    desired = named.as_records(_desired(named, settings))
    also = [] if named.mapping.yields_to_others else desired["record_key"].drop_nulls().to_list()
    with _opened(named, settings, say) as (_, destination), Ledger(settings.ops_url, undo_days=settings.undo_days) as ledger:
        return resync(named.sync, ledger, destination, also=also, requested_by=by, progress=_counted("resync", named, say))


def history(settings: Settings, name: str | None = None, limit: int = RUNS_SHOWN) -> list[dict[str, Any]]:
    """The newest runs of one sync or of all, the newest first: one dict a run, with its counts."""
    columns = [
        RUNS.c[name] for name in ("run_id", "sync", "kind", "of_run", "status", "started_at", "finished_at", "requested_by", "error")
    ]
    query = sa.select(*columns, *(RUNS.c[f"{count}_count"] for count in _COUNTS)).order_by(RUNS.c.run_id.desc()).limit(limit)
    if name is not None:
        query = query.where(RUNS.c.sync == name)
    with Ledger(settings.ops_url) as ledger, ledger.engine.connect() as connection:
        return [dict(row) for row in connection.execute(query).mappings()]


def status(settings: Settings) -> list[dict[str, Any]]:
    """Where each sync stands: its newest run, open intents, its pause, and why its scores may not be pushed."""
    from commerce_assets.lake import Lake
    from commerce_assets.service.scores.running import why_not_pushed

    lake, now = Lake(settings.lake_root), datetime.now(UTC)
    rows = []
    with Ledger(settings.ops_url) as ledger:
        for name, named in SYNCS.items():
            found = pause_of(ledger, named.sync)
            last = next(iter(history(settings, name, limit=1)), None)
            rows.append(
                {
                    "sync": name,
                    "last_run": last["run_id"] if last else None,
                    "last_kind": last["kind"] if last else None,
                    "last_status": last["status"] if last else None,
                    "open_intents": ledger.count_open_intents(named.sync),
                    "paused_since": found.paused_at if found else None,
                    "paused_by": found.paused_by if found else None,
                    "paused_because": found.reason if found else None,
                    "not_to_be_pushed_because": why_not_pushed(lake, named.scores, now),
                }
            )
    return rows


def model_rows(named: NamedSync, connection: "DuckDBPyConnection") -> pl.DataFrame:
    """The rows of the sync's model in the build file."""
    return connection.table(f"sync.{named.model}").pl()


def bulk_options(named: NamedSync, client: "ShopifyClient", settings: Settings, folder: Path, say: Say) -> dict[str, Any]:
    """`bulk` and `bulk_threshold` for a sync that goes in bulk, nothing for another."""
    from commerce_assets.sources.shopify.bulk import run_mutation

    if not named.goes_in_bulk:
        return {}
    return {
        "bulk": lambda mutation, rows: run_mutation(client, mutation, rows, folder, label=named.title, progress=say),
        "bulk_threshold": settings.bulk_push_threshold,
    }


@contextmanager
def _opened(named: NamedSync, settings: Settings, say: Say) -> "Iterator[tuple[ShopifyClient, ShopifyObjects]]":
    with open_client(settings, settings.storefront_url, settings.shopify_api_version) as client, TemporaryDirectory() as folder:
        yield client, named.destination(client, **bulk_options(named, client, settings, Path(folder), say))


def _desired(named: NamedSync, settings: Settings) -> pl.DataFrame:
    from commerce_assets.warehouse import reading

    with reading(settings.build_path) as connection:
        return model_rows(named, connection)


def _sample(named: NamedSync, plan: Plan, desired: pl.DataFrame, ledger: Ledger) -> dict[str, dict[str, list[str]]]:
    sample: dict[str, dict[str, list[str]]] = {}
    for operation, keys in plan.sample().items():
        wanted = {row["record_key"]: row for row in desired.filter(pl.col("record_key").is_in(keys)).iter_rows(named=True)}
        held = ledger.fields(named.sync, keys)
        if operation == "remove":
            wanted = {}
        sample[operation] = {
            key: [name for name in named.sync.fields if wanted.get(key, {}).get(name) != held.get(key, {}).get(name)] for key in keys
        }
    return sample


def _counted(what: str, named: NamedSync, say: Say) -> Callable[[int, int], None]:
    return lambda done, of: say(f"{what}: {done:,} of {of:,} {named.plural}")
