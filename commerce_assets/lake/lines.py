"""Raw lines: files read in bounded chunks, each line with its number.

Belongs here: bytes -> Arrow columns of (line number, text). Does not belong here: what a line means.
"""

import mmap
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from commerce_assets.lake.errors import LakeError

CHUNK_BYTES = 32 * 2**20
LONGEST_LINE = 64 * 2**20
BATCH_ROWS = 2_048
"""Rows a record batch: DuckDB scans batches side by side."""


@dataclass(frozen=True)
class Chunk:
    """Some lines of one file. `broken` are those that are no UTF-8, as (line, bytes)."""

    file: Path
    lines: pa.Table
    broken: tuple[tuple[int, bytes], ...]
    bytes: int

    @property
    def count(self) -> int:
        return int(self.lines.num_rows) + len(self.broken)


def read_chunks(
    files: Iterable[Path], chunk_bytes: int = CHUNK_BYTES, keep: Callable[[Path, pa.Table], pa.Table] | None = None
) -> Iterator[Chunk]:
    """The non-blank lines of the files, in order, about `chunk_bytes` at a time; a longer line is a chunk of its own."""
    for file in files:
        first = 1
        for data in _blocks(file, chunk_bytes):
            chunk, newlines = _chunk(file, data, first)
            first += newlines
            if keep is not None:
                chunk = Chunk(file, keep(file, chunk.lines), chunk.broken, chunk.bytes)
            yield chunk


def read_line(file: Path, number: int) -> bytes:
    """The bytes of one line, counted from 1, without its end; `LookupError` when the file is shorter."""
    with file.open("rb") as handle:
        for current, line in enumerate(handle, start=1):
            if current == number:
                return line.rstrip(b"\r\n")
    raise LookupError(f"{file.name} has no line {number}")


def _blocks(file: Path, size: int) -> Iterator[memoryview]:
    """Blocks of about equal size that end with a line's end (but for the file's last), mapped rather than copied."""
    total = file.stat().st_size
    if total == 0:
        return
    target = -(-total // max(1, round(total / size)))
    with file.open("rb") as handle:
        start = 0
        while start < total:
            aligned = start - start % mmap.ALLOCATIONGRANULARITY
            mapped = mmap.mmap(
                handle.fileno(), min(total - aligned, start - aligned + target + LONGEST_LINE), offset=aligned, access=mmap.ACCESS_READ
            )
            end = mapped.find(b"\n", min(start - aligned + target, len(mapped)) - 1) + 1
            if end == 0 and aligned + len(mapped) < total:
                raise LakeError(
                    f"{file.name}: a line from byte {start:,} on is longer than {LONGEST_LINE:,} bytes; this is no JSON lines file"
                )
            end = end or len(mapped)
            yield memoryview(mapped)[start - aligned : end]
            start = aligned + end


def _chunk(file: Path, data: memoryview, first: int) -> tuple[Chunk, int]:
    ends = np.flatnonzero(np.frombuffer(data, dtype=np.uint8) == 10)
    newlines = len(ends)
    if data[-1] != 10:
        ends = np.append(ends, len(data))
    offsets = np.empty(len(ends) + 1, dtype=np.int64)
    offsets[0], offsets[1:] = 0, np.minimum(ends + 1, len(data))
    numbers = pa.array(np.arange(first, first + len(ends), dtype=np.int64))
    text = pa.LargeStringArray.from_buffers(len(ends), pa.py_buffer(offsets), pa.py_buffer(data))
    # Two characters at least make a JSON object; shorter lines may be blank.
    short = np.flatnonzero(np.diff(offsets) <= 3)
    broken: list[tuple[int, bytes]] = []
    drop: list[int] = [int(i) for i in short if not bytes(data[offsets[i] : offsets[i + 1]]).strip()]
    try:
        text.validate(full=True)
    except pa.ArrowInvalid:
        for i in range(len(ends)):
            line = bytes(data[offsets[i] : offsets[i + 1]])
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                broken.append((first + i, line.rstrip(b"\r\n")))
                drop.append(i)
    lines = pa.table({"_line": numbers, "text": text})
    if drop:
        keep = np.ones(len(ends), dtype=bool)
        keep[drop] = False
        lines = pa.table({"_line": pc.filter(numbers, pa.array(keep)), "text": _taken(text, keep)})
    batched = pa.Table.from_batches(lines.to_batches(max_chunksize=BATCH_ROWS), schema=lines.schema)
    return Chunk(file, batched, tuple(broken), len(data)), newlines


def _taken(text: pa.LargeStringArray, keep: np.ndarray) -> pa.LargeStringArray:
    return text.take(pa.array(np.flatnonzero(keep)))
