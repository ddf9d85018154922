"""Which columns a column of a model is made of, read from its compiled SQL.

Only direct parents are named; a graph of them gives the whole way. What cannot be read (a construct that the parser does not know)
has no lineage, and says so by its absence.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from sqlglot import exp, parse_one
from sqlglot.errors import SqlglotError
from sqlglot.lineage import lineage
from sqlglot.optimizer.qualify import qualify
from sqlglot.optimizer.scope import build_scope
from sqlglot.schema import MappingSchema

from commerce_assets.contracts import LAKE_COLUMNS, TABLES

DIALECT = "duckdb"
Relation = tuple[str, str]
"""(schema, table)."""
Columns = Mapping[Relation, tuple[str, ...]]
Lineage = dict[str, list[tuple[str, str, str]]]
"""Column -> (schema, table, column) of the parents it is made of."""


def lake_columns() -> dict[Relation, tuple[str, ...]]:
    """The columns of the lake's tables, as dbt sources read them."""
    return {(table.source, table.name): (*table.schema, *LAKE_COLUMNS, "partition") for table in TABLES}


class LineageCache:
    """Lineage by the text it was read from, kept in a file: reading it takes some tens of milliseconds a model."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, Lineage] = json.loads(path.read_text()) if path.exists() else {}
        self._used: dict[str, Lineage] = {}

    def of(self, sql: str, columns: Columns) -> Lineage:
        """The lineage of a model's compiled `sql`, given the columns of everything it may read."""
        key = hashlib.sha256(json.dumps([sql, sorted((*relation, *names) for relation, names in columns.items())]).encode()).hexdigest()
        if key not in self._known:
            self._known[key] = column_lineage(sql, columns)
        self._used[key] = self._known[key]
        return self._known[key]

    def save(self) -> None:
        """Keep what is known (at most a thousand models' worth, the last used)."""
        kept = dict(list({**self._known, **self._used}.items())[-1000:])
        beside = self._path.with_suffix(".next")
        beside.write_text(json.dumps(kept))
        beside.replace(self._path)


def column_lineage(sql: str, columns: Columns) -> Lineage:
    """Column -> parents' columns; empty when the SQL cannot be read."""
    schema = MappingSchema(dialect=DIALECT)
    for (database_schema, table), names in columns.items():
        schema.add_table(exp.table_(table, db=database_schema), dict.fromkeys(names, "text"), dialect=DIALECT)
    try:
        query = parse_one(sql, dialect=DIALECT)
        if not isinstance(query, exp.Query):
            return {}
        _name_files(query)
        for where in list(query.find_all(exp.Where)):
            if where.find(exp.Select):  # which rows, not which columns; and it may name a table that lives for one build only
                where.pop()
        qualified = qualify(query, schema=schema, dialect=DIALECT, validate_qualify_columns=False)
        scope = build_scope(qualified)
        return {
            column.lower(): _parents(column, query, schema, scope)
            for column in query.named_selects
            if isinstance(query, exp.Query) and column
        }
    except (SqlglotError, TypeError, ValueError, RecursionError):
        return {}


def _parents(column: str, query: exp.Query, schema: MappingSchema, scope: object) -> list[tuple[str, str, str]]:
    found: set[tuple[str, str, str]] = set()
    for node in lineage(column, query, schema=schema, scope=scope, dialect=DIALECT, copy=False).walk():
        if node.downstream:
            continue
        table = node.expression.find(exp.Table)
        if table is not None and table.name and table.db:
            found.add((table.db, table.name, exp.to_column(node.name).name.lower()))
    return sorted(found)


def _name_files(query: exp.Query) -> None:
    """Put names in the place of files: `read_parquet('…/raw/storefront/orders/…')` becomes storefront.orders; catalogs are dropped."""
    for table in list(query.find_all(exp.Table)):
        if table.args.get("catalog"):
            table.set("catalog", None)
        file = next((literal.name for literal in table.find_all(exp.Literal) if literal.is_string and ".parquet" in literal.name), None)
        if file is not None and isinstance(table.this, exp.Func):
            schema, name = _lake_table(file)
            table.replace(exp.table_(name, db=schema, alias=table.alias or None))


def _lake_table(file: str) -> Relation:
    parts = file.split("/")
    for place, part in enumerate(parts):
        if part == "raw":
            return parts[place + 1], parts[place + 2]
        if part == "scores":
            return "scores", parts[place + 1]
    return "files", parts[-1]
