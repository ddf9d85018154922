"""The life of a declared sync: plan, push, undo, resync and where each stands, on the configured destinations, warehouse and ledger.

Pushes run as Dagster assets (defs/activation), which bring along what only Dagster knows: whether checks upstream are green.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import polars as pl
import sqlalchemy as sa
import yaml

from commerce_assets.activation.declarations import DeclaredSync, PlacedSync, read_syncs, refuse_shared_fields
from commerce_assets.activation.declarations import sync_named as named_in
from commerce_assets.activation.desired import SLICE_ROWS
from commerce_assets.activation.engine import Planned, PushReport, new_id, planned_push, push
from commerce_assets.activation.errors import DeclarationError, DesiredStateError, UnknownSyncError
from commerce_assets.activation.guards import Tripped, tripped
from commerce_assets.activation.ledger import RUNS, Ledger
from commerce_assets.activation.mapping import as_records
from commerce_assets.activation.overrides import Override, allow, unused
from commerce_assets.activation.pauses import pause_of
from commerce_assets.activation.plans import keep_plan
from commerce_assets.activation.records import CONSENT_COLUMN
from commerce_assets.activation.resync import ResyncReport, resync
from commerce_assets.activation.targets import ShopifyTarget
from commerce_assets.activation.undo import UndoReport, sync_of_run, undo
from commerce_assets.config import PROJECT_ROOT, Settings
from commerce_assets.service.destinations import OpenShop, Say, opened
from commerce_assets.service.shop import open_client

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

OpenWarehouse = Callable[[], AbstractContextManager["DuckDBPyConnection"]]
RUNS_SHOWN = 20
_COUNTS = (
    *("desired", "create", "update", "remove", "unchanged", "skipped", "succeeded", "failed", "unknown", "resolved", "request"),
    *("canary", "canary_failed", "canary_differing", "held_out", "no_consent"),
)
_SUBSCRIBED = {"email": "is_email_subscribed", "sms": "is_sms_subscribed"}


@dataclass(frozen=True)
class ModelRows:
    """The rows of a sync's model as records, read from a copy of it, so that the build file is let go of at once."""

    declared: DeclaredSync
    copy: Path
    agreeing: pl.DataFrame | None
    """`record_key` of customers who agree as far as the warehouse knows; None where the sync asks for no consent."""

    def slices(self) -> Iterator[pl.DataFrame]:
        """As `Desired.slices`."""
        import pyarrow.parquet as pq

        with pq.ParquetFile(self.copy) as file:
            is_empty = file.metadata.num_rows == 0
            batches = [file.schema_arrow.empty_table()] if is_empty else file.iter_batches(SLICE_ROWS)
            for batch in batches:
                yield self._records(pl.DataFrame(batch))

    def _records(self, rows: pl.DataFrame) -> pl.DataFrame:
        records = as_records(self.declared, rows)
        if self.agreeing is None:
            return records
        asked = records.join(self.agreeing, on="record_key", how="left", maintain_order="left")
        return asked.with_columns(pl.col(CONSENT_COLUMN).fill_null(False))


@dataclass(frozen=True)
class Wanted:
    """What a destination is to hold, read from the sync's model."""

    records: ModelRows
    rows: int
    model_at: datetime | None
    """The newest moment that the model describes."""
    receipts: Mapping[str, frozenset[str]]
    """Score -> ids of the receipts that the model's rows name."""


@dataclass(frozen=True)
class PlannedSync:
    """A plan as it is shown: counts, ids, and names of fields; never a value."""

    plan_id: str
    sync: str
    counts: Mapping[str, int]
    skipped: Mapping[str, int]
    kept: int
    """Records that left the set and stay, because the sync's mode takes nothing away."""
    sample: Mapping[str, Mapping[str, list[str]]]
    """Operation -> record -> names of the fields that change."""
    path: str
    requests: int
    points: int
    points_a_second: float | None
    seconds: float | None
    """At the rate in force; None where the destination does not say it."""
    open_intents: int
    paused_because: str | None
    gates: Sequence[str]
    """Gates that a push would find shut, those of Dagster's checks upstream aside."""


def declared_syncs(settings: Settings) -> dict[str, PlacedSync]:
    """Every sync there is, by name. Raises `DeclarationError` with file and line."""
    syncs = read_syncs(settings.syncs_root)
    for placed in _of_segments(PROJECT_ROOT / "dbt_project"):
        if placed.declared.name in syncs:
            taken = syncs[placed.declared.name].place
            raise DeclarationError(f"{placed.place}: its sync {placed.declared.name!r} is declared at {taken} too; rename one of them")
        syncs[placed.declared.name] = placed
    refuse_shared_fields(syncs.values())
    return syncs


def _of_segments(project_dir: Path) -> list[PlacedSync]:
    """The syncs that segments.yml asks for by itself: of segments that are sent elsewhere than to the storefront."""
    path = project_dir / "segments.yml"
    # Reading conditions means loading a SQL parser: only where there is a reason to.
    if not path.exists() or not _sends_elsewhere(yaml.safe_load(path.read_text(encoding="utf-8"))):
        return []
    from commerce_assets.activation.segments import read_segments
    from commerce_assets.activation.segments_syncs import declarations_of

    return declarations_of(read_segments(project_dir))


def _sends_elsewhere(written: Any) -> bool:
    """Whether a segment names another destination than the storefront; what is wrong with the file, its reader says."""
    segments = written.get("segments") if isinstance(written, dict) else None
    of_all = [one.get("send_to") for one in segments if isinstance(one, dict)] if isinstance(segments, list) else []
    return any(not isinstance(one, str) for send_to in of_all if isinstance(send_to, list) for one in send_to)


def sync_named(settings: Settings, name: str) -> DeclaredSync:
    """The sync of that name, or `UnknownSyncError` with the names there are."""
    return named_in(declared_syncs(settings), name).declared


@contextmanager
def wanted(declared: DeclaredSync, open_warehouse: OpenWarehouse, settings: Settings) -> Iterator[Wanted]:
    """The rows of the sync's model in the build file, as records; gone at the end."""
    settings.data_root.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="wanted-", dir=settings.data_root) as folder:
        copy = Path(folder) / "model.parquet"
        with open_warehouse() as connection:
            _refuse_unbuilt(declared, connection)
            connection.table(f"sync.{declared.model}").write_parquet(str(copy), compression="snappy", row_group_size=SLICE_ROWS)
            agreeing = _agreeing(declared.consent.channel, connection) if declared.consent else None
        rows = pl.scan_parquet(copy).select(pl.len()).collect().item()
        yield Wanted(ModelRows(declared, copy, agreeing), rows, _model_at(declared, copy), _receipts(declared, copy))


def standing_gates(declared: DeclaredSync, what: Wanted, settings: Settings, now: datetime) -> list[Tripped]:
    """Gates that stand before a plan is made: is the model fresh, and does each score behind it have the receipt in force that its rows name?"""
    from commerce_assets.lake import Lake
    from commerce_assets.service.scores.running import in_force, why_not_pushed

    found: list[Tripped] = []
    if declared.freshness:
        oldest = now - timedelta(hours=declared.freshness.within_hours)
        # An empty model says nothing of its age; whether it may be empty, min_rows says.
        if what.model_at is None and what.rows:
            found.append(Tripped("model_freshness", f"model {declared.model} has no moment in {declared.freshness.column}: build it anew"))
        elif what.model_at is not None and what.model_at < oldest:
            age = (now - what.model_at).total_seconds() / 3600
            found.append(
                Tripped(
                    "model_freshness",
                    f"model {declared.model} describes {what.model_at:%Y-%m-%d %H:%M} UTC, {age:.1f} h ago, and may be "
                    f"{declared.freshness.within_hours:g} h old: build it anew",
                )
            )
    if declared.scores:
        lake = Lake(settings.lake_root)
        found += [Tripped("score_receipts", reason) for reason in why_not_pushed(lake, tuple(declared.scores), now)]
        for score, ids in what.receipts.items():
            receipt = in_force(lake, score)
            if receipt is not None and ids and ids != {receipt.receipt_id}:
                found.append(
                    Tripped(
                        "score_receipts",
                        f"model {declared.model} was built from other rows of scores/{score} than those accepted last: build it anew",
                    )
                )
    return found


def push_sync(
    declared: DeclaredSync,
    what: Wanted,
    settings: Settings,
    open_shop: OpenShop,
    *,
    say: Say,
    requested_by: str,
    dry_run: bool = False,
    plan_id: str | None = None,
    standing: Sequence[Tripped] = (),
) -> PushReport:
    """Bring the destination to what is wanted, behind every gate; or only plan it. `standing`: gates found shut before. Raises as `engine.push`."""
    now = datetime.now(UTC)
    shut = [*standing, *standing_gates(declared, what, settings, now)] if not dry_run else []
    with (
        opened(declared, settings, open_shop, say) as (destination, consents),
        Ledger(settings.ops_url, undo_days=settings.undo_days) as ledger,
    ):
        return push(
            declared.as_sync(),
            what.records,
            ledger,
            destination,
            dry_run=dry_run,
            plan_id=plan_id,
            requested_by=requested_by,
            progress=_counted("push", declared, say),
            standing=shut,
            consents=consents,
            model_at=what.model_at,
        )


def plan_sync(declared: DeclaredSync, settings: Settings, say: Say) -> PlannedSync:
    """What a push would write, kept in the ledger to be applied by its id; writes nothing outside."""
    sync = declared.as_sync()
    with (
        wanted(declared, _warehouse_of(settings), settings) as what,
        opened(declared, settings, _shop_of(settings), say) as (destination, _),
        Ledger(settings.ops_url) as ledger,
    ):
        planned = planned_push(sync, what.records, ledger, destination)
        shut = [*standing_gates(declared, what, settings, datetime.now(UTC)), *tripped(planned.plan, sync, planned.ranges)]
        shut += [Tripped("destination_ready", problem) for problem in destination.problems()]
        kept = keep_plan(ledger, sync, planned.plan, new_id())
        paused = pause_of(ledger, sync)
        estimate = planned.estimate
        return PlannedSync(
            plan_id=kept.plan_id,
            sync=sync.name,
            counts=kept.counts,
            skipped=planned.plan.skipped,
            kept=planned.plan.kept_rows,
            sample=_sample(declared, planned, ledger),
            path=estimate.path,
            requests=estimate.requests,
            points=estimate.points,
            points_a_second=destination.meter.points_a_second,
            seconds=estimate.seconds,
            open_intents=ledger.count_open_intents(sync),
            paused_because=paused.reason if paused else None,
            gates=[str(one) for one in shut],
        )


def undo_run(run_id: str, settings: Settings, by: str, say: Say) -> UndoReport:
    """Take back what a run wrote; pauses its sync."""
    with Ledger(settings.ops_url, undo_days=settings.undo_days) as ledger:
        destination_name, name = sync_of_run(ledger, run_id)
        declared = sync_named(settings, name)
        if declared.destination != destination_name:
            raise UnknownSyncError(f"run {run_id} wrote to {destination_name}/{name}, and {name} writes to {declared.destination} now")
        with opened(declared, settings, _shop_of(settings), say) as (destination, consents):
            return undo(
                declared.as_sync(),
                run_id,
                ledger,
                destination,
                requested_by=by,
                progress=_counted("undo", declared, say),
                consents=consents,
            )


def read_back(declared: DeclaredSync, settings: Settings, by: str, say: Say) -> ResyncReport:
    """Take what the destination holds for the ledger's truth.

    Records that the ledger does not know are read too, except where such values may be somebody else's.
    """
    is_ours = not (isinstance(declared.target, ShopifyTarget) and declared.target.yields_to_others)
    with (
        wanted(declared, _warehouse_of(settings), settings) as what,
        opened(declared, settings, _shop_of(settings), say) as (destination, _),
        Ledger(settings.ops_url, undo_days=settings.undo_days) as ledger,
    ):
        also = [key for records in what.records.slices() for key in records["record_key"].drop_nulls()] if is_ours else []
        progress = _counted("resync", declared, say)
        return resync(declared.as_sync(), ledger, destination, also=also, requested_by=by, progress=progress)


def override_gate(declared: DeclaredSync, gate: str, settings: Settings, by: str, reason: str) -> Override:
    """Let the sync's next run pass one gate that is shut; on record."""
    with Ledger(settings.ops_url) as ledger:
        return allow(ledger, declared.as_sync(), gate, by, reason)


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
    """Where each sync stands: its newest run, open intents, its pause, permissions not used yet, and why its scores may not be pushed."""
    from commerce_assets.lake import Lake
    from commerce_assets.service.scores.running import why_not_pushed

    lake, now = Lake(settings.lake_root), datetime.now(UTC)
    rows = []
    with Ledger(settings.ops_url) as ledger:
        for name, placed in declared_syncs(settings).items():
            sync = placed.declared.as_sync()
            found = pause_of(ledger, sync)
            last = next(iter(history(settings, name, limit=1)), None)
            rows.append(
                {
                    "sync": name,
                    "destination": sync.destination,
                    "mode": sync.mode,
                    "declared_at": placed.place,
                    "last_run": last["run_id"] if last else None,
                    "last_kind": last["kind"] if last else None,
                    "last_status": last["status"] if last else None,
                    "open_intents": ledger.count_open_intents(sync),
                    "overrides": [override.gate for override in unused(ledger, sync)],
                    "paused_since": found.paused_at if found else None,
                    "paused_by": found.paused_by if found else None,
                    "paused_because": found.reason if found else None,
                    "not_to_be_pushed_because": why_not_pushed(lake, tuple(placed.declared.scores), now) if placed.declared.scores else [],
                }
            )
    return rows


def _shop_of(settings: Settings) -> OpenShop:
    @contextmanager
    def open_shop() -> Iterator[Any]:
        with open_client(settings, settings.storefront_url, settings.shopify_api_version) as client:
            yield client

    return open_shop


def _warehouse_of(settings: Settings) -> OpenWarehouse:
    from commerce_assets.warehouse import reading

    return lambda: reading(settings.build_path)


def _refuse_unbuilt(declared: DeclaredSync, connection: "DuckDBPyConnection") -> None:
    there = "select count(*) from information_schema.tables where table_schema = 'sync' and table_name = ?"
    if not connection.execute(there, [declared.model]).fetchall()[0][0]:
        raise DesiredStateError(
            f"{declared.destination}/{declared.name}: model {declared.model} is not built yet: `commerce sync build {declared.name}`"
        )


def _model_at(declared: DeclaredSync, copy: Path) -> datetime | None:
    """Models hold UTC without a zone."""
    column = declared.freshness.column if declared.freshness else None
    if column is None or column not in pl.read_parquet_schema(copy):
        return None
    newest = pl.scan_parquet(copy).select(pl.col(column).cast(pl.Datetime("us")).max()).collect().item()
    return newest.replace(tzinfo=UTC) if isinstance(newest, datetime) else None


def _receipts(declared: DeclaredSync, copy: Path) -> dict[str, frozenset[str]]:
    known = pl.read_parquet_schema(copy)
    return {
        score: frozenset(pl.scan_parquet(copy).select(pl.col(column).drop_nulls().unique()).collect().to_series().to_list())
        for score, column in declared.scores.items()
        if column is not None and column in known
    }


def _agreeing(channel: str, connection: "DuckDBPyConnection") -> pl.DataFrame:
    """Customers who agree as far as the warehouse knows; deleted ones do not."""
    customers = connection.table("marts.dim_customer").filter("not is_deleted").filter(_SUBSCRIBED[channel])
    return customers.project("customer_gid as record_key").pl().unique().with_columns(pl.lit(True).alias(CONSENT_COLUMN))


def _sample(declared: DeclaredSync, planned: Planned, ledger: Ledger) -> dict[str, dict[str, list[str]]]:
    sync = declared.as_sync()
    sample: dict[str, dict[str, list[str]]] = {}
    of_operation = planned.plan.sample()
    sought = [key for operation, keys in of_operation.items() if operation != "remove" for key in keys]
    wants: dict[str, dict[str, str | None]] = {}
    for records in planned.eligible.slices() if sought else ():
        wants |= {row["record_key"]: row for row in records.filter(pl.col("record_key").is_in(sought)).iter_rows(named=True)}
        if len(wants) == len(sought):
            break
    for operation, keys in of_operation.items():
        held = ledger.fields(sync, keys)
        sample[operation] = {
            key: [name for name in sync.fields if wants.get(key, {}).get(name) != held.get(key, {}).get(name)] for key in keys
        }
    return sample


def _counted(what: str, declared: DeclaredSync, say: Say) -> Callable[[int, int], None]:
    return lambda done, of: say(f"{what}: {done:,} of {of:,} {declared.target.plural}")
