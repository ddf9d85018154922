"""Columns of a model as canonical text: one form for equal values, and a refusal where only the model can be wrong."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commerce_assets.activation.declarations import DeclaredSync
from commerce_assets.activation.errors import DesiredStateError
from commerce_assets.activation.mapping import as_records


def declared(*fields: dict[str, Any], **more: Any) -> DeclaredSync:
    return DeclaredSync.model_validate(
        {
            "name": "test",
            "description": "test",
            "model": "sync_sql__test",
            "target": {"kind": "sql", "url_env": "TEST_URL", "table": "t"},
            "key": {"column": "id"},
            "fields": fields,
            **more,
        }
    )


def text_of(kind: str, values: pl.Series) -> list[str | None]:
    rows = pl.DataFrame({"id": [str(number) for number in range(values.len())], "x": values})
    return as_records(declared({"name": "x", "type": kind}), rows)["x"].to_list()


@pytest.mark.parametrize(
    ("kind", "values", "expected"),
    [
        ("text", pl.Series(["a ", "", None]), ["a ", "", None]),
        ("text", pl.Series([1, None]), ["1", None]),
        (
            "money",
            pl.Series([Decimal("12.5000"), Decimal("0.0049"), Decimal("-3.1000"), None], dtype=pl.Decimal(18, 4)),
            ["12.5", "0", "-3.1", None],
        ),
        ("number", pl.Series([1.5, 2.0, float("nan"), float("inf"), -0.0, None]), ["1.5", "2", None, None, "0", None]),
        ("number", pl.Series([Decimal("1.50"), Decimal("100.00")], dtype=pl.Decimal(9, 2)), ["1.5", "100"]),
        ("number", pl.Series([100, 0]), ["100", "0"]),
        ("integer", pl.Series([100, None]), ["100", None]),
        ("boolean", pl.Series([True, False, None]), ["true", "false", None]),
        ("date", pl.Series([date(2026, 11, 8), None]), ["2026-11-08", None]),
        ("timestamp", pl.Series([datetime(2026, 11, 8, 9, 5), None]), ["2026-11-08T09:05:00Z", None]),
        ("timestamp", pl.Series([datetime(2026, 11, 8, 9, 5, tzinfo=UTC)]), ["2026-11-08T09:05:00Z"]),
        ("tags", pl.Series([["B", "a", "b "], [], None]), ["a,b", None, None]),
        ("tags", pl.Series(["b,A,,b", None]), ["a,b", None]),
        ("json", pl.Series(['{"a": 1}', None]), ['{"a": 1}', None]),
    ],
)
def test_each_type_has_one_form(kind: str, values: pl.Series, expected: list[str | None]) -> None:
    assert text_of(kind, values) == expected


def test_structures_become_json() -> None:
    assert text_of("json", pl.Series([{"a": 1, "b": "x"}])) == ['{"a":1,"b":"x"}']
    assert text_of("json", pl.Series([[1, 2]])) == ["[1,2]"]


@pytest.mark.parametrize(
    ("kind", "values", "says"),
    [
        ("money", pl.Series([1.5]), "money never travels as a float"),
        ("number", pl.Series(["1"]), "not a number"),
        ("integer", pl.Series([1.5]), "not a whole number"),
        ("boolean", pl.Series(["true"]), "not a boolean"),
        ("references", pl.Series(["gid://shopify/Product/1"]), "not a list of gids"),
        ("text", pl.Series([["a"]]), "declare field x as tags, references or json"),
    ],
)
def test_a_column_of_another_type_is_the_models_mistake(kind: str, values: pl.Series, says: str) -> None:
    with pytest.raises(DesiredStateError, match=says):
        text_of(kind, values)


def test_a_column_that_is_missing_is_named() -> None:
    with pytest.raises(DesiredStateError, match="sql/test: model sync_sql__test lacks x, y; correct the model"):
        as_records(declared({"name": "x"}, {"name": "why", "column": "y"}), pl.DataFrame({"id": ["1"]}))


def test_keys_that_are_none_are_null_and_rows_without_values_may_be_left_out() -> None:
    rows = pl.DataFrame({"id": ["a", " ", None, "b"], "x": ["1", "2", "3", None]})
    assert as_records(declared({"name": "x"}), rows)["record_key"].to_list() == ["a", None, None, "b"]
    pattern = declared({"name": "x"}, key={"column": "id", "pattern": "^a$"})
    assert as_records(pattern, rows)["record_key"].to_list() == ["a", None, None, None]
    assert as_records(declared({"name": "x"}, skip_empty_rows=True), rows).height == 3


def test_the_column_that_marks_the_canary_comes_along() -> None:
    rows = pl.DataFrame({"id": ["a", "b"], "x": ["1", "2"], "is_first_store": [True, None]})
    records = as_records(declared({"name": "x"}, canary={"column": "is_first_store"}), rows)
    assert records["_canary"].to_list() == [True, False]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.decimals(min_value=-(10**12), max_value=10**12, places=4), min_size=1, max_size=20))
def test_money_is_whole_cents_and_equal_for_equal_amounts(amounts: list[Decimal]) -> None:
    texts = text_of("money", pl.Series(amounts, dtype=pl.Decimal(18, 4)))
    for amount, text in zip(amounts, texts, strict=True):
        assert text is not None
        assert abs(Decimal(text) - amount) <= Decimal("0.005")
        assert Decimal(text) == Decimal(text).quantize(Decimal("0.01"))
        assert not text.endswith(".")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(), min_size=1, max_size=20))
def test_no_score_is_ever_written_as_nan_or_infinity(values: list[float]) -> None:
    for text in text_of("number", pl.Series(values, dtype=pl.Float64)):
        assert text is None or (text.replace("-", "").replace(".", "").isdigit() and "e" not in text.lower())
