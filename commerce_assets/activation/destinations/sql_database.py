"""What the destination `sql` needs of a database, and what can become of a statement, whatever the driver calls it."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

import sqlalchemy as sa

from commerce_assets.activation.destinations.sql_columns import Column
from commerce_assets.activation.targets.sql import SqlTarget

MADE_BY_US = "Made by commerce_assets, which may add columns to it."
"""A table's comment that says so."""


class TryAgainError(Exception):
    """Nothing was applied, and it may go well the next time: a lock, a deadlock, a connection that was not made or broke before the commit."""

    def __init__(self, message: str, *, is_throttling: bool = False) -> None:
        super().__init__(message)
        self.is_throttling = is_throttling
        """Whether the database itself said "later"."""


class LostAnswerError(Exception):
    """The commit was sent and no answer came: it may have happened."""


class RowRefusedError(Exception):
    """At least one of the rows of a statement is refused by the database; the message says why, without its values."""


@dataclass(frozen=True)
class Table:
    """A table as it was found."""

    columns: Mapping[str, Column]
    unique: frozenset[tuple[str, ...]] = field(default_factory=frozenset)
    """Sets of columns (sorted) that a primary key or a unique index without condition keeps unique."""
    is_ours: bool = False
    """Whether it was made by a sync."""


class Session(Protocol):
    """One connection for one chunk."""

    def table(self, target: SqlTarget) -> Table | None:
        """The table as it is; None where there is none."""

    def has_schema(self, name: str) -> bool:
        """Whether there is a schema of that name."""

    def stage(self, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Make rows readable as the relation `commerce_stage`: `ordinal` (an integer), then columns of text."""

    def run(self, statement: sa.Executable, values: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """Run a statement with values for its parameters; its rows, where it has any."""

    def part(self) -> AbstractContextManager[None]:
        """What is run within is undone alone when it raises `RowRefusedError`."""

    def commit(self) -> None:
        """Make all that was run last. Raises `LostAnswerError` where nobody knows whether it did."""


class Database(Protocol):
    """Where the table is."""

    is_duckdb: bool
    shown: str
    """Its name in messages, without a password."""

    def session(self) -> AbstractContextManager[Session]:
        """A new one; what was not committed in it is undone when it ends. Raises `TryAgainError` where there is no connection."""

    def ddl(self, statement: sa.schema.ExecutableDDLElement) -> str:
        """The statement as one would type it."""

    def named(self, target: SqlTarget) -> str:
        """The table as it stands in a statement."""

    def problems(self, target: SqlTarget) -> list[str]:
        """Why it cannot be written to, each with what to do. Raises `TryAgainError` where there is no connection."""
