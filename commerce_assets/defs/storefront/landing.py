"""What every family does alike: pull into the lake's raw files, land, report, check."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from commerce_assets.contracts import family
from commerce_assets.defs.checks import contract_check_results, refused_load
from commerce_assets.defs.resources import LakeFolder, Storefront

if TYPE_CHECKING:
    from commerce_assets.lake import Lake, LoadReport
    from commerce_assets.sources.shopify.client import ShopifyClient
    from commerce_assets.sources.shopify.streams import Fetched

Pull = Callable[["ShopifyClient", Path], "Fetched"]
"""Reads a family (or a part of it) into a folder."""

SAMPLED_ROWS = 60


def pull_and_land(
    context: dg.AssetExecutionContext, family_name: str, lake: "Lake", storefront: Storefront, folder: LakeFolder, pull: Pull, mode: Any
) -> Iterator[Any]:
    """Pull a family, land it, and yield its materialisation and the results of its contract checks."""
    from commerce_assets.lake import LoadError
    from commerce_assets.sources.shopify.errors import LASTING

    load_id = new_load_id(family_name, context.run_id)
    destination = lake.new_load_dir("storefront", family_name, load_id)
    try:
        with storefront.client() as client:
            fetched = pull(client, destination)
    except LASTING as error:
        raise dg.Failure(f"{family_name}: {error}", allow_retries=False) from error
    for warning in fetched.warnings:
        context.log.warning(warning)
    try:
        report = land_fetched(lake, family_name, fetched, load_id, mode, folder.max_reject_rate)
    except LoadError as error:
        yield refused_load(context.asset_key, family_name, str(error))
        raise dg.Failure(f"{family_name}: {error}", allow_retries=False) from error
    except Exception as error:  # the same bytes would fail in the same way: only the pull is worth repeating
        raise dg.Failure(
            f"{family_name}: landing failed ({type(error).__name__}: {error}); nothing was replaced", allow_retries=False
        ) from error
    context.log.info(f"{family_name}: {report.lines:,} lines landed in {report.seconds:.1f} s")
    yield dg.MaterializeResult(metadata={**report_metadata(family_name, report), **fetch_metadata(fetched)})
    yield from check_results(context.asset_key, family_name, report, lake, folder.max_reject_rate)


def land_fetched(lake: "Lake", family_name: str, fetched: "Fetched", load_id: str, mode: Any, max_reject_rate: float) -> "LoadReport":
    """Land what was fetched. `_loaded_at` is when the reading began: what the shop did later, the next pull or sweep sees."""
    from commerce_assets.lake import Declared, land
    from commerce_assets.sources.shopify.mapping import MAPPINGS

    return land(
        lake,
        family_name,
        MAPPINGS[family_name],
        list(fetched.files),
        load_id=load_id,
        mode=mode,
        declared=Declared(objects=fetched.declared_objects, roots=fetched.declared_roots),
        loaded_at=fetched.started_at,
        max_reject_rate=max_reject_rate,
    )


def new_load_id(family_name: str, run_id: str) -> str:
    """Sortable by time, traceable to the run."""
    return f"{datetime.now(UTC).strftime('%Y%m%dT%H%M%S%fZ')}-{family_name}-{run_id[:8]}"


def report_metadata(family_name: str, report: "LoadReport") -> dict[str, Any]:
    """Counts of a load, in all and by table. Small, because Dagster keeps it once for every partition of the load."""
    names = ("read", "accepted", "quarantined", "duplicates")
    rows = [[contract.name, *(f"{getattr(report.tables[contract.name], name):,}" for name in names)] for contract in family(family_name)]
    table = "\n".join(f"| {' | '.join(row)} |" for row in [["table", *names], ["---", *["---:"] * len(names)], *rows])
    return {
        "dagster/row_count": report.accepted,
        **{name: getattr(report, name) for name in names},
        "by_table": dg.MetadataValue.md(table),
        "lines": report.lines,
        "broken_lines": report.broken_lines,
        "bytes": report.bytes,
        "landing_seconds": report.seconds,
        "load_id": report.load_id,
        "partitions_written": len(report.partitions),
    }


def fetch_metadata(fetched: "Fetched") -> dict[str, Any]:
    """What the pull cost, and which API version answered."""
    return {
        "api_version": fetched.api_version or "unknown",
        "requests": fetched.requests,
        "query_cost": fetched.cost,
        "pull_seconds": round(fetched.seconds, 3),
        "reading_began_at": dg.MetadataValue.timestamp(fetched.started_at),
    }


def check_results(
    key: dg.AssetKey, family_name: str, report: "LoadReport", lake: "Lake", max_reject_rate: float
) -> Iterator[dg.AssetCheckResult]:
    """The contract checks of a load, with a few places to look where rows were rejected."""
    rejected = [name for name, counts in report.tables.items() if counts.quarantined]
    samples = {name: quarantined_rows(lake, name, report.load_id) for name in rejected}
    return contract_check_results(key, family_name, report.tables, samples, max_reject_rate)


def quarantined_rows(lake: "Lake", table: str, load_id: str) -> Sequence[Mapping[str, Any]]:
    """Some of the rows of a load that are in quarantine: where they are and what they broke, none of their values."""
    import polars as pl

    files = sorted((lake.root / "quarantine" / "storefront" / table / f"partition={load_id}").glob("*.parquet"))
    if not files:
        return []
    columns = ["failed_rules", "row_key", "_source_file", "_line"]
    return pl.scan_parquet(files).select(columns).head(SAMPLED_ROWS).collect().to_dicts()
