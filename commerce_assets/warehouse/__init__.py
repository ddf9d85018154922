"""The DuckDB files: how they are opened, how dbt is told of them, and how a build becomes what BI reads.

Belongs here: connections that always close, the dbt manifest, masking, write-audit-publish and rollback.
Does not belong here: what the tables hold (`dbt_project/`), when things run (`defs/`). Knows contracts and config only.
"""

from commerce_assets.warehouse.connection import WarehouseBusyError, WarehouseError, WarehouseMissingError, reading, writing
from commerce_assets.warehouse.masking import Masking
from commerce_assets.warehouse.publish import Published, Publisher, PublishError
from commerce_assets.warehouse.published import publish_warehouse, rollback_warehouse

__all__ = [
    "Masking",
    "PublishError",
    "Published",
    "Publisher",
    "WarehouseBusyError",
    "WarehouseError",
    "WarehouseMissingError",
    "publish_warehouse",
    "reading",
    "rollback_warehouse",
    "writing",
]
