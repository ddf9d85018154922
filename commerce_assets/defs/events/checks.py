"""The check of a document family that came as events: did its documents keep their contracts?

It is a check of its own beside the contract checks of the pulls, and it never blocks: the micro-batch that follows a refused pull
by a second must not open the gate which that pull shut.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import dagster as dg

from commerce_assets.config import load_settings
from commerce_assets.defs.names import FAMILIES

CHECK_NAME = "events_keep_contracts"
FAMILIES_OF_EVENTS = ("orders", "customers", "products", "inventory", "deletions")
"""Families that micro-batches land in."""


@dataclass(frozen=True)
class LandedEvents:
    """What micro-batches landed in one family: rows accepted and quarantined, events by outcome, and how many batches there were."""

    rows: int
    quarantined: int
    events: Mapping[str, int]
    batches: int


def family_key(family: str) -> dg.AssetKey:
    """The asset of a document family."""
    return dg.AssetKey(["storefront", family])


def check_result(family: str, landed: LandedEvents) -> dg.AssetCheckResult:
    """Passed when no row was quarantined and no event became a dead letter; a warning otherwise. Counts only, nothing personal."""
    dead = landed.events.get("dead", 0)
    passed = landed.quarantined == 0 and dead == 0
    metadata: dict[str, Any] = {
        "rows": landed.rows,
        "quarantined": landed.quarantined,
        "dead_letters": dead,
        "batches": landed.batches,
        "events": dg.MetadataValue.json(dict(sorted(landed.events.items()))),
    }
    if dead:
        metadata["next_step"] = "commerce dlq list"
    elif landed.quarantined:
        metadata["next_step"] = f"commerce quarantine list --family {family}"
    return dg.AssetCheckResult(
        asset_key=family_key(family),
        check_name=CHECK_NAME,
        passed=passed,
        severity=dg.AssetCheckSeverity.WARN,
        description=_sentence(family, landed, dead),
        metadata=metadata,
    )


def event_checks() -> list[dg.AssetChecksDefinition]:
    """The check of every family in the graph; run by hand it looks at the micro-batches of the last 24 hours."""
    return [_check(family) for family in FAMILIES_OF_EVENTS if family in FAMILIES]


def _check(family: str) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        name=CHECK_NAME,
        asset=family_key(family),
        blocking=False,
        description="Documents that came as events keep their contracts; reported by the events worker with every report of micro-batches.",
    )
    def events_keep_contracts() -> dg.AssetCheckResult:
        from commerce_assets.observability.snapshots import landed_events

        found = landed_events(load_settings().events_database, family, hours=24)
        return check_result(family, LandedEvents(found.rows, found.quarantined, found.events, found.batches))

    return events_keep_contracts


def _sentence(family: str, landed: LandedEvents, dead: int) -> str:
    if landed.batches == 0:
        return f"no micro-batch of {family} landed"
    if landed.quarantined == 0 and dead == 0:
        return f"all {landed.rows:,} rows of {family} that came as events keep their contract"
    return f"{landed.quarantined:,} rows of {family} are in quarantine and {dead:,} events are dead letters, in {landed.batches:,} micro-batches"
