"""The smallest destination there is, for tests of the engine: a dict, with records that are refused or silently lost on demand."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

from commerce_assets.activation.records import Change, Estimate, Fields, Meter, RowResult


@dataclass
class Shelf:
    """Holds records by key; `refused` keys fail, `forgotten` ones are answered as written and are not, `missing` ones are gone."""

    fields: tuple[str, ...] = ("segment", "value")
    records: dict[str, dict[str, str | None]] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    forgotten: set[str] = field(default_factory=set)
    missing: set[str] = field(default_factory=set)
    standing_problems: tuple[str, ...] = ()
    can_read: bool = True
    reads_new: bool = False
    chunk_rows: int = 1_000
    meter: Meter = field(default_factory=Meter)
    order: list[str] = field(default_factory=list)
    expectations: set[str] = field(default_factory=set)
    finished: int = 0

    def problems(self) -> Sequence[str]:
        return self.standing_problems

    def prepare(self) -> None: ...

    def settle(self) -> None: ...

    def finish(self) -> None:
        self.finished += 1

    def estimate(self, creates: int, updates: int, removals: int) -> Estimate:
        return Estimate("direct", self.chunk_rows, creates + updates + removals, 0, reads_new=self.reads_new)

    def read(self, keys: Sequence[str]) -> Iterator[tuple[str, Fields | None]]:
        for key in keys:
            yield key, None if key in self.missing else {name: self.records.get(key, {}).get(name) for name in self.fields}

    def load(self, changes: Sequence[Change], path: str) -> Iterator[RowResult]:
        for change in changes:
            self.meter.requests += 1
            self.expectations.add(change.expects)
            if change.record_key in self.refused:
                yield RowResult(change.record_key, "failed", "refused")
                continue
            held = {name: change.fields.get(name) for name in self.fields}
            self.order.append(change.record_key)
            if change.record_key not in self.forgotten:
                self.records[change.record_key] = held
            yield RowResult(change.record_key, "succeeded", None, held)

    @property
    def held(self) -> dict[str, dict[str, str]]:
        """What is there, without what is empty."""
        full = {key: {name: value for name, value in fields.items() if value is not None} for key, fields in self.records.items()}
        return {key: fields for key, fields in full.items() if fields}


def desired(rows: Mapping[str, tuple[str | None, str | None]], **columns: list[object]) -> pl.DataFrame:
    """Records of `segment` and `value` by key, with further columns beside them."""
    frame = pl.DataFrame(
        [(key, *fields) for key, fields in rows.items()],
        schema={"record_key": pl.String, "segment": pl.String, "value": pl.String},
        orient="row",
    )
    return frame.with_columns(pl.Series(name, values) for name, values in columns.items())
