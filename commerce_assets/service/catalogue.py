"""Which inventory item a variant or SKU names, and what it sold for: read from the lake for the books of stock."""

from collections.abc import Iterator
from importlib.resources import files

import duckdb

from commerce_assets.events.stock.ports import Item
from commerce_assets.lake import Lake

ROWS_AT_ONCE = 10_000


class LakeCatalogue:
    """`events.stock.ports.Catalogue` over the lake's variants and order lines. Revenue is in the shop's currency."""

    def __init__(self, lake: Lake) -> None:
        self.lake = lake

    def items(self) -> Iterator[Item]:
        """All items that are known."""
        with self.lake.reading(), duckdb.connect() as connection:
            for table in ("variants", "order_lines"):
                relation = connection.read_parquet(self.lake.raw_glob(table), union_by_name=True, hive_partitioning=True)
                relation.create_view(table)
            rows = connection.sql((files("commerce_assets.service") / "sql" / "catalogue.sql").read_text(encoding="utf-8"))
            while some := rows.fetchmany(ROWS_AT_ONCE):
                for item_id, variant_id, sku, is_tracked, revenue in some:
                    yield Item(item_id, variant_id, sku, bool(is_tracked), revenue)
