"""What this installation publishes, and where: the publisher as the settings and the dbt manifest have it, for Dagster and the command line alike."""

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from commerce_assets.config import Settings
from commerce_assets.warehouse.connection import WAIT_SECONDS
from commerce_assets.warehouse.dbt import DbtFiles
from commerce_assets.warehouse.masking import Masking, installation_key, marks_of_manifest
from commerce_assets.warehouse.publish import ACTIVATION_SCHEMA, FIGURES_SCHEMA, PUBLISHED_SCHEMAS, Published, Publisher

_log = logging.getLogger(__name__)
_SQL = Path(__file__).parent / "sql"


@dataclass(frozen=True)
class RolledBack:
    """What a rollback did."""

    version: str
    path: Path

    def as_dict(self) -> dict[str, Any]:
        return {name: str(value) for name, value in asdict(self).items()}


def publish_warehouse(
    settings: Settings,
    *,
    run_id: str = "manual",
    extras: Mapping[str, pl.DataFrame | Path] | None = None,
    wait_seconds: float = WAIT_SECONDS,
    say: Callable[[str], None] = _log.info,
) -> Published:
    """Publish the build with the lake's scores and load summaries beside it, and `extras`. Every mart that dbt knows must be there."""
    manifest = DbtFiles.of(settings).manifest()
    beside = {**lake_extras(settings.lake_root), **(extras or {})}
    return publisher_of(settings, manifest, wait_seconds=wait_seconds, say=say).publish(
        run_id, required=published_models(manifest), extras=beside
    )


def rollback_warehouse(settings: Settings, to: str | None = None) -> RolledBack:
    """Put an older published version back in place: the one before the current, or `to`."""
    manifest = DbtFiles.of(settings).manifest()
    return RolledBack(publisher_of(settings, manifest).rollback(to), settings.published_path)


def publisher_of(
    settings: Settings, manifest: Mapping[str, Any], *, wait_seconds: float = WAIT_SECONDS, say: Callable[[str], None] = _log.info
) -> Publisher:
    """The publisher of this installation, masking what dbt's yml and the contracts mark as personal."""
    personal, harmless = marks_of_manifest(manifest)
    masking = Masking(installation_key(settings.warehouse_root / "restricted"), personal, harmless)
    return Publisher(
        settings.build_path,
        settings.published_path,
        settings.restricted_path,
        masking,
        keep=settings.published_versions_kept,
        wait_seconds=wait_seconds,
        say=say,
    )


def published_models(manifest: Mapping[str, Any]) -> tuple[str, ...]:
    """`schema.table` of every dbt model that a publish must hold: all that BI sees but the figures about the platform itself and its pushes, which hold nothing back."""
    models = (node for node in manifest.get("nodes", {}).values() if node.get("resource_type") == "model")
    required = set(PUBLISHED_SCHEMAS) - {FIGURES_SCHEMA, ACTIVATION_SCHEMA}
    return tuple(sorted(f"{node['schema']}.{node.get('alias') or node['name']}" for node in models if node["schema"] in required))


def lake_extras(lake_root: Path) -> dict[str, pl.DataFrame | Path]:
    """What BI sees of the lake itself: every score, what each load read, accepted and rejected, and why rows are in quarantine."""
    extras: dict[str, pl.DataFrame | Path] = {}
    for folder in sorted((lake_root / "scores").glob("*")):
        if any(folder.glob("*.parquet")):
            extras[f"scores.{folder.name}"] = folder / "*.parquet"
    reports = [json.loads(path.read_text()) for path in sorted((lake_root / "loads").glob("*.json"))]
    if reports:
        with duckdb.connect() as connection:
            connection.register("reports", pl.DataFrame({"report": [json.dumps(report) for report in reports]}).to_arrow())
            extras["observability.loads"] = connection.execute((_SQL / "loads.sql").read_text()).pl()
            extras["quarantine.rejected_by_rule"] = connection.execute((_SQL / "rejected_by_rule.sql").read_text()).pl()
    return extras
