"""The records that a destination should hold, slice by slice: a plan keeps only their keys and fingerprints, so that memory does not grow
with how wide they are; those that are to be written are read once more.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

import polars as pl
import pyarrow as pa

from commerce_assets.activation.arms import HELD_OUT, arms_of
from commerce_assets.activation.errors import DesiredStateError
from commerce_assets.activation.fingerprint import fingerprints
from commerce_assets.activation.guards import RangeTally
from commerce_assets.activation.ledger import Ledger
from commerce_assets.activation.records import CANARY_COLUMN, CONSENT_COLUMN, Sync

SLICE_ROWS = 50_000


class Desired(Protocol):
    """Records in slices: `record_key` and the sync's fields, all text, with `_canary` and `_consents` beside them where the sync needs them."""

    def slices(self) -> Iterator[pl.DataFrame]:
        """The same slices in the same order, as often as they are asked for."""


@dataclass(frozen=True)
class DesiredFrame:
    """Records that are in memory anyway."""

    records: pl.DataFrame

    def slices(self) -> Iterator[pl.DataFrame]:
        if self.records.is_empty():
            yield self.records
        yield from self.records.iter_slices(SLICE_ROWS)


@dataclass
class Eligible:
    """Which of the desired records may be written: those of customers who agree and are not held out, with what a null leaves filled in."""

    sync: Sync
    ledger: Ledger
    desired: Desired
    arms: pl.DataFrame | None = None
    """`record_key`, `arm` of keys assigned before and, once surveyed, now."""
    new_arms: pl.DataFrame | None = None

    def slices(self) -> Iterator[pl.DataFrame]:
        """The records that may be written."""
        for records in self.desired.slices():
            agreeing = _agreeing(records)
            yield self._filled(self._treated(agreeing))

    def survey(self, known: pl.Series) -> "Survey":
        """Look at all of them once. `known`: keys that the ledger holds, for those that a holdout comes too late for."""
        found = Survey(RangeTally(self.sync.guards.values))
        for records in self.desired.slices():
            _check(self.sync, records)
            found.desired_rows += records.height
            agreeing = _agreeing(records)
            if self.sync.holdout:
                self._assign(agreeing["record_key"], known)
            treated = self._treated(agreeing)
            found.leave("no_consent", records.height - agreeing.height)
            found.leave("held_out", agreeing.height - treated.height)
            filled = self._filled(treated)
            found.ranges.add(filled)
            found.keep(fingerprints(filled, self.sync.mapped))
            if CANARY_COLUMN in filled.columns:
                found.marked.append(filled.filter(pl.col(CANARY_COLUMN)).select("record_key"))
        return found

    def _assign(self, keys: pl.Series, known: pl.Series) -> None:
        assert self.sync.holdout is not None
        self.arms, new = arms_of(self.ledger, self.sync, self.sync.holdout, keys, known, self.arms)
        self.new_arms = new if self.new_arms is None else pl.concat([self.new_arms, new])

    def _treated(self, records: pl.DataFrame) -> pl.DataFrame:
        if self.arms is None:
            return records
        held_out = self.arms.filter(pl.col("arm") == HELD_OUT)
        return records.join(held_out, on="record_key", how="anti", maintain_order="left")

    def _filled(self, records: pl.DataFrame) -> pl.DataFrame:
        """Fields that a null does not clear: what is held there counts as desired."""
        kept = self.sync.kept_when_null
        if not kept:
            return records
        keys = records.filter(pl.any_horizontal(pl.col(*kept).is_null()))["record_key"].drop_nulls().unique().to_list()
        held = self.ledger.fields(self.sync, keys)
        rows = [(key, *(fields.get(name) for name in kept)) for key, fields in held.items()]
        names = {f"_held_{name}": pl.String for name in kept}
        known = pl.DataFrame(rows, schema={"record_key": pl.String, **names}, orient="row")
        filled = records.join(known, on="record_key", how="left", maintain_order="left")
        return filled.with_columns(pl.coalesce(name, f"_held_{name}").alias(name) for name in kept).drop(*names)


@dataclass
class Survey:
    """What a look at all records leaves: keys and fingerprints, and what was counted on the way."""

    ranges: RangeTally
    desired_rows: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    parts: list[pa.Table] = field(default_factory=list)
    marked: list[pl.DataFrame] = field(default_factory=list)

    def leave(self, reason: str, rows: int) -> None:
        if rows:
            self.skipped[reason] = self.skipped.get(reason, 0) + rows

    def keep(self, part: pl.DataFrame) -> None:
        """Keep a slice's keys and fingerprints as a copy of their own: polars' strings are views that would hold the whole slice in memory."""
        self.parts.append(part.to_arrow(compat_level=pl.CompatLevel.oldest()))

    def take_wanted(self) -> pl.DataFrame:
        """`record_key`, `fingerprint`, `is_clean`; kept no longer."""
        wanted = pl.DataFrame(pa.concat_tables(self.parts))
        self.parts = []
        return wanted

    @property
    def canary_keys(self) -> pl.DataFrame | None:
        """`record_key` of the records that a column marks as the canary; None where none does so."""
        return pl.concat(self.marked).unique() if self.marked else None


def _agreeing(records: pl.DataFrame) -> pl.DataFrame:
    return records.filter(pl.col(CONSENT_COLUMN).fill_null(False)) if CONSENT_COLUMN in records.columns else records


def _check(sync: Sync, records: pl.DataFrame) -> None:
    expected = ("record_key", *sync.fields)
    missing = [name for name in expected if name not in records.columns]
    not_text = [name for name in expected if name not in missing and records.schema[name] != pl.String]
    if missing or not_text:
        raise DesiredStateError(f"{sync.destination}/{sync.name}: desired records lack {missing} and hold {not_text} not as text")
    if sync.consent and CONSENT_COLUMN not in records.columns:
        raise DesiredStateError(f"{sync.destination}/{sync.name}: it needs consent, and the desired records do not say who agrees")
