"""What a source tells the lake about a document family: the JSON it hands over, and the SQL that turns it into the contracts' columns.

Belongs here: the plain description. Does not belong here: any source's own (they live beside the source), and how it is run.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from commerce_assets import contracts
from commerce_assets.contracts import TableContract

Structure = Mapping[str, Any]
"""JSON structure as DuckDB's `from_json` takes it: key -> "VARCHAR", a nested structure, or a list of one of these.

Leaves are text, so that no value is lost before it was looked at; the SQL types them.
"""


@dataclass(frozen=True)
class TableMapping:
    """How one contract table is taken out of the JSON.

    `nested` names the list inside a line whose elements are the rows (None: the line is the row). `kinds` are the kinds of child
    line that are this table's rows: a gid's type, or `__typename` of lines without id. `completed` gives columns that need the root
    document beside the row: column -> SQL over `row` and `root`. `owners` are further parents that a contract cannot name as a
    foreign key: (condition on the row, column, parent table). `json_columns` hold JSON as text by design.
    """

    table: str
    nested: str | None = None
    kinds: tuple[str, ...] = ()
    completed: Mapping[str, str] = field(default_factory=dict)
    owners: tuple[tuple[str, str, str], ...] = ()
    json_columns: tuple[str, ...] = ()

    @property
    def contract(self) -> TableContract:
        return contracts.table(self.table)


@dataclass(frozen=True)
class FamilyMapping:
    """A document family as a source hands it over in JSON lines.

    Roots are the lines without `__parentId`; `root_kinds` are their gid types. `owned` are lists in a root whose elements own lines
    of their own (an order's refunds own refund lines). SQL files stand in `folder`, one a table, over the relations `parents`,
    `children` (with `_line`, `_kind`), `owners(owner_gid, root_id)`, and the variables `country_aliases` and `as_of`.
    """

    family: str
    root_kinds: tuple[str, ...]
    parents: Structure
    children: Structure
    tables: tuple[TableMapping, ...]
    folder: Path
    owned: tuple[str, ...] = ()
    source: str = "storefront"
    version_column: str = "updated_at"
    derives_fulfillment_lines: bool = False

    @property
    def root(self) -> TableMapping:
        return self.tables[0]

    @cached_property
    def child_kinds(self) -> frozenset[str]:
        return frozenset(kind for table in self.tables for kind in table.kinds)

    def sql(self, name: str) -> str:
        """The text of `<folder>/<name>.sql`."""
        return (self.folder / f"{name}.sql").read_text(encoding="utf-8")

    def line_tables(self) -> Iterator[TableMapping]:
        """The tables whose rows are whole lines."""
        return (table for table in self.tables if table.nested is None)

    def table_of_kind(self, kind: str) -> str:
        """The table that lines of a kind belong to; the root's when the kind is unknown."""
        return next((table.table for table in self.tables if kind in table.kinds), self.root.table)
