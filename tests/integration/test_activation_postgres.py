"""The ledger on PostgreSQL: the same push, the same tables, and one push at a time."""

from collections.abc import Iterator

import polars as pl
import pytest
from activation_fakes import FakeShop
from postgres_server import running_postgres
from shipped_syncs import MAPPING, SYNC, push_customer_scores

from commerce_assets.activation.destinations.shopify import ShopifyCustomers
from commerce_assets.activation.errors import SyncBusyError
from commerce_assets.activation.ledger import Ledger, ledger_frames
from commerce_assets.activation.pauses import resume
from commerce_assets.activation.resync import resync
from commerce_assets.activation.undo import undo


@pytest.fixture(scope="module")
def postgres_url() -> Iterator[str]:
    with running_postgres() as url:
        yield url


def scores(*, lapsed: frozenset[int] = frozenset()) -> pl.DataFrame:
    numbers = list(range(1, 301))
    lifecycles = ["lapsed" if number in lapsed else "active" for number in numbers]
    return pl.DataFrame(
        {
            "customer_gid": [f"gid://shopify/Customer/{number}" for number in numbers],
            "rfm_segment": "loyal",
            "lifecycle": lifecycles,
            "is_vip": False,
            "monetary_value_amount": pl.Series([100] * 300).cast(pl.Decimal(18, 4)),
            "vip_tier": "gold",
            "churn_risk": "low",
            "predicted_value_amount": pl.Series([50] * 300).cast(pl.Decimal(18, 4)),
            "next_order_expected_on": pl.Series(["2026-12-04"] * 300).str.to_date(),
            "as_of_on": pl.Series(["2026-11-21"] * 300).str.to_date(),
            "lifecycle_tags": [[f"lifecycle:{lifecycle}"] for lifecycle in lifecycles],
        }
    )


def test_push_change_and_repeat(postgres_url: str) -> None:
    shop = FakeShop(f"gid://shopify/Customer/{number}" for number in range(1, 301))
    first = push_customer_scores(scores(), shop, postgres_url)
    assert (first.creates, first.succeeded) == (300, 300)
    second = push_customer_scores(scores(lapsed=frozenset({5, 7})), shop, postgres_url)
    assert (second.updates, second.succeeded, second.unchanged) == (2, 2, 298)
    mutations = shop.mutations
    assert push_customer_scores(scores(lapsed=frozenset({5, 7})), shop, postgres_url).planned == 0
    assert shop.mutations == mutations
    frames = ledger_frames(postgres_url)
    assert frames["activation_runs"]["succeeded_count"].to_list() == [300, 2, 0]
    assert frames["activation_changes"]["outcome"].unique().to_list() == ["succeeded"]
    assert frames["activation_changes"].schema["resolved_at"] == pl.Datetime("us", "UTC")


def test_a_ledger_of_the_old_schema_goes_on_and_undoes(postgres_url: str) -> None:
    shop = FakeShop(f"gid://shopify/Customer/{number}" for number in range(1, 301))
    push_customer_scores(scores(lapsed=frozenset({5, 7})), shop, postgres_url)
    with Ledger(postgres_url) as ledger, ledger.engine.begin() as connection:
        for table, column in (("changes", "prior_fields"), ("changes", "written_fields"), ("runs", "kind"), ("runs", "of_run")):
            connection.exec_driver_sql(f"alter table activation_{table} drop column {column}")
        connection.exec_driver_sql("drop table activation_pauses")
    with Ledger(postgres_url) as ledger:
        resync(SYNC, ledger, ShopifyCustomers(shop, MAPPING), also=list(shop.customers))
    before = shop.state()
    wrong = push_customer_scores(scores(lapsed=frozenset(range(1, 41))), shop, postgres_url)
    assert wrong.run_id
    with Ledger(postgres_url) as ledger:
        undone = undo(SYNC, wrong.run_id, ledger, ShopifyCustomers(shop, MAPPING))
        assert (undone.succeeded, undone.changed_since) == (wrong.succeeded, 0)
        assert resume(ledger, SYNC)
    assert shop.state() == before


def test_one_push_at_a_time(postgres_url: str) -> None:
    with (
        Ledger(postgres_url) as one,
        Ledger(postgres_url) as other,
        one.exclusive(SYNC),
        pytest.raises(SyncBusyError),
        other.exclusive(SYNC),
    ):
        raise AssertionError("both hold the sync")
    with Ledger(postgres_url) as other, other.exclusive(SYNC):
        pass
