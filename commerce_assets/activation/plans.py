"""Plans that were shown, so that what is applied is what was shown: counts, and one digest of every change."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import polars as pl
import sqlalchemy as sa

from commerce_assets.activation.errors import PlanDiffersError
from commerce_assets.activation.ledger import Ledger
from commerce_assets.activation.plan import Plan
from commerce_assets.activation.records import Sync
from commerce_assets.activation.tables import PLANS

COUNTS = ("desired", "create", "update", "remove", "unchanged", "skipped")
PLANS_KEPT = 100
"""Of each sync; older ones are forgotten when a plan is kept."""
_DIGESTED = ("record_key", "operation", "new_fingerprint")
_ROWS_A_STEP = 50_000


@dataclass(frozen=True)
class KeptPlan:
    """What a plan came to."""

    plan_id: str
    counts: Mapping[str, int]
    digest: str


def digest_of(plan: Plan) -> str:
    """SHA-256 over every change in the order of its key: equal where, and only where, the same would be written."""
    digest = hashlib.sha256()
    lines = plan.changes.select(
        pl.concat_str([pl.col(name).fill_null("") for name in _DIGESTED], separator="\x1f").alias("line"), "record_key"
    )
    for some in lines.sort("record_key")["line"].to_frame().iter_slices(_ROWS_A_STEP):
        digest.update("".join(f"{line}\n" for line in some["line"]).encode())
    return digest.hexdigest()


def counts_of(plan: Plan) -> dict[str, int]:
    """The plan in numbers, by `COUNTS`."""
    changes = {operation: plan.count(operation) for operation in ("create", "update", "remove")}
    return {"desired": plan.desired_rows, **changes, "unchanged": plan.unchanged, "skipped": sum(plan.skipped.values())}


def keep_plan(ledger: Ledger, sync: Sync, plan: Plan, plan_id: str) -> KeptPlan:
    """Write the plan down, to be applied by its id."""
    kept = KeptPlan(plan_id, counts_of(plan), digest_of(plan))
    row = {"plan_id": plan_id, "destination": sync.destination, "sync": sync.name, "made_at": datetime.now(UTC), "digest": kept.digest}
    of_sync = sa.and_(PLANS.c.destination == sync.destination, PLANS.c.sync == sync.name)
    newest = sa.select(PLANS.c.plan_id).where(of_sync).order_by(PLANS.c.plan_id.desc()).limit(PLANS_KEPT)
    with ledger.engine.begin() as connection:
        connection.execute(PLANS.insert(), {**row, **{f"{name}_count": count for name, count in kept.counts.items()}})
        connection.execute(PLANS.delete().where(of_sync, PLANS.c.plan_id.not_in(newest)))
    return kept


def refuse_other_plan(ledger: Ledger, sync: Sync, plan_id: str, plan: Plan) -> None:
    """Raise `PlanDiffersError`, saying what differs in numbers, unless `plan` is the one kept under `plan_id`."""
    what = f"{sync.destination}/{sync.name}: plan {plan_id}"
    again = f"nothing was written: make one with `commerce sync plan {sync.name}`"
    query = sa.select(PLANS).where(PLANS.c.plan_id == plan_id, PLANS.c.destination == sync.destination, PLANS.c.sync == sync.name)
    with ledger.engine.connect() as connection:
        kept = connection.execute(query).mappings().first()
    if kept is None:
        raise PlanDiffersError(f"{what} is not known; {again}")
    if kept["digest"] == digest_of(plan):
        return
    now = counts_of(plan)
    differing = [f"{name} {kept[f'{name}_count']} then, {now[name]} now" for name in COUNTS if kept[f"{name}_count"] != now[name]]
    raise PlanDiffersError(
        f"{what} is no longer what would be written ({'; '.join(differing) or 'the same counts, other records or values'}); {again}"
    )
