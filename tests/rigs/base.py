"""What the contract tests need to know and do about the world outside a destination."""

from typing import Literal, Protocol

from commerce_assets.activation.records import Destination, Sync

Trait = Literal["reads", "refuses", "throttles", "cuts", "makes_records", "loses_records"]
"""reads: the destination can tell what it holds. refuses: single records can be refused. throttles: it can say "later". cuts: an answer can
be lost. makes_records: a key that is not there is made by writing it. loses_records: somebody else can delete a record."""


class Rig(Protocol):
    """A fresh outside world for one test; destinations made by it all write there. Records of `sync` have mapped fields
    `segment` and `value` (a number) and the carried field `as_of` (a date)."""

    name: str
    sync: Sync
    traits: frozenset[Trait]
    longest_value: int
    """Characters that `segment` may have at most; one more is refused row by row (0: no limit)."""
    rows_a_call: int
    """Records that one call to the outside takes at most."""

    def destination(self) -> Destination:
        """A new one, as a new process would make it."""

    def keys(self, count: int) -> list[str]:
        """So many keys that may be written; where the destination cannot make records, they are there already."""

    def held(self) -> dict[str, dict[str, str]]:
        """What the outside really holds (not through `Destination.read`): key -> fields that are not null. Keys without any are left out."""

    def change(self, key: str, field: str, value: str | None) -> None:
        """Somebody else writes there."""

    def delete(self, key: str) -> None:
        """Somebody else deletes the record (trait loses_records)."""

    def refuse(self, keys: set[str]) -> None:
        """From now on writes of these keys are refused, each alone; an empty set: no more."""

    def throttle(self, calls: int) -> None:
        """So many of the next calls are answered with "later"."""

    def cut(self, when: Literal["before", "after"], calls: int = 1) -> None:
        """The answers of so many of the next writing calls are lost, before or after they took effect."""

    @property
    def writes(self) -> int:
        """Single values (or rows) that changed outside so far; writing what is there already counts as none."""

    def close(self) -> None:
        """Free what it holds."""
