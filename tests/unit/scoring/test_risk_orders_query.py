"""What the query of order risk makes of transactions and tags: failures known when the order was paid, chargebacks by their tag."""

from collections.abc import Iterator
from datetime import datetime

import duckdb
import pytest

from commerce_assets.service.scores.running import query

MARTS = """
    set timezone = 'UTC';
    set variable chargeback_tags = ['chargeback'];
    create schema marts;
    create schema staging;
    create table marts.fct_order as
    select
        1::bigint as order_id, 5::bigint as customer_id, timestamp '2026-11-02 10:00:00' as processed_at,
        20::decimal(18, 4) as total_amount, 'GBP' as currency_code, 'web' as source_name, 'GB' as shipping_country_code,
        'GB' as billing_country_code, 1::bigint as unit_count, 0::decimal(18, 4) as gift_card_amount, false as is_guest, false as is_test,
        false as is_cancelled, false as is_deleted, ['gift', 'Chargeback'] as tags, 'sale' as order_kind;
    create table staging.stg_storefront__orders as
    select 1::bigint as order_id, ' Ada@Example.com ' as email, '1' as shipping_postal_code, '1' as billing_postal_code;
    create table marts.fct_transaction (
        order_id bigint, kind varchar, status varchar, is_successful boolean, created_at timestamp, processed_at timestamp
    );
"""


@pytest.fixture
def marts() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute(MARTS)
        yield connection


def failures_after(marts: duckdb.DuckDBPyConnection, *transactions: tuple[str, str, int]) -> int:
    """Failures told of an order with these transactions of (kind, status, minute after ten)."""
    for kind, status, minute in transactions:
        at = datetime(2026, 11, 2, 10, minute)
        marts.execute("insert into marts.fct_transaction values (1, ?, ?, ?, ?, ?)", [kind, status, status == "success", at, at])
    return int(marts.execute(f"select payment_failures_count from ({query('risk_orders')})").fetchall()[0][0])


@pytest.mark.parametrize(
    ("transactions", "failures"),
    [
        ([], 0),
        ([("sale", "failure", 0), ("sale", "error", 1), ("sale", "success", 1)], 2),
        ([("sale", "pending", 0), ("sale", "success", 5)], 0),
        ([("authorization", "success", 0), ("capture", "failure", 30)], 0),
        ([("sale", "success", 0), ("sale", "failure", 30)], 0),
        ([("sale", "failure", 0), ("sale", "failure", 30)], 2),
    ],
    ids=["none", "declined twice, then paid", "pending, then paid", "capture failed later", "instalment failed later", "never paid"],
)
def test_payments_count_as_failed_only_when_declined_before_the_order_was_paid(
    marts: duckdb.DuckDBPyConnection, transactions: list[tuple[str, str, int]], failures: int
) -> None:
    assert failures_after(marts, *transactions) == failures


def test_a_tag_in_any_case_says_charged_back_and_addresses_come_as_digests(marts: duckdb.DuckDBPyConnection) -> None:
    row = marts.execute(f"select is_chargeback, email_key = md5('ada@example.com') from ({query('risk_orders')})").fetchone()
    assert row == (True, True)
