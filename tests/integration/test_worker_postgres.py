"""The worker with its books and its inbox on PostgreSQL: the same outcomes, one worker at a time, and coming back after dying."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from event_fakes import QUICK, Killed, Office, moment, order_body, transaction_body
from postgres_server import running_postgres

from commerce_assets.events import books, deadletters
from commerce_assets.events.database import open_engine

pytestmark = pytest.mark.xdist_group("events-worker")


@pytest.fixture(scope="module")
def postgres_url() -> Iterator[str]:
    with running_postgres() as url:
        yield url


def test_events_come_to_the_same_states_on_postgres(postgres_url: str, tmp_path: Path) -> None:
    office = Office(tmp_path, QUICK, postgres_url)
    office.shop.put("Order", 3, 20, transactions=[30])
    office.shop.put("Customer", 5, 20)
    created = office.send("orders/create", order_body(1, 10), second=10)
    paid = office.send("order_transactions/create", transaction_body(1, 7, 10), second=10)
    old = office.send("orders/updated", order_body(1, 5), second=5)
    part = office.send("order_transactions/create", transaction_body(3, 30, 20), second=20)
    notice = office.send("customers/update", {"id": 5, "updated_at": moment(20)}, second=20)
    gone = office.send("orders/delete", {"id": 9}, second=20)
    bad = office.send("orders/create", b"{")
    fact = office.send("wms/stock", {"key": "k"})
    duty = office.send("shop/redact", {"shop_id": 1})

    def die(family: str, rows: list[object]) -> None:
        raise Killed

    office.lake.hook = die
    with pytest.raises(Killed):
        office.drain()
    office.lake.hook = lambda family, rows: None
    office.restart()
    office.drain()
    applied = dict.fromkeys((created, paid, part, notice, gone, fact, duty), "applied")
    assert office.states() == {**applied, old: "superseded", bad: "dead"}
    assert office.lake.order(1) == {"version": moment(10), "transactions": [7], "refunds": []}
    assert office.lake.order(3) == {"version": moment(20), "transactions": [30], "refunds": []}
    assert deadletters.replay(office.engine, deadletters.Filter(reason="malformed"), "ann") == 1
    office.drain()
    assert office.states()[bad] == "dead"
    assert office.worker.reconciler.run() == 0
    assert {report.family for report in office.reporter.reports} == {"orders", "customers", "deletions"}
    office.close()


def test_one_worker_at_a_time(postgres_url: str, tmp_path: Path) -> None:
    office, other = Office(tmp_path, QUICK, postgres_url), open_engine(postgres_url)
    with books.exclusive(other), pytest.raises(books.WorkerBusyError):
        office.drain()
    office.drain(timeout_seconds=1)
    other.dispose()
    office.close()
