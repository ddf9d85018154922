"""A real retailer's year (UCI Online Retail, 541,909 lines) through the whole chain: the published warehouse adds up to the file, to the penny.

Classes and how they are found again: docs/decisions/010-online-retail-classes.md.
"""

import json
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from pipeline_runs import serving
from support import commerce, shared_path

FILE_TOTAL = Decimal("9747747.93")
PENNY = Decimal("0.01")


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.xdist_group("online-retail")
def test_published_sales_refunds_credits_and_rejections_add_up_to_the_file(tmp_path: Path) -> None:
    file = shared_path("datasets/online_retail_2010_2011.parquet")
    lines = pl.scan_parquet(file)
    store = tmp_path / "store"
    # Moved to now: of sixteen years, fifteen have no orders, and each of their days is a partition.
    loaded = json.loads(commerce("sandbox", "load", "--transactions", str(file), "--recent", "--store", str(store), "--json").stdout)
    start = date(2010, 12, 1) + timedelta(days=loaded["shifted_days"])
    assert loaded["shifted_days"] > 365

    # What is pushed is not the point here: no sync has all its scores.
    with serving(tmp_path, store, settings={"COMMERCE_ORDERS_START_ON": start.isoformat(), "COMMERCE_SCORES": "customer_rfm"}) as shop:
        summary = shop.summary()
        assert summary["exit_code"] == 0, summary["progress"][-4000:]
        orders = {
            kind: (count, total, refunded)
            for kind, count, total, refunded in shop.query(
                "select order_kind, count(*), sum(total_amount), sum(refunded_amount) from marts.fct_order group by 1"
            )
        }
        by_source = dict(shop.query("select source_name, count(*) from marts.fct_order group by 1"))
        quarantined = shop.quarantined_rows()

    rejected = sum((Decimal(row["total_amount"]) for table, row in quarantined if table == "orders"), Decimal(0))
    _, sales, refunds = orders["sale"]
    _, credits, _ = orders["credit"]
    total = sales - refunds - credits + rejected

    assert lines.select(pl.len()).collect().item() == 541_909
    assert total.quantize(PENNY) == FILE_TOTAL, {"sales": sales, "refunds": refunds, "credits": credits, "rejected": rejected}
    assert by_source == {"sale": 19_959, "zero_price": 766, "adjustment": 1, "credit": 1_176}
    assert sum(1 for table, _ in quarantined if table == "orders") == 2
    assert sum(classified["rows"] for classified in loaded["classes"].values()) == 541_909
