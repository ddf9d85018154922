"""Column lineage read from compiled SQL."""

from pathlib import Path

from commerce_assets.warehouse import lineage
from commerce_assets.warehouse.lineage import LineageCache, column_lineage, lake_columns

COLUMNS = {
    ("staging", "orders"): ("order_id", "total_amount", "tax_amount"),
    ("marts", "dim_customer"): ("customer_id", "order_id", "country_code"),
}
SQL = """
with orders as (select * from "build"."staging"."orders" where order_id in (select order_id from orders__changed))
select orders.order_id, total_amount - tax_amount as net_amount, country_code, 1 as one
from orders left join "build"."marts"."dim_customer" as customers on customers.order_id = orders.order_id
"""


def test_a_column_names_the_columns_of_its_direct_parents() -> None:
    assert column_lineage(SQL, COLUMNS) == {
        "order_id": [("staging", "orders", "order_id")],
        "net_amount": [("staging", "orders", "tax_amount"), ("staging", "orders", "total_amount")],
        "country_code": [("marts", "dim_customer", "country_code")],
        "one": [],
    }


def test_a_file_of_the_lake_is_the_table_it_belongs_to() -> None:
    sql = "select order_id as id, _version_at from read_parquet('/lake/raw/storefront/orders/**/*.parquet', hive_partitioning = true)"
    assert column_lineage(sql, lake_columns()) == {
        "id": [("storefront", "orders", "order_id")],
        "_version_at": [("storefront", "orders", "_version_at")],
    }


def test_what_cannot_be_read_has_no_lineage() -> None:
    assert column_lineage("select from where", COLUMNS) == {}


def test_lineage_is_read_once_a_text(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    cache = LineageCache(tmp_path / "lineage.json")
    first = cache.of(SQL, COLUMNS)
    cache.save()
    monkeypatch.setattr(lineage, "column_lineage", lambda sql, columns: {"read": "again"})
    again = LineageCache(tmp_path / "lineage.json")
    assert {column: [tuple(origin) for origin in origins] for column, origins in again.of(SQL, COLUMNS).items()} == first
    assert again.of(SQL + " ", COLUMNS) == {"read": "again"}
