"""Replay: documents with refused rows are landed once more, from their raw lines, after a fix of contract, mapping or data.

Belongs here: finding every line of those documents. Does not belong here: landing itself (landing.py), whose rules hold unchanged.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pyarrow as pa

from commerce_assets.contracts.mapping import FamilyMapping
from commerce_assets.lake.errors import LakeError
from commerce_assets.lake.landing import reland
from commerce_assets.lake.lines import read_chunks
from commerce_assets.lake.quarantine import Retried, quarantine_rows
from commerce_assets.lake.report import EVENTS, LoadReport
from commerce_assets.lake.store import Lake

_GID = r"gid:(?:\\?/){2}shopify(?:\\?/)([A-Za-z0-9]+)(?:\\?/)(\d+)"
_ID = rf'"id"\s*:\s*"{_GID}'
_PARENT = rf'"__parentId"\s*:\s*"{_GID}'
PAYLOADS = "payloads"
"""How the names of files begin that hold what events brought, not what a pull did."""


@dataclass(frozen=True)
class Replayed:
    """What a replay did: rows that were refused and tried again, and those of them that still are."""

    tried: int
    still_refused: int
    reports: tuple[LoadReport, ...]

    @property
    def resolved(self) -> int:
        return self.tried - self.still_refused


def replay(
    lake: Lake,
    mapping: FamilyMapping,
    table: str | None = None,
    load_id: str | None = None,
    rule: str | None = None,
    root_id: int | None = None,
    payloads: FamilyMapping | None = None,
) -> Replayed:
    """Land again the documents of the refused rows that the filters choose; whole documents, so that totals can be judged.

    `payloads` is how the family's events read: loads whose files are named `payloads*.jsonl` are theirs.

    What is accepted now joins its partition and leaves the quarantine; what is refused again stays, once, under its load. Running it
    again changes nothing. A document of which the lake holds a newer version is not put in its place. Counts of stock that events
    brought are left alone; the day's next pull replaces them.
    """
    chosen = quarantine_rows(lake, mapping.family, table, load_id, rule, root_id, unmasked=True)
    if mapping.family in SNAPSHOT_FAMILIES:
        # An event counts for the moment it was landed: later it would pass for a newer count.
        chosen = chosen.filter(~pl.col("partition_key").str.starts_with(EVENTS).fill_null(False))
    reports = []
    tried = still = 0
    is_snapshot = mapping.family in SNAPSHOT_FAMILIES
    groups = chosen.group_by(
        "load_id", "partition_key" if is_snapshot else pl.lit(None, pl.String).alias("partition_key"), maintain_order=True
    )
    for (load, partition), rows in groups:
        files = sorted((lake.files_root / mapping.source / mapping.family / str(load)).glob("*.jsonl"))
        if not files:
            raise LakeError(f"the raw files of load {load} are gone; fetch its days again instead of replaying it")
        mapping_of_load = payloads if payloads is not None and files[0].name.startswith(PAYLOADS) else mapping
        wanted = _document_lines(lake, mapping_of_load, files, rows)
        retried = Retried(frozenset((name, line) for name, lines in wanted.items() for line in lines), str(rows["scope"][0] or ""))
        name = f"replay-{datetime.now(UTC):%Y%m%dT%H%M%S%f}"
        home = str(partition) if is_snapshot and partition else "all" if mapping.family in MERGED_FAMILIES else None
        report = reland(
            lake, mapping_of_load, [file for file in files if _name(lake, file) in wanted], name, home, _keeper(lake, wanted), retried
        )
        reports.append(report)
        tried += rows.height
        still += quarantine_rows(lake, mapping.family, table, str(load), rule, root_id, unmasked=True).height
    return Replayed(tried, min(still, tried), tuple(reports))


SNAPSHOT_FAMILIES = frozenset({"inventory", "locations", "ids"})
"""Families whose documents go back to the partition they came for, not to one told by their version."""
MERGED_FAMILIES = frozenset({"customers", "products"})
"""Families that live in one partition, `all`."""


def _name(lake: Lake, file: Path) -> str:
    return file.relative_to(lake.files_root).as_posix()


def _keeper(lake: Lake, wanted: dict[str, set[int]]) -> Callable[[Path, pa.Table], pa.Table]:
    def keep(file: Path, lines: pa.Table) -> pa.Table:
        numbers = wanted.get(_name(lake, file), set())
        return lines.filter(pl.Series(pl.from_arrow(lines["_line"])).is_in(list(numbers)).to_arrow())

    return keep


def _document_lines(lake: Lake, mapping: FamilyMapping, files: Sequence[Path], rows: pl.DataFrame) -> dict[str, set[int]]:
    """File -> the lines of every document that has one of the refused rows, and the refused lines that belong to no document."""
    wanted: dict[str, set[int]] = {}
    for name, line in rows.select("_source_file", "_line").iter_rows():
        wanted.setdefault(name, set()).add(line)
    roots = pl.Series(sorted(set(rows["root_id"].drop_nulls())), dtype=pl.Int64)
    owned: set[str] = set()
    for is_owned in (False, True):
        # What a document owns is told by its root line, so lines of the owned (drained ones) are looked for in a second pass.
        if is_owned and not owned:
            break
        for chunk in read_chunks(files):
            text = pl.Series(pl.from_arrow(chunk.lines["text"]))
            parent = text.str.extract_groups(_PARENT)
            own = text.str.extract_groups(_ID)
            told = pl.DataFrame(
                {
                    "_line": pl.Series(pl.from_arrow(chunk.lines["_line"])),
                    "kind": pl.select(pl.coalesce(parent.struct.field("1"), own.struct.field("1"))).to_series(),
                    "number": pl.select(
                        pl.coalesce(parent.struct.field("2"), own.struct.field("2")).cast(pl.Int64, strict=False)
                    ).to_series(),
                    "is_child": parent.struct.field("1").is_not_null(),
                    "text": text,
                }
            )
            if is_owned:
                mine = told.filter(pl.format("{}/{}", "kind", "number").is_in(list(owned)) & pl.col("is_child"))
            else:
                mine = told.filter(pl.col("kind").is_in(list(mapping.root_shape.kinds)) & pl.col("number").is_in(roots.implode()))
                for line in mine.filter(~pl.col("is_child"))["text"] if mapping.owned else ():
                    owned |= {f"{kind}/{number}" for kind, number in re.findall(_GID, line) if kind in ("Refund", "Fulfillment")}
            wanted.setdefault(_name(lake, chunk.file), set()).update(mine["_line"].to_list())
    return {name: lines for name, lines in wanted.items() if lines}
