"""The working database of one load: in memory, spilling to the load's own folder.

Belongs here: connecting with bounds, and the text of the lake's SQL files. Does not belong here: what a load does with it.
"""

from functools import cache
from pathlib import Path

import duckdb

MEMORY_LIMIT = "400MB"
"""With the Python side's frames this keeps a load of any size below 1 GB of RSS (benchmarks/landing.py)."""
THREADS = 2


@cache
def sql_text(name: str) -> str:
    """The text of `sql/<name>.sql`."""
    return (Path(__file__).parent / "sql" / f"{name}.sql").read_text(encoding="utf-8")


def statement(name: str, **parts: str) -> str:
    """A SQL file with its {placeholders} filled in: identifiers and column lists of our own making, never values of the data."""
    text = sql_text(name)
    for placeholder, part in parts.items():
        text = text.replace("{" + placeholder + "}", part)
    return text


def connect(spill: Path | None, memory: str = MEMORY_LIMIT, threads: int = THREADS) -> duckdb.DuckDBPyConnection:
    """A DuckDB in memory with bounds; `spill` is where it puts what does not fit (None: nowhere)."""
    connection = duckdb.connect(":memory:")
    connection.execute(f"set threads = {threads}")
    connection.execute(f"set memory_limit = '{memory}'")
    connection.execute(f"set temp_directory = {quoted(str(spill or ''))}")
    connection.execute("set timezone = 'UTC'")
    connection.execute("set preserve_insertion_order = false")
    return connection


def quoted(text: str) -> str:
    """A SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


def path_list(paths: list[Path]) -> str:
    """A SQL list of file names."""
    return "[" + ", ".join(quoted(str(path)) for path in paths) + "]"


def columns_sql(columns: dict[str, str] | list[str], prefix: str = "") -> str:
    """Column names, quoted, comma between them."""
    return ", ".join(f'{prefix}"{name}"' for name in columns)
