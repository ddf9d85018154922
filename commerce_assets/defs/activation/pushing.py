"""What every push is: rows of the sync's model, brought to the storefront, refused without a retry where a retry would not help."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import dagster as dg

from commerce_assets.config import load_settings
from commerce_assets.defs.resources import LakeFolder, Storefront, Warehouse

if TYPE_CHECKING:
    from commerce_assets.activation.engine import PushReport


class PushConfig(dg.Config):
    """How to push."""

    dry_run: bool = False
    """Plan only: say what would be written, write nothing, materialise nothing."""
    plan_id: str | None = None
    """Write only if it is what this plan of `commerce sync plan` said."""


def push_named(
    name: str,
    storefront: Storefront,
    warehouse: Warehouse,
    *,
    dry_run: bool,
    requested_by: str,
    say: Callable[[str], None],
    plan_id: str | None = None,
) -> "PushReport":
    """Read what the storefront should hold, and make it so (or only plan it)."""
    from commerce_assets.activation.syncs import sync_named
    from commerce_assets.service.syncs import bulk_options, model_rows

    named, settings = sync_named(name), load_settings()
    with warehouse.reading() as connection:
        desired = model_rows(named, connection)
    with storefront.client() as client, TemporaryDirectory() as folder:
        return named.push(
            desired,
            client,
            settings.ops_url,
            dry_run=dry_run,
            plan_id=plan_id,
            undo_days=settings.undo_days,
            run_id=requested_by,
            progress=lambda done, of: say(f"push: {done:,} of {of:,} {named.plural}"),
            **bulk_options(named, client, settings, Path(folder), say),
        )


@contextmanager
def no_retry_when_refused() -> Iterator[None]:
    """A paused sync and a plan that no longer holds fail at once: only a person can change that."""
    from commerce_assets.activation.errors import PlanDiffersError, SyncPausedError

    try:
        yield
    except (SyncPausedError, PlanDiffersError) as error:
        raise dg.Failure(str(error), allow_retries=False) from error


def refuse_without_receipts(lake: LakeFolder, scores: Sequence[str], now: datetime, what: str) -> None:
    """Fail, without a retry, when a score behind the push has no accepted receipt in force."""
    from commerce_assets.service.scores.running import why_not_pushed

    if reasons := why_not_pushed(lake.open(), scores, now):
        raise dg.Failure(f"{what} refused: {'; '.join(reasons)}", allow_retries=False)


def report_metadata(report: "PushReport") -> dict[str, Any]:
    """Counts of a push; ids of a few records, never a value."""
    counts = ("desired", "creates", "updates", "removals", "unchanged", "succeeded", "failed", "gone", "unknown", "resolved", "requests")
    return {
        **{name: getattr(report, name) for name in counts},
        "status": report.status,
        "ledger_run_id": report.run_id or "",
        "seconds": round(report.seconds, 3),
        "skipped": dg.MetadataValue.json(report.skipped),
        "failure_reasons": dg.MetadataValue.json(report.failure_reasons),
    }
