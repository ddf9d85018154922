"""Gates that a plan has to pass: is it what its sync may do? Pure: counts in, gates that are shut out."""

from dataclasses import dataclass, field

import polars as pl

from commerce_assets.activation.plan import Plan
from commerce_assets.activation.records import Gate, Sync, ValueRange


@dataclass(frozen=True)
class Tripped:
    """A gate that is shut, and why: counts and names, never a value."""

    gate: Gate
    message: str

    def __str__(self) -> str:
        return f"{self.gate}: {self.message}"


@dataclass
class RangeTally:
    """Records whose numbers are out of bounds, counted slice by slice."""

    bounds: tuple[ValueRange, ...] = ()
    outside: dict[int, tuple[int, str | None]] = field(default_factory=dict)
    """Number of the bound -> records beyond it, one of their keys."""

    def add(self, records: pl.DataFrame) -> None:
        """Count a slice of records."""
        for number, bound in enumerate(self.bounds):
            value = pl.col(bound.field).cast(pl.Float64, strict=False)
            bad = value.is_null()
            if bound.at_least is not None:
                bad = bad | (value < bound.at_least)
            if bound.at_most is not None:
                bad = bad | (value > bound.at_most)
            outside = records.filter(pl.col(bound.field).is_not_null() & bad.fill_null(True))
            if outside.height:
                count, example = self.outside.get(number, (0, None))
                self.outside[number] = (count + outside.height, example or outside["record_key"][0])

    def messages(self) -> list[str]:
        """What is out of bounds: a sentence a bound."""
        found = []
        for number, (count, example) in self.outside.items():
            bound = self.bounds[number]
            low, high = ("-" if limit is None else f"{limit:g}" for limit in (bound.at_least, bound.at_most))
            found.append(f"{bound.field} of {count:,} records is not within {low} and {high}, e.g. of {example}")
        return found


def tripped(plan: Plan, sync: Sync, ranges: RangeTally) -> list[Tripped]:
    """The guards that the plan breaks; `ranges` of the records it was made from."""
    guards, known = sync.guards, plan.known_rows
    updates, removals = plan.count("update"), plan.count("remove")
    found: list[Tripped] = []
    if guards.max_rows is not None and plan.changes.height > guards.max_rows:
        found.append(
            Tripped("max_rows", f"the plan changes {plan.changes.height:,} records, more than the {guards.max_rows:,} allowed in one run")
        )
    if plan.desired_rows < guards.min_rows:
        found.append(Tripped("min_rows", f"the model has {plan.desired_rows:,} rows, fewer than the {guards.min_rows:,} expected"))
    nulls = plan.skipped.get("null_key", 0)
    if guards.max_null_keys is not None and nulls > guards.max_null_keys:
        found.append(Tripped("null_keys", f"{nulls:,} rows have no usable key, more than the {guards.max_null_keys:,} allowed"))
    shares: tuple[tuple[Gate, str, int, float], ...] = (
        ("max_changed_share", "changes", updates, guards.max_changed_share),
        ("max_removed_share", "removes", removals, guards.max_removed_share),
    )
    for gate, what, count, share in shares:
        allowed = max(guards.always_allowed, int(share * known))
        if count > allowed:
            found.append(Tripped(gate, f"the plan {what} {count:,} of {known:,} records, more than the {allowed:,} allowed in one run"))
    return found + [Tripped("values", message) for message in ranges.messages()]
