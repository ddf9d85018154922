"""RFM segments, lifecycle and value flags of every customer who bought."""

from datetime import UTC, date, datetime
from pathlib import Path

import dagster as dg

from commerce_assets.config import load_settings
from commerce_assets.defs import automation
from commerce_assets.defs.names import ANALYTICS, tags
from commerce_assets.defs.resources import LakeFolder, Warehouse
from commerce_assets.defs.schemas import frame_schema
from commerce_assets.scoring import RFM_COLUMNS, RFM_SCHEMA

KEY = dg.AssetKey(["scores", "customer_rfm"])
ORDERS_MART = dg.AssetKey(["warehouse", "marts", "fct_order"])


class RfmConfig(dg.Config):
    """What to score."""

    as_of_on: str | None = None
    """The day (YYYY-MM-DD, UTC) the scores describe; default today."""


@dg.asset(
    key=KEY,
    deps=[ORDERS_MART],
    description=(
        "One row a customer with at least one sale: recency, frequency and monetary scores, named segment, lifecycle "
        "(new, active, at risk, lapsed), VIP and high-value-lapsed flags, as of a day."
    ),
    group_name="scores",
    owners=[ANALYTICS],
    tags=tags(2, "customers", False),
    kinds={"polars", "parquet"},
    metadata={"dagster/column_schema": frame_schema(RFM_SCHEMA, RFM_COLUMNS)},
    automation_condition=automation.when_upstream_changed(),
)
def customer_rfm(context: dg.AssetExecutionContext, config: RfmConfig, warehouse: Warehouse, lake: LakeFolder) -> dg.MaterializeResult:
    """Marts to scores."""
    from commerce_assets.scoring import RfmSettings, score_customers

    with warehouse.reading() as connection:
        orders = connection.execute((Path(__file__).parent / "orders_to_score.sql").read_text()).pl()
    now = datetime.now(UTC)
    as_of = date.fromisoformat(config.as_of_on) if config.as_of_on else now.date()
    settings = RfmSettings(lapsed_after_days=load_settings().lapsed_after_days)
    scores, receipt = score_customers(orders, as_of, scored_at=now, settings=settings)
    lake.open().write_scores("customer_rfm", scores)
    context.log.info(f"{receipt.scored_customers:,} customers scored as of {as_of} from {receipt.used_orders:,} sales")
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": scores.height,
            "as_of_on": as_of.isoformat(),
            "used_orders": receipt.used_orders,
            "vip_customers": receipt.vip_customers,
            "high_value_lapsed_customers": receipt.high_value_lapsed_customers,
            "segments": dg.MetadataValue.json(dict(receipt.segments)),
            "lifecycles": dg.MetadataValue.json(dict(receipt.lifecycles)),
            "receipt": dg.MetadataValue.json(receipt.as_metadata()),
        }
    )
