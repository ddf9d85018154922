"""The first half of a load: chunk by chunk, lines become typed rows, and every row meets its contract.

Belongs here: parsing, typing, validating, and writing the rows beside each other as staged Parquet: those that keep the row's rules
and those that do not. Does not belong here: rules across rows (settle.py), partitions (partitions.py).
"""

import json
import re
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from commerce_assets.contracts.countries import COUNTRIES, COUNTRY_ALIASES
from commerce_assets.contracts.mapping import FamilyMapping, TableMapping
from commerce_assets.lake import diagnose
from commerce_assets.lake.duck import connect, quoted, sql_text, statement
from commerce_assets.lake.errors import LakeError
from commerce_assets.lake.lines import Chunk
from commerce_assets.lake.validate import broken_rules

WORKER_MEMORY = "200MB"
QUARANTINED: dict[str, Any] = {
    "table_name": pl.String,
    "failed_rules": pl.List(pl.String),
    "row": pl.String,
    "row_key": pl.String,
    "row_id": pl.Int64,
    "root_id": pl.Int64,
    "_file": pl.Int16,
    "_line": pl.Int64,
    "_ordinal": pl.Int64,
}
"""A refused row on its way; `row_id` is its key where that is one number, for the cascade to its children."""
_KIND = r'^\{"(?:id":"gid://shopify/|__typename":")([A-Za-z0-9]+)["/]'
_DOUBTFUL, _EXCLUDED = -1, -2
_REASON = "\x01"
_BAD_JSON = (duckdb.InvalidInputException, duckdb.ConversionException)


@dataclass
class Taken:
    """What was taken in: lines (of the bulk result, and in all), bytes, and rows by table."""

    lines: int = 0
    bytes: int = 0
    broken_lines: int = 0
    bulk_lines: int = 0
    bulk_roots: int = 0
    bulk_broken: int = 0
    read: Counter[str] = field(default_factory=Counter)

    def __iadd__(self, other: "Taken") -> "Taken":
        for name in ("lines", "bytes", "broken_lines", "bulk_lines", "bulk_roots", "bulk_broken"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.read += other.read
        return self


class Intake:
    """Takes chunks in, one after another, in a database of its own; several may work side by side into one folder.

    Writes `<folder>/<table>/<n>.parquet` (the contract's columns, `_file`, `_line`, `_ordinal`), `<folder>/_quarantined/<n>.parquet`
    and `<folder>/_owners/<n>.parquet`, n being the chunk's number.
    """

    def __init__(self, mapping: FamilyMapping, folder: Path, as_of: datetime, has_drained: bool = False, spill: Path | None = None) -> None:
        self.mapping, self.has_drained = mapping, has_drained
        self.connection = connect(spill, memory=WORKER_MEMORY, threads=1)
        self.connection.execute(sql_text("work_tables"))
        for schema, macros in (("value", "_values"), ("reason", "_reasons")):
            self.connection.execute(f"set search_path = '{schema},main'")
            self.connection.execute(mapping.sql(macros))
        self.reasons = self.connection.cursor()
        for cursor, schema in ((self.connection, "value"), (self.reasons, "reason")):
            cursor.execute("set timezone = 'UTC'")
            cursor.execute(f"set search_path = '{schema},main'")
            cursor.execute(f"set variable country_aliases = {_country_aliases()}")
        self.begin(folder, as_of)

    def begin(self, folder: Path, as_of: datetime) -> None:
        """Start on the chunks of a load."""
        self.folder = folder
        for cursor in (self.connection, self.reasons):
            cursor.execute("set variable as_of = ?::timestamptz", [as_of])
        self.refused: list[pl.DataFrame] = []
        self.odd: list[int] = []
        self.taken = Taken()

    def rest(self) -> None:
        """Let go of the load's lines, ready for another."""
        for cursor in (self.connection, self.reasons):
            cursor.unregister("lines")
        self.refused, self.odd = [], []

    def know_owners(self, files: list[Path]) -> None:
        """Read the owners that earlier chunks noted, so that what they own can name its root document."""
        if files:
            self.connection.execute("insert into owners select * from read_parquet(?)", [[str(file) for file in files]])

    def close(self) -> None:
        """Give the database's memory back."""
        self.reasons.close()
        self.connection.close()

    def take(self, chunk: Chunk, number: int, index: int) -> Taken:
        """Take in one chunk, of the file that rows know as `index`, and say what was taken."""
        self.taken, self.refused = Taken(lines=chunk.count, bytes=chunk.bytes), []
        broken = [(line, raw.decode("utf-8", "backslashreplace")) for line, raw in chunk.broken]
        lines, no_objects, unknown = self._parsed(chunk.lines)
        broken += no_objects
        self.taken.broken_lines = len(broken)
        if not is_drain(chunk.file):
            self.taken.bulk_lines, self.taken.bulk_broken = chunk.count, len(broken)
            self.taken.bulk_roots = self._count(f'select count(*) from value."{self.mapping.root_shape.name}"')
        self._refuse_lines(broken, "broken_json", index)
        self._refuse_lines(unknown, "unknown_object", index)
        if self.has_drained and not is_drain(chunk.file):
            self._note_owners(number)
        taken = sum(self._take_table(table, lines, number, index) for table in self.mapping.tables)
        expected = chunk.count - len(broken) - len(unknown)
        if taken != expected:
            raise LakeError(f"{chunk.file.name}: {expected:,} lines gave {taken:,} rows; the mapping of {self.mapping.family} is wrong")
        if self.refused:
            self._write("_quarantined", number, pl.concat(self.refused))
        return self.taken

    def _parsed(self, lines: pa.Table) -> tuple[pa.Table, list[tuple[int, str]], list[tuple[int, str]]]:
        """Build the shapes' relations; returns the lines with their shape, those that are no JSON object, and unknown objects."""
        shaped = lines.append_column("_shape", self._shapes_of(lines))
        doubtful = shaped.filter(pc.equal(shaped["_shape"], _DOUBTFUL))
        no_objects = self._no_objects(doubtful) if doubtful.num_rows else []
        try:
            if not no_objects:
                shaped, unknown = self._resolved(shaped)
                self._fill(self.connection, "value", shaped)
                if not self._has_nameless_root():
                    return shaped, [], unknown
        except _BAD_JSON:
            pass
        no_objects = self._no_objects(shaped)
        shaped, unknown = self._resolved(_excluding(shaped, [line for line, _ in no_objects]))
        self._fill(self.connection, "value", shaped)
        return shaped, no_objects, unknown

    def _shapes_of(self, lines: pa.Table) -> pa.ChunkedArray:
        """The number of each line's shape, told by how its text begins; JSON may order its keys otherwise: those are doubtful."""
        text = pl.Series(pl.from_arrow(lines["text"]))
        is_child = text.str.contains('"__parentId"', literal=True)
        numbers = {kind: number for number, shape in enumerate(self.mapping.shapes) for kind in shape.kinds}
        self.odd = lines["_line"].filter(text.str.contains(self._odd_pattern).to_arrow()).to_pylist() if self._odd_pattern else []
        shape = text.str.head(80).str.extract(_KIND).replace_strict(numbers, default=_DOUBTFUL, return_dtype=pl.Int8)
        told = pl.select(pl.when(is_child != (shape == 0)).then(shape).otherwise(pl.lit(_DOUBTFUL, pl.Int8))).to_series()
        return pa.chunked_array([told.to_arrow()])

    def _no_objects(self, lines: pa.Table) -> list[tuple[int, str]]:
        self.connection.register("lines", lines)
        return self.connection.execute(sql_text("no_json_object")).fetchall()

    def _resolved(self, lines: pa.Table) -> tuple[pa.Table, list[tuple[int, str]]]:
        """The lines with every doubtful one given its shape by its parsed kind; and the unknown objects, left out."""
        doubtful = lines.filter(pc.equal(lines["_shape"], _DOUBTFUL))
        if not doubtful.num_rows:
            return lines, []
        self.connection.register("lines", doubtful)
        rows = self.connection.execute(sql_text("kinds_of_lines")).fetchall()
        homes = {line: self._home(kind, is_child) for line, kind, is_child in rows}
        found = pl.DataFrame({"_line": list(homes), "found": list(homes.values())}, schema={"_line": pl.Int64, "found": pl.Int8})
        shapes = pl.DataFrame(pl.from_arrow(lines.select(["_line", "_shape"]))).join(found, on="_line", how="left", maintain_order="left")
        shape = shapes.select(pl.coalesce("found", "_shape")).to_series()
        texts = zip(doubtful["_line"].to_pylist(), doubtful["text"].to_pylist(), strict=True)
        unknown = [(line, text.rstrip("\r\n")) for line, text in texts if homes[line] == _EXCLUDED]
        return lines.set_column(lines.schema.get_field_index("_shape"), "_shape", shape.to_arrow()), unknown

    def _home(self, kind: str | None, is_child: bool) -> int:
        """The number of the shape of a kind; a root whose id tells no kind is still a root (its id is wrong), all else is unknown."""
        shape = next((number for number, shape in enumerate(self.mapping.shapes) if kind in shape.kinds), None)
        if is_child:
            return shape if shape else _EXCLUDED
        return 0 if shape == 0 or kind is None else _EXCLUDED

    def _fill(self, connection: duckdb.DuckDBPyConnection, schema: str, lines: pa.Table) -> None:
        """Parse each shape's lines into `<schema>.<shape>`."""
        connection.register("lines", lines)
        for number, shape in enumerate(self.mapping.shapes):
            structure = json.dumps(shape.structure).replace("'", "''")
            connection.execute(statement("parse_shape", schema=schema, shape=shape.name, number=str(number), structure=structure))

    def _has_nameless_root(self) -> bool:
        return bool(self._count(f'select count(*) from value."{self.mapping.root_shape.name}" where id is null'))

    @cached_property
    def _odd_pattern(self) -> str:
        return diagnose.odd_shape_pattern((shape.structure for shape in self.mapping.shapes), self.mapping.required)

    def _count(self, query: str) -> int:
        return int(self.connection.execute(query).fetchall()[0][0])

    def _refuse_lines(self, lines: list[tuple[int, str]], rule: str, index: int) -> None:
        """Quarantine whole lines, under the table and root that their text points to."""
        for line, text in lines:
            table, root_id = guessed_owner(self.mapping, text)
            self.taken.read[table] += 1
            self.refused.append(
                pl.DataFrame([(table, [rule], text, None, None, root_id, index, line, 0)], schema=QUARANTINED, orient="row")
            )

    def _note_owners(self, number: int) -> None:
        for owned in self.mapping.owned:
            root = self.mapping.root_shape
            query = statement("note_owners", owned=owned, shape=root.name, root=root.kinds[0])
            owners = self.connection.execute(query).to_arrow_table()
            if owners.num_rows:
                self._write(f"_owners_{owned}", number, pl.DataFrame(pl.from_arrow(owners)))

    def _write(self, table: str, number: int, frame: pl.DataFrame) -> None:
        folder = self.folder / table
        folder.mkdir(exist_ok=True)
        frame.write_parquet(folder / f"{number:06d}.parquet", compression="lz4", statistics=False)

    def _take_table(self, table: TableMapping, lines: pa.Table, number: int, index: int) -> int:
        """Type and validate one table's rows of the chunk; the number of lines that they are."""
        frame = pl.DataFrame(pl.from_arrow(self.connection.execute(self.mapping.sql(table.table)).to_arrow_table()))
        if frame.is_empty():
            return 0
        columns = list(table.contract.schema)
        self.taken.read[table.table] += frame.height
        failures = broken_rules(table.contract.model, frame.select(columns))
        failures = self._explained(table, frame, failures, lines)
        rows = frame.select(*columns, _file=pl.lit(index, pl.Int16), _line="_line", _ordinal=pl.col("_ordinal").cast(pl.Int64))
        if failures.height:
            rows = rows.with_row_index("row")
            rules = failures.group_by("row").agg(failed_rules=pl.col("rule").unique().sort())
            self.refused.append(refused_rows(table, rows.join(rules, on="row", how="inner")))
            rows = rows.join(rules, on="row", how="anti").drop("row")
        if rows.height:
            self._write(table.table, number, rows)
        return frame.height if table.nested is None else 0

    def _explained(self, table: TableMapping, frame: pl.DataFrame, failures: pl.DataFrame, lines: pa.Table) -> pl.DataFrame:
        """The failures with the reason why a value is missing, and rows whose value was lost in a column that may be null."""
        texts = [name for name, dtype in table.contract.schema.items() if dtype == pl.String and name not in table.json_columns]
        boxed = pl.any_horizontal(pl.lit(False), *(pl.col(name).str.starts_with(mark) for name in texts for mark in ("{", "[")))
        suspects = (
            frame.select((pl.col("_suspect") | pl.col("_line").is_in(self.odd) | boxed).fill_null(False))
            .to_series()
            .arg_true()
            .cast(pl.UInt32)
        )
        empty = failures.filter(pl.col("rule").str.starts_with("not_null:"))["row"]
        places = frame.select("_line", "_ordinal").with_row_index("row")
        rows = pl.concat([suspects.alias("row"), empty]).unique()
        if rows.is_empty():
            return failures
        places = places.join(rows.to_frame("row"), on="row", how="semi")
        doubtful = lines.filter(pc.is_in(lines["_line"], pa.array(places["_line"].unique().to_list(), pa.int64())))
        reasons = self._reasons(table, doubtful).join(places, on=["_line", "_ordinal"])
        explained = reasons.select("row", rule=pl.format("not_null:{}", "column"))
        bare = pl.col("rule") == "not_null"
        given = reasons.select("row", rule=pl.when(bare).then(pl.format("not_null:{}", "column")).otherwise("rule"))
        misshapen = self._misshapen(table, doubtful).join(places, on=["_line", "_ordinal"]).select("row", rule=pl.lit("wrong_type"))
        # A value of another shape leaves its columns empty: then the shape is the reason.
        explained = pl.concat(
            [explained, failures.join(misshapen, on="row", how="semi").filter(pl.col("rule").str.starts_with("not_null:"))]
        )
        return pl.concat([failures.join(explained, on=["row", "rule"], how="anti"), given, misshapen]).unique()

    def _reasons(self, table: TableMapping, lines: pa.Table) -> pl.DataFrame:
        """(line, ordinal, column, rule) of every value on these lines that could not be typed."""
        self._fill(self.reasons, "reason", lines)
        judged = pl.DataFrame(pl.from_arrow(self.reasons.execute(self.mapping.sql(table.table)).to_arrow_table()))
        texts = [name for name in table.contract.schema if judged.schema[name] == pl.String]
        long = judged.select("_line", "_ordinal", *texts).unpivot(index=["_line", "_ordinal"], variable_name="column", value_name="rule")
        return long.filter(pl.col("rule").str.starts_with(_REASON)).with_columns(pl.col("rule").str.slice(1))

    def _misshapen(self, table: TableMapping, lines: pa.Table) -> pl.DataFrame:
        """(line, ordinal) of the table's rows that hold a value of another shape than the mapping expects."""
        nested = {other.nested for other in self.mapping.tables if other.nested}
        found: set[tuple[int, int]] = set()
        for shape in (shape for shape in self.mapping.shapes if shape.name in table.shapes):
            mine = {row[0] for row in self.reasons.execute(f'select _line from reason."{shape.name}"').fetchall()}
            for line, text in zip(lines["_line"].to_pylist(), lines["text"].to_pylist(), strict=True):
                for key, ordinal in diagnose.odd_places(text, shape.structure) if line in mine else ():
                    if key == table.nested or (table.nested is None and key not in nested):
                        found.add((line, ordinal if key in nested else 1))
        return pl.DataFrame(sorted(found), schema={"_line": pl.Int64, "_ordinal": pl.Int64}, orient="row")


def refused_rows(table: TableMapping, rows: pl.DataFrame) -> pl.DataFrame:
    """Typed rows as they go to quarantine; `rows` has the contract's columns, `failed_rules`, `_file`, `_line` and `_ordinal`."""
    contract = table.contract
    single = contract.key[0] if len(contract.key) == 1 and contract.schema[contract.key[0]] == pl.Int64 else None
    return rows.select(
        table_name=pl.lit(table.table),
        failed_rules="failed_rules",
        row=as_json(rows, list(contract.schema)),
        row_key=pl.concat_str([pl.col(name).cast(pl.String).fill_null("") for name in contract.key], separator="|"),
        row_id=pl.col(single) if single else pl.lit(None, pl.Int64),
        root_id=contract.root_id,
        _file="_file",
        _line="_line",
        _ordinal="_ordinal",
    )


def guessed_owner(mapping: FamilyMapping, text: str) -> tuple[str, int | None]:
    """The table and root document that a broken line's text points to, as far as it can be told."""
    slash = r"\\?/"
    gid = rf"gid:{slash}{slash}shopify{slash}"
    kind = re.search(rf'"id"\s*:\s*"{gid}([A-Za-z0-9]+){slash}', text)
    name = kind.group(1) if kind else ""
    roots = mapping.root_shape.kinds
    key = "id" if name in roots else "__parentId"
    root = re.search(rf'"{key}"\s*:\s*"{gid}(?:{"|".join(roots)}){slash}(\d{{1,18}})"', text)
    return mapping.table_of_kind(name), int(root.group(1)) if root else None


def is_drain(file: Path) -> bool:
    """Whether a file holds what was drained by paginated queries, beside the bulk result and not counted by it."""
    return file.name.startswith("drain-")


def as_json(rows: pl.DataFrame, columns: list[str]) -> pl.Expr:
    """Rows as JSON objects: money as decimal text, times as ISO-8601 UTC."""
    shown = []
    for name in columns:
        column = pl.col(name)
        if isinstance(rows.schema[name], pl.Decimal):
            column = column.cast(pl.String)
        elif isinstance(rows.schema[name], pl.Datetime):
            column = column.dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ")
        shown.append(column.alias(name))
    return pl.struct(shown).struct.json_encode()


def _excluding(lines: pa.Table, numbers: list[int]) -> pa.Table:
    """The lines with the shape of some set to none."""
    is_out = pc.is_in(lines["_line"], pa.array(numbers, pa.int64()))
    shape = pc.if_else(is_out, pa.scalar(_EXCLUDED, pa.int8()), lines["_shape"])
    return lines.set_column(lines.schema.get_field_index("_shape"), "_shape", shape)


def _country_aliases() -> str:
    """A SQL map of names and other codes to ISO codes."""
    entries = {alias: code for alias, code in COUNTRY_ALIASES.items() if alias not in COUNTRIES}
    return "map {" + ", ".join(f"{quoted(alias)}: {quoted(code)}" for alias, code in entries.items()) + "}"
