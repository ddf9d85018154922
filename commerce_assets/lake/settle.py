"""The second half of a load: rules across rows, over everything the chunks staged.

Belongs here: duplicates, orphans, cascades, the contracts' rules in context, derived rows; out of core, in DuckDB. Does not belong
here: rules of single rows (intake.py), files and partitions (partitions.py).
"""

from collections import Counter
from pathlib import Path

import duckdb
import polars as pl

from commerce_assets.contracts.context import CONTEXT_MODELS
from commerce_assets.contracts.mapping import FamilyMapping, TableMapping
from commerce_assets.lake.duck import path_list, sql_text, statement
from commerce_assets.lake.intake import refused_rows
from commerce_assets.lake.validate import broken_rules

BATCH_ROWS = 200_000
_SQL_TYPES: dict[pl.DataType, str] = {
    pl.Int64(): "bigint",
    pl.String(): "varchar",
    pl.Boolean(): "boolean",
    pl.Float64(): "double",
    pl.Decimal(18, 4): "decimal(18, 4)",
    pl.Datetime("us", "UTC"): "timestamptz",
    pl.List(pl.String()): "varchar[]",
}


class Settlement:
    """What remains of a load when every rule has been applied: views `staged.<table>`, the table `quarantined`, and counts.

    `files` are the names of the raw files by the index that rows carry, each with the load it belongs to; `connection` is to an empty
    database, which stays open.
    """

    def __init__(self, mapping: FamilyMapping, folder: Path, files: list[tuple[str, str]], connection: duckdb.DuckDBPyConnection) -> None:
        self.mapping, self.folder, self.connection = mapping, folder, connection
        self.connection.execute(sql_text("settle_tables"))
        if files:  # nothing was found: an empty delta
            self.connection.executemany("insert into files values (?, ?, ?)", [[i, name, load] for i, (name, load) in enumerate(files)])
        if refused := self._staged_files("_quarantined"):
            self.connection.execute(f"insert into quarantined select * from read_parquet({path_list(refused)})")
        self.duplicates: Counter[str] = Counter()
        self.derived: Counter[str] = Counter()
        for table in mapping.tables:
            self._view(table)

    def settle(self) -> None:
        """Apply the rules across rows, parents first."""
        self._drop_duplicates()
        self._refuse_orphans()
        if self._judge_in_context():
            self._refuse_orphans()
        if self.mapping.derived_table:
            self._derive(next(table for table in self.mapping.tables if table.table == self.mapping.derived_table))

    def count(self, query: str) -> int:
        """The one number that a query gives."""
        return int(self.connection.execute(query).fetchall()[0][0])

    def frame(self, query: str) -> pl.DataFrame:
        """What a query gives."""
        return pl.DataFrame(pl.from_arrow(self.connection.execute(query).to_arrow_table()))

    def accepted(self, table: str) -> int:
        """Rows of a table that keep every rule."""
        return self.count(f'select count(*) from staged."{table}"')

    def _staged_files(self, table: str) -> list[Path]:
        return sorted((self.folder / table).glob("*.parquet"))

    def _view(self, table: TableMapping) -> None:
        """`staged.<table>`: the staged rows but those dropped."""
        if files := self._staged_files(table.table):
            source = f"read_parquet({path_list(files)})"
        else:
            columns = ", ".join(f'null::{_SQL_TYPES[dtype]} as "{name}"' for name, dtype in table.contract.schema.items())
            source = f"(select {columns}, null::smallint as _file, null::bigint as _line, null::bigint as _ordinal where false)"
        # Without the anti-join where nothing was dropped: then counts come from the files' footers.
        name = "staged_view" if self._has_dropped(table.table) else "staged_view_whole"
        self.connection.execute(statement(name, table=table.table, source=source))

    def _has_dropped(self, table: str) -> bool:
        return bool(self.count(f"select count(*) from dropped where table_name = '{table}'"))

    def _drop(self, table: str, rows: pl.DataFrame) -> None:
        self.connection.register("going", rows.select(pl.lit(table), "_file", "_line", "_ordinal").to_arrow())
        self.connection.execute("insert into dropped select * from going")
        self.connection.unregister("going")
        self._view(self._table(table))

    def _drop_duplicates(self) -> None:
        """Keep the newest of rows with one key. What hangs in an old version of a root goes with it."""
        root = self.mapping.root
        old = pl.DataFrame()
        for table in self.mapping.tables:
            if not self._staged_files(table.table):
                continue
            contract = table.contract
            key = ", ".join(f'"{name}"' for name in contract.key)
            if table is root:
                has_refused = bool(self.count(f"select count(*) from quarantined where table_name = '{root.table}'"))
                if has_refused or self._has_duplicates(table.table, contract.key):
                    version = self.mapping.version_column
                    query = statement("duplicate_roots", table=root.table, key=key, version=version, root_id=contract.root_id)
                    old = self.frame(query)
                    self.drop_duplicates_of(root.table, old)
                continue
            if old.height and table.nested is not None and table.shapes == root.shapes:
                self.connection.register("old", old.to_arrow())
                hanging = (
                    f'select _file, _line, _ordinal from staged."{table.table}" where (_file, _line) in (select (_file, _line) from old)'
                )
                self.drop_duplicates_of(table.table, self.frame(hanging))
                self.connection.unregister("old")
            if self._has_duplicates(table.table, contract.key):
                self.drop_duplicates_of(table.table, self.frame(statement("duplicate_children", table=table.table, key=key)))

    def _has_duplicates(self, table: str, key: tuple[str, ...]) -> bool:
        columns = ", ".join(f'"{name}"' for name in key)
        return bool(self.count(statement("has_duplicates", table=table, key=columns if len(key) == 1 else f"({columns})")))

    def drop_duplicates_of(self, table: str, rows: pl.DataFrame) -> None:
        """Drop rows that are older versions of others."""
        if rows.height:
            self._drop(table, rows)
            self.duplicates[table] += rows.height

    def _refuse_orphans(self) -> None:
        for table in self.mapping.tables[1:]:
            if not self._staged_files(table.table) or self._stands_with_its_line(table):
                continue
            contract = table.contract
            links = [("true", column, parent, parent_column) for column, parent, parent_column in contract.parents]
            links += [(condition, column, parent, self._table(parent).contract.key[0]) for condition, column, parent in table.owners]
            found = []
            for condition, column, parent, parent_column in links:
                query = statement(
                    "orphans",
                    table=table.table,
                    parent=parent,
                    parent_column=parent_column,
                    value=f'rows."{column}"',
                    condition=condition,
                    refused_id="root_id" if parent == self.mapping.root.table else "row_id",
                )
                found.append(self.frame(query))
            orphans = pl.concat(found)
            if orphans.height:
                place = ["_file", "_line", "_ordinal"]
                rules = orphans.group_by(place).agg(failed_rules=pl.col("rule").unique().sort())
                self._refuse(table, orphans.drop("rule").unique(place).join(rules, on=place))

    def _stands_with_its_line(self, table: TableMapping) -> bool:
        """Whether a table's rows were read from lines of which every one was accepted, with every parent: then none can be an orphan."""
        lines = {other.table for other in self.mapping.tables if other.nested is None and set(other.shapes) & set(table.shapes)}
        parents = {parent for _, parent, _ in table.contract.parents} | {parent for _, _, parent in table.owners}
        return table.nested is not None and not any(self._has_lost(name) for name in lines | parents)

    def _has_lost(self, table: str) -> bool:
        return bool(self.count(f"select count(*) from quarantined where table_name = '{table}'")) or self._has_dropped(table)

    def _table(self, name: str) -> TableMapping:
        return next(table for table in self.mapping.tables if table.table == name)

    def _refuse(self, table: TableMapping, rows: pl.DataFrame) -> None:
        """Quarantine rows that had been accepted so far; `rows` has their columns and `failed_rules`."""
        self.connection.register("refused", refused_rows(table, rows).to_arrow())
        self.connection.execute("insert into quarantined select * from refused")
        self.connection.unregister("refused")
        self._drop(table.table, rows)

    def _judge_in_context(self) -> bool:
        """Judge rows beside their document; whether any was refused."""
        is_any = False
        for table in self.mapping.tables:
            model = CONTEXT_MODELS.get(table.table)
            if model is None or not self._staged_files(table.table):
                continue
            key = table.contract.key[0]
            failing: list[pl.DataFrame] = []
            reader = self.connection.execute(sql_text(f"context/{table.table}")).to_arrow_reader(BATCH_ROWS)
            for batch in reader:
                facts = pl.DataFrame(pl.from_arrow(batch))
                failures = broken_rules(model, facts)
                if failures.height:
                    rules = failures.group_by("row").agg(failed_rules=pl.col("rule").unique().sort())
                    failing.append(facts.select(key).with_row_index("row").join(rules, on="row").drop("row"))
            if failing:
                is_any = True
                refused = pl.concat(failing)
                self.connection.register("failing", refused.to_arrow())
                query = f'select rows.*, failing.failed_rules from staged."{table.table}" as rows inner join failing using ("{key}")'
                self._refuse(table, self.frame(query))
                self.connection.unregister("failing")
        return is_any

    def _derive(self, table: TableMapping) -> None:
        """Add the rows that follow from others; they meet their contract like any."""
        reader = self.connection.execute(sql_text(f"derived_{table.table}")).to_arrow_reader(BATCH_ROWS)
        folder = self.folder / table.table
        folder.mkdir(exist_ok=True)
        for number, batch in enumerate(reader):
            rows = pl.DataFrame(pl.from_arrow(batch))
            if rows.is_empty():
                continue
            failures = broken_rules(table.contract.model, rows.select(list(table.contract.schema)))
            if failures.height:
                rows = rows.with_row_index("row").join(failures, on="row", how="anti").drop("row")
            rows.write_parquet(folder / f"derived-{number:06d}.parquet", compression="lz4", statistics=False)
            self.derived[table.table] += rows.height
        self._view(table)
