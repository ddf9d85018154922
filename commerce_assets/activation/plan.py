"""The difference between desired records and the ledger, as a frame. Pure: no database, no destination."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl

from commerce_assets.activation.errors import GuardTrippedError
from commerce_assets.activation.fingerprint import GONE
from commerce_assets.activation.records import Estimate, Sync

CHANGE_SCHEMA: dict[str, pl.DataType] = {
    "record_key": pl.String(),
    "operation": pl.String(),
    "old_fingerprint": pl.String(),
    "new_fingerprint": pl.String(),
}
SAMPLE_ROWS = 5


@dataclass(frozen=True)
class Plan:
    """What a push would write: one row a change, and why the others are none."""

    changes: pl.DataFrame
    desired_rows: int
    unchanged: int
    skipped: Mapping[str, int]
    estimate: Estimate | None = field(default=None)

    def count(self, operation: str) -> int:
        return int((self.changes["operation"] == operation).sum())

    @property
    def is_empty(self) -> bool:
        return self.changes.is_empty()

    def sample(self) -> dict[str, list[str]]:
        """A few keys an operation; ids only."""
        groups = self.changes.group_by("operation", maintain_order=True).agg(pl.col("record_key").head(SAMPLE_ROWS))
        return dict(groups.iter_rows())


def make_plan(desired: pl.DataFrame, state: pl.DataFrame) -> Plan:
    """Compare fingerprints: `desired` (record_key, fingerprint, is_clean) with `state` (record_key, fingerprint).

    A key that comes twice with the same content counts once; with different contents it is skipped, as nothing tells which
    is meant. Every desired row is a change, unchanged, or skipped for a named reason.
    """
    usable, skipped = _usable(desired)
    both = usable.select("record_key", pl.col("fingerprint").alias("new_fingerprint")).join(
        state.select("record_key", pl.col("fingerprint").alias("old_fingerprint")), on="record_key", how="full", coalesce=True
    )
    new, old = pl.col("new_fingerprint"), pl.col("old_fingerprint")
    differing = both.filter(new.ne_missing(old) & ~(new.is_null() & (old == GONE)))
    is_gone = new.is_not_null() & (old == GONE)
    gone = differing.filter(is_gone).height
    if gone:
        skipped["gone_at_destination"] = gone
    # A key that is skipped is not removed either: what is meant for it is not known.
    unclear = desired.join(usable, on="record_key", how="anti").select("record_key").drop_nulls() if skipped else desired.head(0)
    operation = pl.when(old.is_null()).then(pl.lit("create")).when(new.is_null()).then(pl.lit("remove")).otherwise(pl.lit("update"))
    changes = (
        differing.filter(~is_gone.fill_null(False))
        .with_columns(operation=operation)
        .filter(~((pl.col("operation") == "remove") & pl.col("record_key").is_in(unclear["record_key"].implode())))
        .select(list(CHANGE_SCHEMA))
        .sort("record_key")
    )
    written = changes.filter(pl.col("operation") != "remove").height
    return Plan(changes, desired.height, usable.height - written - gone, skipped)


def guard(plan: Plan, sync: Sync, state_rows: int) -> None:
    """Refuse a plan that takes away more than the sync allows: usually the desired frame is broken, not the world."""
    removals = plan.count("remove")
    allowed = max(sync.guards.always_allowed, int(sync.guards.max_removed_share * state_rows))
    if removals > allowed:
        raise GuardTrippedError(
            f"{sync.destination}/{sync.name}: the plan removes {removals} of {state_rows} records, more than the {allowed} allowed in one run; "
            f"nothing was written: check the sync's model, or raise max_removed_share"
        )


def _usable(desired: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, int]]:
    """One row a key with one meaning, and how many rows were left out by reason."""
    skipped: dict[str, int] = {}

    def leave_out(reason: str, rows: int) -> None:
        if rows:
            skipped[reason] = rows

    with_key = desired.filter(pl.col("record_key").is_not_null())
    leave_out("null_key", desired.height - with_key.height)
    clean = with_key.filter(pl.col("is_clean") & ~pl.col("record_key").str.contains(r"[\x00-\x1f]"))
    leave_out("control_character", with_key.height - clean.height)
    if clean["record_key"].n_unique() == clean.height:
        return clean, skipped
    distinct = clean.unique(["record_key", "fingerprint"], maintain_order=True)
    leave_out("repeated_row", clean.height - distinct.height)
    usable = distinct.filter(pl.len().over("record_key") == 1)
    leave_out("ambiguous_key", distinct.height - usable.height)
    return usable, skipped
