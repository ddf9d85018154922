"""Refused rows: kept with their reasons, shown without secrets, replaced when their days are, and landed again after a fix.

Belongs here: quarantine files, their listing and masking, replay. Does not belong here: why a row is refused (contracts).
"""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from commerce_assets import contracts
from commerce_assets.contracts.rules import mask_card_numbers
from commerce_assets.lake.duck import path_list, quoted, statement
from commerce_assets.lake.report import EVENTS, AppendPartition, Merge, ReplaceDays, ReplacePartition
from commerce_assets.lake.store import QUARANTINE_SCHEMA, Lake

if TYPE_CHECKING:
    from commerce_assets.lake.partitions import Partitioner

MASK = "•••"


@dataclass(frozen=True)
class Retried:
    """Lines that are landed again: (source file, line); and what the load they came with had replaced."""

    lines: frozenset[tuple[str, int]] = field(default_factory=frozenset)
    scope: str = ""


def plan(partitioner: "Partitioner", load_id: str, retried: Retried | None) -> None:
    """Plan the quarantine files of a settled load; what earlier loads refused and this one replaces goes."""
    connection, mapping, mode = partitioner.connection, partitioner.mapping, partitioner.mode
    day = "strftime(versions._version_at, '%Y-%m-%d')"
    match mode:
        case ReplaceDays(start=start, end=end):
            key, scope = day, f"{start}/{end}"
        case ReplacePartition(name=name) | AppendPartition(name=name):
            key, scope = quoted(name), name
        case Merge():
            key, scope = quoted("all"), "all"
        case _:
            key, scope = quoted(mode.partition) if mode.partition else day, retried.scope if retried else ""
    connection.execute(
        statement(
            "new_quarantine",
            version=mapping.version_column,
            root=mapping.root.table,
            source=quoted(mapping.source),
            family=quoted(mapping.family),
            loaded_at=f"{quoted(partitioner.loaded_at.isoformat())}::timestamptz",
            partition_key=key,
            scope=quoted(scope),
        )
    )
    connection.execute("create or replace table settled.retried (_source_file varchar, _line bigint)")
    if retried and retried.lines:
        connection.executemany("insert into settled.retried values (?, ?)", [list(line) for line in sorted(retried.lines)])
    for table in mapping.tables:
        _plan_table(partitioner, table.table, load_id, retried)


def _plan_table(partitioner: "Partitioner", table: str, load_id: str, retried: Retried | None) -> None:
    lake, connection = partitioner.lake, partitioner.connection
    contract = contracts.table(table)
    home = lake.quarantine_folder(contract, "x").parent
    present = {path.parent.name.removeprefix("partition="): path for path in sorted(home.glob("partition=*/data.parquet"))}
    present.pop("empty", None)
    if isinstance(partitioner.mode, AppendPartition):
        present = {load_id: present[load_id]} if load_id in present else {}
    loads = {
        row[0] for row in connection.execute(f"select distinct load_id from settled.quarantine where \"table\" = '{table}'").fetchall()
    }
    queries = [f"select * from settled.quarantine where \"table\" = '{table}'"]
    if present:
        superseded = _is_superseded(partitioner, load_id, retried)
        connection.execute(statement("old_quarantine", files=path_list(list(present.values())), is_superseded=superseded))
        loads |= {
            row[0] for row in connection.execute("select distinct load_id from settled.old_quarantine where is_superseded").fetchall()
        }
        queries.append("select * exclude (is_superseded) from settled.old_quarantine where not is_superseded")
    for load in sorted(loads):
        rows = " union all by name ".join(f"(from ({query}) where load_id = {quoted(load)})" for query in queries)
        place = str((lake.quarantine_folder(contract, load) / "data.parquet").relative_to(lake.root))
        if connection.execute(f"select count(*) from ({rows})").fetchall()[0][0]:
            staged = partitioner.staging / "quarantine" / table / f"{load}.parquet"
            staged.parent.mkdir(parents=True, exist_ok=True)
            connection.execute(f"copy ({rows} order by _source_file, _line) to {quoted(str(staged))} (format parquet, compression zstd)")
            partitioner.plan.commit.renames[str(staged.relative_to(partitioner.staging))] = place
        elif load in present:
            partitioner.plan.commit.removals.append(place)


def _is_superseded(partitioner: "Partitioner", load_id: str, retried: Retried | None) -> str:
    """SQL over a refused row of an earlier load: this load has replaced it."""
    documents = (
        "(root_id in (select root_id from settled.roots) or root_id in (select root_id from settled.quarantine where root_id is not null))"
    )
    this_load = f"load_id = {quoted(load_id)}"
    match partitioner.mode:
        case ReplaceDays(start=start, end=end):
            first, last = quoted(start.isoformat()), quoted(end.isoformat())
            days = f"partition_key between {first} and {last}"
            unknown = f"partition_key is null and contains(scope, '/') and split_part(scope, '/', 1) >= {first} and split_part(scope, '/', 2) <= {last}"
            return f"{this_load} or {days} or ({unknown}) or {documents}"
        case ReplacePartition(name=name):
            of_events = f"starts_with(partition_key, {quoted(EVENTS)})"
            return f"{this_load} or partition_key = {quoted(name)} or ({of_events} and {documents})"
        case AppendPartition():
            return this_load
        case Merge():
            return f"{this_load} or {documents}"
        case _:
            lines = "(_source_file, _line) in (select (_source_file, _line) from settled.retried)"
            if retried is None or partitioner.mode.partition is None:
                return lines
            return f"partition_key = {quoted(partitioner.mode.partition)} and {lines}"


def quarantine_rows(
    lake: Lake,
    family: str | None = None,
    table: str | None = None,
    load_id: str | None = None,
    rule: str | None = None,
    root_id: int | None = None,
    unmasked: bool = False,
    limit: int | None = None,
) -> pl.DataFrame:
    """Refused rows, newest load first, filtered. Personal data and card numbers are masked unless asked for `unmasked`."""
    tables = [found for found in contracts.TABLES if (family is None or found.family == family) and (table is None or found.name == table)]
    frames = [
        pl.read_parquet(path, hive_partitioning=False)
        for found in tables
        for path in sorted(Path(lake.quarantine_folder(found, "x").parent).glob("partition=*/data.parquet"))
        if path.parent.name != "partition=empty"
    ]
    rows = pl.concat([pl.DataFrame(schema=QUARANTINE_SCHEMA), *(frame.cast(pl.Schema(QUARANTINE_SCHEMA)) for frame in frames)])
    for column, wanted in (("load_id", load_id), ("root_id", root_id)):
        if wanted is not None:
            rows = rows.filter(pl.col(column) == wanted)
    if rule is not None:
        rows = rows.filter(pl.col("failed_rules").list.contains(rule))
    rows = rows.sort(["_loaded_at", "load_id", "table", "_source_file", "_line"], descending=[True, False, False, False, False])
    if limit is not None:
        rows = rows.head(limit)
    if unmasked:
        return rows
    shown = [masked(name, row) for name, row in rows.select("table", "row").iter_rows()]
    return rows.with_columns(row=pl.Series(shown, dtype=pl.String))


def masked(table: str, row: str) -> str:
    """A refused row without personal data (as the contract marks it) and card numbers; a raw line is shown by its ids only."""
    private = {column.name for column in contracts.table(table).columns if column.pii}
    known = set(contracts.table(table).schema)
    try:
        fields = json.loads(row)
    except ValueError:
        fields = None
    if not isinstance(fields, dict) or set(fields) != known:
        ids = re.findall(r'"(id|__parentId|__typename)"\s*:\s*"([A-Za-z0-9:/?=_\\]{1,80})"', row)
        return f"raw line of {len(row.encode())} bytes: " + ", ".join(f"{key} {value}" for key, value in ids[:3])
    shown = {name: MASK if name in private and value is not None else _masked_text(value) for name, value in fields.items()}
    return json.dumps(shown, ensure_ascii=False)


def _masked_text(value: object) -> object:
    if isinstance(value, str):
        return mask_card_numbers(value)
    if isinstance(value, list):
        return [_masked_text(element) for element in value]
    return value
