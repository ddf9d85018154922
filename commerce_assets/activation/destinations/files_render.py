"""Records as files: CSV, JSONL or Parquet, page by page, the same bytes for the same records.

Belongs here: columns, escaping, parts, the manifest's shape. Does not belong here: where the files go (files_folder.py).
"""

import gzip
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from commerce_assets.activation.audiences import name_sha256, place_sha256, zip_sha256
from commerce_assets.activation.destinations.files_folder import digest_of
from commerce_assets.activation.destinations.files_state import KEY
from commerce_assets.activation.targets.file import Column, FileTarget

GZIP_LEVEL = 6
_NUMBER = r"^[+-]?[0-9]+([.,][0-9]+)*([eE][+-]?[0-9]+)?$"
_FORMULA = r"^[=+\-@\t\r]"
"""OWASP, "CSV Injection": what makes a spreadsheet take a cell for a formula."""
_NEEDS_QUOTES = r'[",\r\n]|^\s|\s$|^$'
"""RFC 4180; and the empty text, which without quotes is null."""


class Part(BaseModel):
    """A file of the export."""

    model_config = ConfigDict(frozen=True)

    file: str
    rows: int
    bytes: int
    sha256: str


class Manifest(BaseModel):
    """What lies in a folder, for those who fetch it: written last, and holding nobody's data."""

    model_config = ConfigDict(frozen=True)

    sync: str
    layout: str
    format: str
    compression: str
    columns: tuple[str, ...]
    rows: int
    left_out: int
    """Records with nothing to match a person by, which the tools would refuse."""
    parts: tuple[Part, ...]
    content_digest: str
    """SHA-256 over the records and how they are written: equal digests mean equal files."""
    state: str
    """Which state the files were made from; no other may replace them."""
    made_at: str


@dataclass(frozen=True)
class Rendering:
    """What was written into the workspace."""

    parts: tuple[Part, ...]
    left_out: int

    @property
    def rows(self) -> int:
        return sum(part.rows for part in self.parts)


def render(pages: Iterable[str], target: FileTarget, columns: Sequence[Column], stem: str, workspace: Path) -> Rendering:
    """Write pages of JSON lines (as `FileState.pages` gives them) into files in `workspace`; there is always one, be it empty."""
    parts: list[Part] = []
    limit, left_out = target.max_rows_a_file, 0
    writer = _open(target, columns, workspace / _part_name(target, stem, 1))
    for page in pages:
        rows, left = audience(page, target, columns)
        left_out += left
        while rows.height:
            if limit and writer.rows == limit:
                parts.append(_closed(writer))
                writer = _open(target, columns, workspace / _part_name(target, stem, len(parts) + 1))
            some = rows.head(limit - writer.rows) if limit else rows
            writer.write(some)
            writer.rows += some.height
            rows = rows.slice(some.height)
    parts.append(_closed(writer))
    return Rendering(tuple(parts), left_out)


def audience(page: str, target: FileTarget, columns: Sequence[Column]) -> tuple[pl.DataFrame, int]:
    """A page's rows under the columns' headers, all text; and how many records were left out as nobody could be matched by them."""
    schema = {column.field or KEY: pl.String() for column in columns}
    records = pl.read_ndjson(page.encode(), schema=schema)
    rows = pl.DataFrame([_treated(records.get_column(column.field or KEY), column) for column in columns])
    if target.layout == "plain":
        return rows, 0
    matched = rows.filter(pl.any_horizontal(pl.all().is_not_null()))
    return matched, rows.height - matched.height


def _treated(values: pl.Series, column: Column) -> pl.Series:
    if column.treatment == "google_name":
        values = name_sha256(values, "google")
    elif column.treatment == "meta_name":
        values = name_sha256(values, "meta")
    elif column.treatment == "meta_place":
        values = place_sha256(values)
    elif column.treatment == "meta_zip":
        values = zip_sha256(values)
    elif column.treatment == "trimmed":
        values = values.str.strip_chars()
    return values.alias(column.header)


class _Writer(Protocol):
    path: Path
    rows: int

    def write(self, rows: pl.DataFrame) -> None: ...

    def close(self) -> None: ...


class _Lines:
    """Lines of text, plain or gzipped (without time or name, so that the same content gives the same bytes)."""

    def __init__(self, path: Path, *, is_gzipped: bool) -> None:
        self.path, self.rows = path, 0
        self._open = ExitStack()
        self._file: IO[bytes] = self._open.enter_context(path.open("wb"))
        if is_gzipped:
            packed = gzip.GzipFile(filename="", mode="wb", compresslevel=GZIP_LEVEL, fileobj=self._file, mtime=0)
            self._file = self._open.enter_context(packed)  # type: ignore[arg-type]

    def write(self, rows: pl.DataFrame) -> None:
        self.put(rows.select(self.line(rows.columns).str.join("\n")).item() + "\n")

    def put(self, text: str) -> None:
        self._file.write(text.encode())

    def line(self, names: Sequence[str]) -> pl.Expr:
        raise NotImplementedError

    def close(self) -> None:
        self._open.close()


class _Csv(_Lines):
    """RFC 4180 but for the line's end, which is a line feed; null is empty, the empty text is `""`."""

    def __init__(self, path: Path, headers: Sequence[str], *, is_gzipped: bool, escapes: bool) -> None:
        super().__init__(path, is_gzipped=is_gzipped)
        self._escapes = escapes
        self.put(",".join(headers) + "\n")

    def line(self, names: Sequence[str]) -> pl.Expr:
        # A null in an only column would be an empty line, which readers skip.
        null = '""' if len(names) == 1 else ""
        return pl.concat_str([self._cell(name).fill_null(null) for name in names], separator=",")

    def _cell(self, name: str) -> pl.Expr:
        value = pl.col(name)
        if self._escapes:
            is_formula = value.str.contains(_FORMULA) & ~value.str.contains(_NUMBER)
            value = pl.when(is_formula).then("'" + value).otherwise(value)
        quoted = pl.format('"{}"', value.str.replace_all('"', '""', literal=True))
        return pl.when(value.str.contains(_NEEDS_QUOTES)).then(quoted).otherwise(value)


class _Jsonl(_Lines):
    """A JSON object a line, of the values that are there."""

    def line(self, names: Sequence[str]) -> pl.Expr:
        return pl.concat_str(
            [pl.lit("{"), pl.concat_str([self._pair(name) for name in names], separator=",", ignore_nulls=True), pl.lit("}")]
        )

    @staticmethod
    def _pair(name: str) -> pl.Expr:
        pair = pl.struct(pl.col(name)).struct.json_encode().str.head(-1).str.slice(1)
        return pl.when(pl.col(name).is_not_null()).then(pair)


class _Parquet:
    """Parquet, every column text."""

    def __init__(self, path: Path, headers: Sequence[str]) -> None:
        self.path, self.rows = path, 0
        self._schema = pa.schema([(header, pa.string()) for header in headers])
        self._writer = pq.ParquetWriter(path, self._schema, compression="zstd")

    def write(self, rows: pl.DataFrame) -> None:
        self._writer.write_table(rows.to_arrow().cast(self._schema))

    def close(self) -> None:
        self._writer.close()


def _open(target: FileTarget, columns: Sequence[Column], path: Path) -> _Writer:
    headers, is_gzipped = [column.header for column in columns], target.compression == "gzip"
    if target.format == "parquet":
        return _Parquet(path, headers)
    if target.format == "jsonl":
        return _Jsonl(path, is_gzipped=is_gzipped)
    return _Csv(path, headers, is_gzipped=is_gzipped, escapes=target.escape_formulas and target.layout == "plain")


def _closed(writer: _Writer) -> Part:
    writer.close()
    return Part(file=writer.path.name, rows=writer.rows, bytes=writer.path.stat().st_size, sha256=digest_of(writer.path))


def _part_name(target: FileTarget, stem: str, number: int) -> str:
    return f"{stem}-{number:04d}{target.ending}" if target.max_rows_a_file else f"{stem}{target.ending}"
