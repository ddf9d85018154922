"""A real retailer's year (UCI Online Retail): recommendations beat popularity, by a split that is stated, and keep the rules at size."""

from datetime import UTC, date, datetime, timedelta
from functools import cache

import polars as pl
import pytest
from support import shared_path

from commerce_assets.scoring.receipts import Bounds, Scored, gate_figures, judge
from commerce_assets.scoring.recommendations import recommend_products

pytestmark = pytest.mark.xdist_group("recommendations_online_retail")
"""On one worker: elsewhere the year would be scored once more."""
AS_OF = date(2011, 12, 9)
SCORED_AT = datetime(2026, 11, 21, 12, tzinfo=UTC)
GOODS = r"^[0-9]{5}"


def lines_and_products() -> tuple[pl.DataFrame, pl.DataFrame]:
    """Stock codes that begin with five digits are goods (postage, fees, samples are not); every tenth product is out of stock."""
    rows = pl.read_parquet(shared_path("datasets/online_retail_2010_2011.parquet")).select(
        order_id="InvoiceNo",
        customer_id=pl.col("CustomerID").cast(pl.Int64),
        code=pl.col("StockCode").str.to_uppercase(),
        ordered_on=pl.col("InvoiceDate").dt.date(),
        unit_count=pl.col("Quantity").cast(pl.Int64),
    )
    codes = rows.select("code").filter(pl.col("code").str.contains(GOODS)).unique().sort("code").with_row_index("product_id", offset=1)
    products = codes.with_columns(
        pl.col("product_id").cast(pl.Int64),
        status=pl.lit("active"),
        is_deleted=pl.lit(False),
        available_count=pl.when(pl.col("product_id") % 10 == 0).then(0).otherwise(5),
        product_type=pl.col("code").str.head(3),
        title="code",
    )
    return rows.join(products.select("code", "product_id"), on="code", how="left"), products


@cache
def scored() -> Scored:
    lines, products = lines_and_products()
    return recommend_products(lines, products, AS_OF, scored_at=SCORED_AT)


def means(metric: str, model: str) -> tuple[float, float]:
    folds = scored().tables["backtest"].filter(metric=metric, model=model)
    return folds.select(pl.col("value").mean(), pl.col("baseline_value").mean()).row(0)


def test_item_item_beats_popularity_in_every_fold_and_the_score_is_accepted() -> None:
    result = scored()
    gates = result.tables["backtest"].filter("is_gate").sort("metric", "fold")
    cutoffs = gates["cutoff_on"].unique().sort().to_list()
    assert cutoffs == [AS_OF - timedelta(days=days) for days in (90, 60, 30)]
    assert (gates["value"] > gates["baseline_value"]).all()
    assert set(gate_figures(result.receipt.backtest)) == {"recall_at_10", "recall_at_10_new"}
    assert judge(result.receipt, result.rows, None, Bounds(max_input_age=None), SCORED_AT).is_accepted


@pytest.mark.parametrize(
    ("metric", "model", "at_least", "popularity"),
    [
        ("recall_at_10", "item_item", 0.160, 0.0428),
        ("recall_at_10_new", "item_item", 0.050, 0.0289),
        ("basket_hit_rate", "item_item", 0.70, 0.63),
        ("catalogue_coverage", "item_item", 0.25, 0.0027),
    ],
)
def test_quality_stays_what_it_is(metric: str, model: str, at_least: float, popularity: float) -> None:
    value, baseline = means(metric, model)
    print(f"{metric}: {model} {value:.4f}, popularity {baseline:.4f}")
    assert value >= at_least
    assert baseline == pytest.approx(popularity, rel=0.02)


def test_lists_keep_the_rules_at_size() -> None:
    rows, customers = scored().rows, scored().tables["customers"]
    assert rows.height > 40_000
    assert rows["rank"].is_between(1, 8).all()
    assert (rows["product_id"] != rows["recommended_product_id"]).all()
    assert (rows["recommended_product_id"] % 10 != 0).all(), "every tenth product is out of stock"
    assert (customers["product_id"] % 10 != 0).all()
    assert not rows.select("product_id", "kind", "recommended_product_id").is_duplicated().any()
    assert not customers.select("customer_id", "product_id").is_duplicated().any()
    assert (rows["reasons"].list.len() > 0).all()
    assert (customers["reasons"].list.len() > 0).all()
    assert rows.select(pl.col("score").is_nan().any()).item() is False


def test_every_line_is_used_or_counted() -> None:
    receipt = scored().receipt
    used = lines_and_products()[0].height - sum(receipt.excluded.values())
    assert receipt.inputs["lines"].rows == 541_909
    assert used == 518_383, receipt.excluded


def test_the_same_lines_in_another_order_give_the_same_lists() -> None:
    lines, products = lines_and_products()
    quarter = lines.filter(pl.col("ordered_on") <= date(2011, 3, 31))
    one = recommend_products(quarter, products, AS_OF, scored_at=SCORED_AT)
    other = recommend_products(quarter.sample(fraction=1.0, shuffle=True, seed=5), products.reverse(), AS_OF, scored_at=SCORED_AT)
    assert other.rows.equals(one.rows)
    assert other.tables["customers"].equals(one.tables["customers"])
    assert other.receipt.to_json() == one.receipt.to_json()
