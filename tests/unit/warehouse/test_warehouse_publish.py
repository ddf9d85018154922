"""Write, audit, publish: masking, row counts, rollback, and what a refused publish leaves."""

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import duckdb
import polars as pl
import pytest

from commerce_assets.warehouse import Masking, Publisher, PublishError, WarehouseMissingError, reading, writing
from commerce_assets.warehouse.masking import contract_pii_names, installation_key, marks_of_manifest


def build(path: Path, customers: int = 3) -> None:
    with writing(path) as connection:
        connection.execute("CREATE SCHEMA IF NOT EXISTS marts; CREATE SCHEMA IF NOT EXISTS staging")
        connection.execute("CREATE OR REPLACE TABLE staging.stg_secret AS SELECT 1 AS x")
        connection.execute(
            "CREATE OR REPLACE TABLE marts.dim_customer AS SELECT i AS customer_id, 'Person' || i AS first_name, ' P' || i || '@Example.com ' AS email,"
            " '+4470' || i AS phone, 'SW1A 1AA' AS postal_code, ['vip'] AS tags, DATE '1990-01-01' + i::INT AS birth_on, 12.5::DECIMAL(18,4) AS spent_amount"
            f" FROM range({customers}) t(i)"
        )
        connection.execute("COMMENT ON TABLE marts.dim_customer IS 'One row a customer; it''s masked.'")
        connection.execute("COMMENT ON COLUMN marts.dim_customer.email IS 'E-mail.'")
        connection.execute("CREATE OR REPLACE TABLE marts.dim_location AS SELECT 1 AS location_id, 'Leeds' AS city")
        connection.execute("CREATE OR REPLACE VIEW marts.customer_count AS SELECT count(*) AS n FROM marts.dim_customer")


def publisher(folder: Path, **options: object) -> Publisher:
    masking = Masking(
        key="k",
        personal={"marts.dim_customer": frozenset({"birth_on"})},
        harmless={"marts.dim_location": frozenset({"city"})},
    )
    return Publisher(
        folder / "build.duckdb",
        folder / "commerce.duckdb",
        folder / "restricted" / "commerce_restricted.duckdb",
        **{"masking": masking, "wait_seconds": 5.0, **options},  # type: ignore[arg-type]
    )


def rows(path: Path, sql: str) -> list[tuple[object, ...]]:
    with reading(path, wait_seconds=5) as connection:
        return connection.execute(sql).fetchall()


def test_publish_copies_bi_schemas_with_their_rows_and_leaves_staging_behind(tmp_path: Path) -> None:
    build(tmp_path / "build.duckdb")
    published = publisher(tmp_path).publish("run-1", required=["marts.dim_customer"])
    assert published.tables == {"marts.customer_count": 1, "marts.dim_customer": 3, "marts.dim_location": 1}
    tables = rows(tmp_path / "commerce.duckdb", "SELECT schema_name || '.' || table_name FROM duckdb_tables() ORDER BY 1")
    assert [name for (name,) in tables] == [
        "main.published",
        "main.publishes",
        "marts.customer_count",
        "marts.dim_customer",
        "marts.dim_location",
    ]
    noted = rows(tmp_path / "commerce.duckdb", "SELECT version, run_id, row_count FROM published WHERE table_name = 'marts.dim_customer'")
    assert noted == [(published.version, "run-1", 3)]
    comments = rows(tmp_path / "commerce.duckdb", "SELECT comment FROM duckdb_tables() WHERE table_name = 'dim_customer'")
    assert comments == [("One row a customer; it's masked.",)]


def test_personal_columns_are_masked_by_kind_in_the_published_file_only(tmp_path: Path) -> None:
    build(tmp_path / "build.duckdb")
    published = publisher(tmp_path).publish("run-1")
    assert published.masked_columns == {"marts.dim_customer": ("birth_on", "email", "first_name", "phone", "postal_code")}
    (masked,) = rows(tmp_path / "commerce.duckdb", "SELECT * FROM marts.dim_customer WHERE customer_id = 1")
    customer_id, first_name, email, phone, postal_code, tags, birth_on, spent = masked
    assert (customer_id, first_name, postal_code, tags, birth_on, spent) == (1, "***", "SW***", ["vip"], None, Decimal("12.5"))
    assert str(email).startswith("p_")
    assert str(phone).startswith("p_")
    assert rows(tmp_path / "commerce.duckdb", "SELECT city FROM marts.dim_location") == [("Leeds",)]
    (plain,) = rows(
        tmp_path / "restricted" / "commerce_restricted.duckdb",
        "SELECT first_name, trim(email) FROM marts.dim_customer WHERE customer_id = 1",
    )
    assert plain == ("Person1", "P1@Example.com")


def test_pseudonyms_are_equal_for_equal_people_and_differ_by_installation() -> None:
    first, second = Masking(key="one"), Masking(key="two")
    sql = "SELECT {0} FROM (SELECT ' A@b.com' AS email) UNION ALL SELECT {0} FROM (SELECT 'a@B.com ' AS email)"
    here = duckdb.sql(sql.format(first.expression("email", "VARCHAR"))).fetchall()
    there = duckdb.sql(sql.format(second.expression("email", "VARCHAR"))).fetchall()
    assert here[0] == here[1]
    assert here[0] != there[0]


def test_every_personal_contract_column_is_masked_wherever_it_turns_up_unless_cleared() -> None:
    masking = Masking(key="k", harmless={"marts.dim_location": frozenset({"city"})})
    assert "email" in contract_pii_names()
    assert masking.columns("marts.anything", ["order_id", *contract_pii_names()]) == contract_pii_names()
    assert masking.columns("marts.dim_location", ["city"]) == frozenset()


def test_marks_come_from_either_place_dbt_keeps_meta() -> None:
    columns = {"email": {"meta": {"pii": True}}, "city": {"config": {"meta": {"pii": False}}}, "id": {}}
    manifest = {"nodes": {"model.x.dim": {"resource_type": "model", "schema": "marts", "name": "dim", "columns": columns}}}
    personal, harmless = marks_of_manifest(manifest)
    assert (personal["marts.dim"], harmless["marts.dim"]) == (frozenset({"email"}), frozenset({"city"}))


def test_installation_key_is_made_once_and_is_private(tmp_path: Path) -> None:
    key = installation_key(tmp_path)
    assert installation_key(tmp_path) == key
    assert len(key) == 64
    assert (tmp_path / "masking.key").stat().st_mode & 0o077 == 0
    assert key not in repr(Masking(key=key))


def test_extras_are_published_beside_the_build(tmp_path: Path) -> None:
    build(tmp_path / "build.duckdb")
    scores = pl.DataFrame({"customer_id": [1, 2], "rfm_segment": ["a", "b"]})
    scores.write_parquet(tmp_path / "scores.parquet")
    summary = pl.DataFrame({"table_name": ["orders"], "read_count": [5], "at": [datetime(2026, 1, 1, tzinfo=UTC)]})
    published = publisher(tmp_path).publish("r", extras={"scores.customer_rfm": tmp_path / "scores.parquet", "quarantine.summary": summary})
    assert published.tables["scores.customer_rfm"] == 2
    assert rows(tmp_path / "commerce.duckdb", "SELECT read_count FROM quarantine.summary") == [(5,)]


def test_a_missing_required_table_refuses_and_keeps_what_was_published(tmp_path: Path) -> None:
    build(tmp_path / "build.duckdb")
    first = publisher(tmp_path).publish("r")
    with pytest.raises(PublishError, match=r"lacks marts\.fct_order"):
        publisher(tmp_path).publish("r2", required=["marts.fct_order"])
    assert publisher(tmp_path).current() == first.version


def test_a_copy_that_differs_from_the_build_is_not_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build(tmp_path / "build.duckdb")
    first = publisher(tmp_path).publish("r")
    honest = Publisher._copy

    def losing_a_row(self: Publisher, connection: duckdb.DuckDBPyConnection, tables: list, path: Path, *, masked: bool) -> dict[str, int]:
        counts = honest(self, connection, tables, path, masked=masked)
        with duckdb.connect(str(path)) as copy:
            copy.execute("DELETE FROM marts.dim_customer WHERE customer_id = 0")
        return counts

    monkeypatch.setattr(Publisher, "_copy", losing_a_row)
    with pytest.raises(PublishError, match=r"dim_customer has 2 rows, the build 3"):
        publisher(tmp_path).publish("r2")
    assert publisher(tmp_path).current() == first.version


def test_a_mask_that_leaks_is_found_by_the_audit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build(tmp_path / "build.duckdb")
    monkeypatch.setattr(Masking, "expression", lambda self, name, dtype: f'"{name}"')
    with pytest.raises(PublishError, match=r"email holds 3 unmasked values"):
        publisher(tmp_path).publish("r")
    assert not (tmp_path / "commerce.duckdb").exists()


def test_nothing_to_publish_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(WarehouseMissingError, match="run dbt first"):
        publisher(tmp_path).publish("r")
    with writing(tmp_path / "build.duckdb") as connection:
        connection.execute("CREATE TABLE t AS SELECT 1 AS x")
    with pytest.raises(PublishError, match="holds none of the schemas"):
        publisher(tmp_path).publish("r")


def test_rollback_puts_the_previous_version_back_in_both_files(tmp_path: Path) -> None:
    it = publisher(tmp_path, keep=2)
    versions = []
    for customers in (1, 2, 3):
        build(tmp_path / "build.duckdb", customers)
        versions.append(it.publish(f"r{customers}").version)
    assert it.versions() == versions[1:]
    assert it.rollback() == versions[1]
    assert rows(tmp_path / "commerce.duckdb", "SELECT count(*) FROM marts.dim_customer") == [(2,)]
    assert rows(tmp_path / "restricted" / "commerce_restricted.duckdb", "SELECT count(*) FROM marts.dim_customer") == [(2,)]
    with pytest.raises(PublishError, match="no version older"):
        it.rollback()
    assert it.rollback(versions[2]) == versions[2]
    with pytest.raises(PublishError, match="is not kept"):
        it.rollback(versions[0])


def test_a_reader_keeps_its_whole_while_a_new_version_is_put_in_place(tmp_path: Path) -> None:
    build(tmp_path / "build.duckdb", 3)
    publisher(tmp_path).publish("r1")
    held = (tmp_path / "commerce.duckdb").open("rb")
    before = held.read()
    build(tmp_path / "build.duckdb", 50)
    publisher(tmp_path).publish("r2")
    held.seek(0)
    assert held.read() == before
    held.close()
    assert rows(tmp_path / "commerce.duckdb", "SELECT count(*) FROM marts.dim_customer") == [(50,)]


def test_the_published_file_remembers_every_publish_before_it(tmp_path: Path) -> None:
    build(tmp_path / "build.duckdb")
    versions = [publisher(tmp_path, keep=1).publish(f"run-{number}").version for number in range(3)]
    assert rows(tmp_path / "commerce.duckdb", "SELECT version, run_id FROM publishes ORDER BY version") == [
        (version, f"run-{number}") for number, version in enumerate(versions)
    ]
    restricted = rows(tmp_path / "restricted" / "commerce_restricted.duckdb", "SELECT version FROM publishes ORDER BY version")
    assert restricted == [(version,) for version in versions]


def test_the_copy_says_of_the_orders_it_is_the_first_to_show_that_it_published_them(tmp_path: Path) -> None:
    build(tmp_path / "build.duckdb")
    before = datetime(2026, 11, 21, tzinfo=UTC)
    with writing(tmp_path / "build.duckdb") as connection:
        connection.execute(
            "CREATE SCHEMA ops; CREATE TABLE ops.order_trace (order_id BIGINT, in_marts_at TIMESTAMP, published_version VARCHAR, published_at TIMESTAMP)"
        )
        connection.execute(
            "INSERT INTO ops.order_trace VALUES (1, now(), 'older', ?), (2, now(), NULL, NULL), (3, NULL, NULL, NULL)", [before]
        )
    version = publisher(tmp_path).publish("run-1").version
    found = rows(tmp_path / "commerce.duckdb", "SELECT order_id, published_version FROM ops.order_trace ORDER BY 1")
    assert found == [(1, "older"), (2, version), (3, None)]
