"""The difference between desired records and the ledger, as a frame. Pure: no database, no destination."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl

from commerce_assets.activation.fingerprint import GONE
from commerce_assets.activation.records import Estimate, Mode

CHANGE_SCHEMA: dict[str, pl.DataType] = {
    "record_key": pl.String(),
    "operation": pl.String(),
    "old_fingerprint": pl.String(),
    "new_fingerprint": pl.String(),
}
SAMPLE_ROWS = 5


@dataclass(frozen=True)
class Plan:
    """What a push would write: one row a change, and why the others are none.

    desired_rows = creates + updates + unchanged + all skipped.
    """

    changes: pl.DataFrame
    desired_rows: int
    unchanged: int
    skipped: Mapping[str, int]
    known_rows: int = 0
    """Records that the ledger holds for the sync."""
    kept_rows: int = 0
    """Of them, those that left the set and stay, because the sync's mode takes nothing away."""
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


def make_plan(desired: pl.DataFrame, state: pl.DataFrame, mode: Mode = "mirror") -> Plan:
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
    del both
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
    unchanged = usable.height - written - gone
    changes, kept = _as_the_mode_has_it(changes, mode, skipped)
    known = state.filter(pl.col("fingerprint") != GONE).height
    return Plan(changes, desired.height, unchanged, skipped, known_rows=known, kept_rows=kept)


def _as_the_mode_has_it(changes: pl.DataFrame, mode: Mode, skipped: dict[str, int]) -> tuple[pl.DataFrame, int]:
    """Only the changes that the mode makes, and how many records stay though they left the set."""
    if mode == "mirror":
        return changes, 0
    kept = changes.filter(pl.col("operation") == "remove").height
    changes = changes.filter(pl.col("operation") != "remove")
    if mode in ("insert_only", "append"):
        updates = changes.filter(pl.col("operation") == "update").height
        if updates:
            skipped["already_written"] = updates
        changes = changes.filter(pl.col("operation") == "create")
    return changes, kept


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
