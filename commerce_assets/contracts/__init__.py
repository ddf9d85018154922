"""THE registry of records: one pandera (polars) model a table, with descriptions, ids, money, time and country.

Belongs here: what a record must look like, and the named rules it must keep. Knows nobody; reads and writes nothing.
"""

from commerce_assets.contracts.base import LAKE_COLUMNS, ColumnSpec, Contract, TableContract
from commerce_assets.contracts.registry import TABLES, family, table

__all__ = ["LAKE_COLUMNS", "TABLES", "ColumnSpec", "Contract", "TableContract", "family", "table"]
