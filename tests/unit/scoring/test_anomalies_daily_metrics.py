"""What the query of the daily metrics makes of marts: sales before returns, channels without a name, days without a snapshot of stock."""

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from typing import Any

import duckdb
import pytest

from commerce_assets.service.scores.running import query

MARTS = """
    create schema marts;
    create table marts.fct_order (
        order_id bigint, ordered_on date, source_name varchar, currency_code varchar,
        sales_amount decimal(18, 4), net_amount decimal(18, 4), is_reportable boolean, order_kind varchar
    );
    create table marts.fct_refund (
        order_id bigint, refunded_on date, currency_code varchar, refunded_amount decimal(18, 4), is_reportable boolean, order_kind varchar
    );
    create table marts.fct_inventory_snapshot (
        inventory_item_id bigint, location_id bigint, snapshot_on date, on_hand_quantity bigint, currency_code varchar,
        unit_cost_amount decimal(18, 4), is_tracked boolean
    );
    create table marts.dim_location (location_id bigint, location_name varchar);
    insert into marts.dim_location values (1, 'store room');
"""


@pytest.fixture
def marts() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute(MARTS)
        yield connection


def metrics_of(marts: duckdb.DuckDBPyConnection, metric: str) -> list[tuple[Any, ...]]:
    """(channel, day, value, money) of one metric."""
    found = marts.execute(
        f"select channel, day_on, value, money_amount from ({query('daily_metrics')}) where metric = ? order by all", [metric]
    )
    return found.fetchall()


def test_a_return_does_not_make_the_day_of_its_sale_smaller(marts: duckdb.DuckDBPyConnection) -> None:
    sold_on, back_on = date(2026, 11, 2), date(2026, 11, 20)
    marts.execute("insert into marts.fct_order values (1, ?, 'web', 'GBP', 100, 40, true, 'sale')", [sold_on])
    marts.execute("insert into marts.fct_refund values (1, ?, 'GBP', 60, true, 'sale')", [back_on])
    assert metrics_of(marts, "revenue") == [("web", sold_on, 100.0, Decimal(100))]
    assert metrics_of(marts, "orders") == [("web", sold_on, 1.0, Decimal(100))]
    assert metrics_of(marts, "refunds") == [("web", back_on, 1.0, Decimal(60))]


def test_orders_without_a_channel_are_watched_as_one_of_unknown_name(marts: duckdb.DuckDBPyConnection) -> None:
    day = date(2026, 11, 2)
    marts.execute("insert into marts.fct_order values (1, ?, null, 'GBP', 100, 100, true, 'sale')", [day])
    marts.execute("insert into marts.fct_refund values (1, ?, 'GBP', 60, true, 'sale')", [day])
    assert [metrics_of(marts, metric)[0][0] for metric in ("orders", "revenue", "refunds")] == ["unknown"] * 3


def test_moves_over_days_without_a_snapshot_are_shared_by_them(marts: duckdb.DuckDBPyConnection) -> None:
    for day, on_hand in ((1, 100), (2, 90), (5, 60)):
        marts.execute("insert into marts.fct_inventory_snapshot values (7, 1, ?, ?, 'GBP', 2, true)", [date(2026, 11, day), on_hand])
    assert metrics_of(marts, "stock_moves") == [("store room", date(2026, 11, day), 10.0, Decimal(20)) for day in (2, 3, 4, 5)]
