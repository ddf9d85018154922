"""What a load did, in numbers that must add up.

Belongs here: the modes, the declared counts and the report. Does not belong here: how they come about (landing.py).
"""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime
from typing import Any

from commerce_assets.lake.errors import ControlTotalError


@dataclass(frozen=True)
class ReplaceDays:
    """Every day from `start` to `end`, both included, of the root document's `updated_at` is replaced, by nothing too."""

    start: date
    end: date

    def __post_init__(self) -> None:
        if self.end < self.start:
            raise ValueError(f"ReplaceDays: end {self.end} is before start {self.start}")


@dataclass(frozen=True)
class ReplacePartition:
    """One named partition is replaced whole."""

    name: str


@dataclass(frozen=True)
class Merge:
    """Roots in the load replace their old rows and all their children in partition `all`; rows of other roots stay."""


EVENTS = "events-"
"""How the partitions of micro-batches are called, before the batch's id; they stand beside the partitions of pulls."""
_BATCH = re.compile(rf"{EVENTS}(\d{{8}}T\d{{12}})-[A-Za-z0-9_-]+")


@dataclass(frozen=True)
class AppendPartition:
    """A micro-batch of events: its rows become a partition of their own, `events-<YYYYMMDDTHHMMSSffffff>-<lane>`, and no other is touched.

    Landed again it replaces what it left before. No share of refused rows fails it, for its batch is as small as one document.
    """

    name: str

    def __post_init__(self) -> None:
        if not _BATCH.fullmatch(self.name):
            raise ValueError(f"AppendPartition: {self.name!r} does not read {EVENTS}YYYYMMDDTHHMMSSffffff-<lane>")

    @property
    def begun_at(self) -> datetime:
        """When the batch was begun, as its name says: the `_loaded_at` of its rows, the same however often it is landed."""
        return datetime.strptime(self.name.removeprefix(EVENTS)[:21], "%Y%m%dT%H%M%S%f").replace(tzinfo=UTC)


Mode = ReplaceDays | ReplacePartition | Merge | AppendPartition


@dataclass(frozen=True)
class Declared:
    """What the source said it sent: lines of the bulk file, and those of them without a parent."""

    objects: int | None = None
    roots: int | None = None


@dataclass(frozen=True)
class TableReport:
    """The control total of one table."""

    read: int = 0
    accepted: int = 0
    quarantined: int = 0
    duplicates: int = 0
    rejected_by_rule: Mapping[str, int] = field(default_factory=dict)

    def check(self, load_id: str, table: str) -> None:
        """Raise `ControlTotalError` unless every row read is accounted for."""
        if self.read != self.accepted + self.quarantined + self.duplicates:
            raise ControlTotalError(
                f"load {load_id}, table {table}: read {self.read:,} rows but accounted for {self.accepted:,} accepted + "
                f"{self.quarantined:,} quarantined + {self.duplicates:,} duplicates; nothing was replaced, please report this"
            )


@dataclass(frozen=True)
class LoadReport:
    """One load: what was read, accepted, quarantined, dropped as duplicates, and which partitions it wrote."""

    load_id: str
    source: str
    family: str
    mode: str
    tables: Mapping[str, TableReport]
    broken_lines: int
    lines: int
    bytes: int
    seconds: float
    partitions: list[str]
    loaded_at: datetime

    @property
    def read(self) -> int:
        return sum(table.read for table in self.tables.values())

    @property
    def accepted(self) -> int:
        return sum(table.accepted for table in self.tables.values())

    @property
    def quarantined(self) -> int:
        return sum(table.quarantined for table in self.tables.values())

    @property
    def duplicates(self) -> int:
        return sum(table.duplicates for table in self.tables.values())

    def to_json(self) -> str:
        """As JSON, times as ISO-8601."""
        return json.dumps(asdict(self), indent=1, default=lambda value: value.isoformat())

    @classmethod
    def from_json(cls, text: str) -> "LoadReport":
        """The report that `to_json` wrote."""
        fields: dict[str, Any] = json.loads(text)
        fields["tables"] = {name: TableReport(**counts) for name, counts in fields["tables"].items()}
        fields["loaded_at"] = datetime.fromisoformat(fields["loaded_at"])
        return cls(**fields)
