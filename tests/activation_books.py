"""An activation ledger that tests write as runs would, for what observes it."""

from typing import Any

import polars as pl
import sqlalchemy as sa
from observed_events import NOW

from commerce_assets.activation import tables
from commerce_assets.activation.ledger import Ledger
from commerce_assets.config import Settings
from commerce_assets.observability.activation_log import read

OF_SYNC = {"destination": "shopify", "sync": "customer_scores"}
SECRET = "lapsed-since-spring"
"""The value that every change writes: no copy may hold it."""


def gid(number: int) -> str:
    return f"gid://shopify/Customer/{number}"


class Books:
    """The ledger of an installation, and its copies."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        with Ledger(settings.ops_url) as ledger:
            self.engine = ledger.engine

    def write(self, table: sa.Table, *rows: dict[str, Any]) -> None:
        with self.engine.begin() as connection:
            connection.execute(table.insert(), [{**OF_SYNC, **row} for row in rows])

    def run(self, run_id: str, status: str = "succeeded", **values: Any) -> None:
        self.write(tables.RUNS, {"run_id": run_id, "status": status, "started_at": NOW, **values})

    def change(self, run_id: str, number: int, outcome: str | None = "succeeded") -> None:
        row = {"run_id": run_id, "record_key": gid(number), "operation": "update", "changed_fields": "segment,tags", "attempt": 1}
        values = {"prior_fields": "{}", "written_fields": f'{{"segment":"{SECRET}"}}', "idempotency_key": f"{run_id}-{number}"}
        self.write(tables.CHANGES, {**row, **values, "intended_at": NOW, "outcome": outcome})

    def copied(self, name: str) -> pl.DataFrame:
        return read(self.settings.lake_root, name)
