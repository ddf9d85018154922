"""One registry: what Dagster shows of a table is what its contract says."""

import pytest

from commerce_assets.contracts import LAKE_COLUMNS, TABLES, TableContract, family
from commerce_assets.defs.names import FAMILIES
from commerce_assets.defs.schemas import family_metadata, table_schema, type_name


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_column_schema_agrees_with_the_contract(table: TableContract) -> None:
    columns = {column.name: column for column in table_schema(table).columns}
    assert list(columns) == [*table.schema, *LAKE_COLUMNS]
    for expected in table.columns:
        shown = columns[expected.name]
        assert shown.type == type_name(expected.dtype)
        assert shown.description == expected.description
        assert shown.constraints.nullable == expected.nullable
        assert ("pii" in shown.tags) == expected.pii


def test_every_family_of_the_registry_is_an_asset_and_shows_every_table() -> None:
    assert set(FAMILIES) == {table.family for table in TABLES}
    for name in FAMILIES:
        metadata = family_metadata(name)
        assert metadata["dagster/column_schema"] == table_schema(family(name)[0])
        if len(family(name)) > 1:
            assert {key for key in metadata if key.endswith("/columns")} == {f"{table.name}/columns" for table in family(name)}


def test_families_that_hold_personal_columns_say_so() -> None:
    holding = {table.family for table in TABLES if any(column.pii for column in table.columns)}
    assert holding <= {name for name, described in FAMILIES.items() if described.has_pii}
