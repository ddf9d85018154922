"""How a source says that its JSON becomes the contracts' columns: known to sources, which fill it in, and to the lake, which runs it.

Belongs here: the plain description. Does not belong here: any source's own (they live beside the source), and how it is run.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from commerce_assets.contracts import registry
from commerce_assets.contracts.base import TableContract

Structure = Mapping[str, Any]
"""JSON structure as DuckDB's `from_json` takes it: key -> "VARCHAR", a nested structure, or a list of one of these.

Leaves are text, so that no value is lost before it was looked at; the SQL types them.
"""


@dataclass(frozen=True)
class LineShape:
    """One kind of JSON line. `name` is the relation that SQL files read; `kinds` are gid types, or `__typename` of lines without id."""

    name: str
    kinds: tuple[str, ...]
    structure: Structure


@dataclass(frozen=True)
class TableMapping:
    """How one contract table is taken out of the JSON.

    `shapes` are the kinds of line its rows come from. `nested` names the list inside a line whose elements are the rows (None: the
    line is the row; empty: rows are made of a line's fields). `completed` gives columns that need the root document beside the row:
    column -> SQL over `row` and `root`. `owners` are further parents that a contract cannot name as a foreign key: (SQL condition on
    the row, column, parent table). `json_columns` hold JSON as text by design.
    """

    table: str
    shapes: tuple[str, ...]
    nested: str | None = None
    completed: Mapping[str, str] = field(default_factory=dict)
    owners: tuple[tuple[str, str, str], ...] = ()
    json_columns: tuple[str, ...] = ()

    @property
    def contract(self) -> TableContract:
        return registry.table(self.table)


@dataclass(frozen=True)
class FamilyMapping:
    """A document family as a source hands it over in JSON lines.

    Roots are the lines without `__parentId` and have the first shape. `owned` are lists in a root whose elements own lines of their
    own (an order's refunds own refund lines). `required` are keys of objects without whose content a row is refused anyway: nobody
    needs to look for other shapes of them. SQL files stand in `folder`, one a table, over the shapes' relations (with `_line`),
    `owners(owner_gid, root_id)`, and the variables `country_aliases` and `as_of`.
    """

    family: str
    shapes: tuple[LineShape, ...]
    tables: tuple[TableMapping, ...]
    folder: Path
    owned: tuple[str, ...] = ()
    required: frozenset[str] = frozenset()
    source: str = "storefront"
    version_column: str = "updated_at"
    derived_table: str | None = None

    @property
    def root(self) -> TableMapping:
        return self.tables[0]

    @property
    def root_shape(self) -> LineShape:
        return self.shapes[0]

    @cached_property
    def shape_of_kind(self) -> Mapping[str, LineShape]:
        return {kind: shape for shape in self.shapes for kind in shape.kinds}

    def sql(self, name: str) -> str:
        """The text of `<folder>/<name>.sql`."""
        return _text(self.folder / f"{name}.sql")

    def table_of_kind(self, kind: str) -> str:
        """The table that lines of a kind are rows of; the root's when the kind is unknown."""
        shape = self.shape_of_kind.get(kind, self.root_shape)
        return next(table.table for table in self.tables if table.nested is None and shape.name in table.shapes)


@cache
def _text(path: Path) -> str:
    """Read once: a load asks for each file at every chunk."""
    return path.read_text(encoding="utf-8")
