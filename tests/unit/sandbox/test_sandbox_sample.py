"""The sample file that newcomers try `commerce sandbox load` on: every line is accounted for."""

from decimal import Decimal
from pathlib import Path

import polars as pl
from support import REPOSITORY

from commerce_assets.sandbox.load import load

SAMPLE = REPOSITORY / "data" / "sample_transactions.csv"


def test_the_sample_loads_and_its_classes_add_up(tmp_path: Path) -> None:
    lines = pl.read_csv(SAMPLE, schema_overrides={"InvoiceNo": pl.String, "StockCode": pl.String, "UnitPrice": pl.Decimal(10, 2)})
    total = lines.select((pl.col("Quantity") * pl.col("UnitPrice")).sum()).item()

    summary = load(tmp_path / "store", SAMPLE)

    assert summary["rows"] == lines.height
    assert sum(part["rows"] for part in summary["classes"].values()) == lines.height
    assert sum(Decimal(part["amount"]) for part in summary["classes"].values()) == total
    assert summary["orders"] == lines.filter(~pl.col("InvoiceNo").str.starts_with("C"))["InvoiceNo"].n_unique()
