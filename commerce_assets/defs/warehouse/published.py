"""The published warehouse: what BI opens, put in place only when every blocking check behind it is green."""

from collections.abc import Sequence

import dagster as dg

from commerce_assets.config import load_settings
from commerce_assets.defs import automation
from commerce_assets.defs.gates import Gate
from commerce_assets.defs.names import DATA_PLATFORM, WAREHOUSE_POOL, tags

KEY = dg.AssetKey(["warehouse", "published"])


def published_warehouse(upstream: Sequence[dg.AssetKey], gate: Gate) -> dg.AssetsDefinition:
    """Write, audit, publish, after the marts, figures and scores in `upstream`."""

    @dg.asset(
        key=KEY,
        deps=upstream,
        description=(
            "`commerce.duckdb`, the file BI tools open read-only: marts, scores, activation and load figures, figures of the platform itself (`ops`), people's data masked. "
            "Copied, audited and put in place by rename; the unmasked copy lies in `restricted/`. Earlier versions stay for `commerce publish --rollback`."
        ),
        group_name="published",
        owners=[DATA_PLATFORM],
        tags=tags(1, "orders", False),
        kinds={"duckdb"},
        pool=WAREHOUSE_POOL,
        automation_condition=automation.when_upstream_changed(),
    )
    def published(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        from commerce_assets.warehouse import publish_warehouse

        gate.refuse_when_shut(context.instance, "publish")
        settings = load_settings()
        done = publish_warehouse(settings, run_id=context.run_id, say=context.log.info)
        return dg.MaterializeResult(
            metadata={
                "version": done.version,
                "dagster/row_count": sum(done.tables.values()),
                "rows_by_table": dg.MetadataValue.json(done.tables),
                "masked_columns": dg.MetadataValue.json({name: list(columns) for name, columns in done.masked_columns.items()}),
                "bytes": done.size_bytes,
                "seconds": round(done.seconds, 3),
                "file": done.path.name,
            }
        )

    return published
