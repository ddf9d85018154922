"""The rows that hold in a lake, and how they differ from those of a pull: one meaning whichever way a record came."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
from support import RunningSandbox

from commerce_assets.contracts import family
from commerce_assets.contracts.base import TableContract
from commerce_assets.lake import Lake, ReplaceDays, land
from commerce_assets.sources.shopify.auth import auth_for
from commerce_assets.sources.shopify.client import ShopifyClient
from commerce_assets.sources.shopify.mapping import MAPPINGS
from commerce_assets.sources.shopify.streams import fetch_orders

NOT_IN_PAYLOADS = {
    "fulfillments": {"in_transit_at", "delivered_at"},
    "fulfillment_lines": {"fulfillment_line_id"},
    "refunds": {"updated_at"},
    "orders": {"company_name"},
}
"""What sources/shopify/webhook_mapping.py says that payloads cannot say."""


def pull_orders(sandbox: RunningSandbox, folder: Path) -> Lake:
    """A lake of its own with the orders changed yesterday and today, by a pull."""
    lake = Lake(folder)
    lake.ensure()
    today = datetime.now(UTC).date()
    start = today - timedelta(days=1)
    with ShopifyClient(sandbox.url, "2026-10", auth_for(sandbox.url, access_token=sandbox.token, state_dir=folder)) as client:
        fetched = fetch_orders(client, lake.new_load_dir("storefront", "orders", "pull"), start, today)
    land(lake, "orders", MAPPINGS["orders"], fetched.files, "pull", ReplaceDays(start, today))
    return lake


def differing_orders(left: Lake, right: Lake) -> dict[str, list[tuple[object, ...]]]:
    """Table -> up to ten rows that only one of the lakes holds, of the orders that the left one holds."""
    found: dict[str, list[tuple[object, ...]]] = {}
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        for contract in family("orders"):
            for name, lake in (("l", left), ("r", right)):
                connection.execute(f"create or replace view {name} as {holding(lake, contract)}")
            columns = ", ".join(column for column in contract.schema if column not in NOT_IN_PAYLOADS.get(contract.name, ()))
            orders = f"select order_id from ({holding(left, family('orders')[0])})"
            query = f"""
                (select 'left', {columns} from l except all select 'left', {columns} from r)
                union all
                (select 'right', {columns} from r where order_id in ({orders}) except all select 'right', {columns} from l)
                limit 10
            """
            rows = connection.execute(query).fetchall()
            if rows:
                found[contract.name] = rows
    return found


def holding(lake: Lake, contract: TableContract) -> str:
    """SQL of the rows that hold: those of the newest version of their order, as staging takes them."""
    root = family("orders")[0]
    read = "read_parquet('{}', union_by_name = true, hive_partitioning = true)"
    rows, roots = read.format(lake.raw_glob(contract)), read.format(lake.raw_glob(root))
    newest = f"select order_id, max(_version_at) as _version_at, arg_max(_loaded_at, (_version_at, _loaded_at)) as _loaded_at from {roots} group by 1"
    keys = ", ".join(f"rows.{key}" for key in contract.key)
    if contract.name == "orders":
        return f"select rows.* from {rows} as rows inner join ({newest}) as newest using (order_id, _version_at, _loaded_at)"
    return f"""
        select rows.* from {rows} as rows inner join ({newest}) as newest using (order_id, _version_at)
        qualify rows._loaded_at = max(rows._loaded_at) over (partition by {keys})
    """
