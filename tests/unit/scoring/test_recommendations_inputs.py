"""What recommendations take from lines and catalogue, and by which reasons the rest is left out."""

from datetime import timedelta

import polars as pl
import pytest
from recommendation_shops import AS_OF, catalogue_of, lines_of, scored

from commerce_assets.scoring import ScoringError
from commerce_assets.scoring.recommendations.inputs import read_purchases


def test_every_line_is_used_or_left_out_for_one_reason() -> None:
    good = lines_of((1, 5, [1, 2]), (None, 4, [1]))
    bad = {
        "line_without_order_id": {"order_id": None},
        "line_without_product_id": {"product_id": None},
        "line_without_date": {"ordered_on": None},
        "line_after_as_of": {"ordered_on": AS_OF + timedelta(days=1)},
        "line_without_units": {"unit_count": 0},
        "line_of_unknown_product": {"product_id": 99},
        "line_of_gift_card": {"product_id": 3},
        "line_repeats_product_of_order": {},
    }
    rows = [good, *(good.head(1).with_columns(**{name: pl.lit(value) for name, value in change.items()}) for change in bad.values())]
    lines = pl.concat(rows, how="vertical_relaxed")
    flagged = lines.with_columns(is_returned_whole=pl.lit(False), is_cancelled=pl.lit(False), is_test=pl.lit(False))
    for order, flag in enumerate(("is_returned_whole", "is_cancelled", "is_test"), start=50):
        more = flagged.head(1).with_columns(order_id=pl.lit(order, pl.Int64), **{flag: pl.lit(True)})
        flagged = pl.concat([flagged, more])

    read = read_purchases(flagged, catalogue_of(3, {3: {"is_gift_card": True}}), AS_OF)

    assert read.excluded == {**dict.fromkeys(bad, 1), "line_returned_whole": 1, "line_cancelled": 1, "line_test": 1}
    assert read.lines.height + sum(read.excluded.values()) == flagged.height
    assert read.lines.select("order_id", "product").rows() == [(1, 0), (1, 1), (2, 0)]


def test_units_that_are_no_number_do_not_pass_for_many() -> None:
    lines = lines_of((1, 5, [1])).with_columns(unit_count=pl.lit(float("nan")))
    assert read_purchases(lines, catalogue_of(1), AS_OF).excluded == {"line_without_units": 1}


def test_a_product_that_comes_twice_is_taken_at_its_worst() -> None:
    products = pl.concat([catalogue_of(2), catalogue_of(1, {1: {"status": "archived"}}), catalogue_of(1).with_columns(product_id=None)])
    read = read_purchases(lines_of((1, 5, [1])), products, AS_OF)
    assert read.excluded == {"product_without_id": 1, "product_repeated": 1}
    assert read.catalogue.select("product_id", "is_listed", "is_sellable").rows() == [(1, False, False), (2, True, True)]


@pytest.mark.parametrize(
    ("change", "is_listed", "is_sellable"),
    [
        ({}, True, True),
        ({"available_count": None}, True, True),
        ({"available_count": 0}, True, False),
        ({"available_count": -2}, True, False),
        ({"status": "ACTIVE"}, True, True),
        ({"status": "archived"}, False, False),
        ({"status": "draft"}, False, False),
        ({"status": None}, False, False),
        ({"is_deleted": True}, False, False),
        ({"is_gift_card": True}, False, False),
        ({"product_type": "Gift Card"}, False, False),
    ],
)
def test_what_has_a_page_and_what_may_be_recommended(change: dict[str, object], is_listed: bool, is_sellable: bool) -> None:
    catalogue = read_purchases(lines_of(), catalogue_of(1, {1: change}), AS_OF).catalogue
    assert catalogue.select("is_listed", "is_sellable").rows() == [(is_listed, is_sellable)]


def test_a_missing_or_mistyped_column_is_named() -> None:
    lines, products = lines_of((1, 5, [1])), catalogue_of(1)
    with pytest.raises(ScoringError, match="lines lack product_id"):
        scored(lines.drop("product_id"), products)
    with pytest.raises(ScoringError, match="customer_id is String, not BIGINT"):
        scored(lines.with_columns(pl.col("customer_id").cast(pl.String)), products)
    with pytest.raises(ScoringError, match="ordered_on is String"):
        scored(lines.with_columns(pl.col("ordered_on").cast(pl.String)), products)
    with pytest.raises(ScoringError, match="unit_count is String"):
        scored(lines.with_columns(pl.col("unit_count").cast(pl.String)), products)
    with pytest.raises(ScoringError, match="products lack available_count"):
        scored(lines, products.drop("available_count"))
    with pytest.raises(ScoringError, match="available_count is String"):
        scored(lines, products.with_columns(pl.col("available_count").cast(pl.String)))
