"""A push to a file, a tool or a table in a process of its own, which dies by SIGKILL as it is about to note outcomes: written, and not noted.

`python killed_destination.py DECLARATION.json LEDGER_URL FOLDER [NTH]`: NTH is the number of the noting that is never done.
"""

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from commerce_assets.activation.declarations import DeclaredSync
from commerce_assets.activation.engine import PushReport, push
from commerce_assets.activation.ledger import Ledger
from commerce_assets.activation.mapping import as_records
from commerce_assets.activation.records import Destination, RowResult, Sync
from commerce_assets.activation.targets import FileTarget, HttpTarget, SqlTarget

ROWS = 700
"""More than one noting, of whatever destination."""


def wanted() -> pl.DataFrame:
    """Rows of a model."""
    number = pl.int_range(ROWS, eager=True)
    return pl.DataFrame({"id": pl.select(pl.format("c{}", number)).to_series(), "points": number, "label": ['ü,"x"'] * ROWS})


def destination_of(declared: DeclaredSync, folder: Path) -> Destination:
    """As the service opens it."""
    from commerce_assets.activation.destinations.files import FileDestination
    from commerce_assets.activation.destinations.http import HttpDestination
    from commerce_assets.activation.destinations.sql import SqlDestination

    target, sync = declared.target, declared.as_sync()
    if isinstance(target, FileTarget):
        return FileDestination(target, declared.fields, sync, root=folder, state_dir=folder / "state")
    if isinstance(target, HttpTarget):
        return HttpDestination(target, declared.fields, sync)
    assert isinstance(target, SqlTarget)
    return SqlDestination(target, declared.fields, sync, f"duckdb:///{folder / 'crm.duckdb'}")


def push_all(declared: DeclaredSync, ledger_url: str, folder: Path) -> PushReport:
    """Push every row."""
    with Ledger(ledger_url) as ledger:
        return push(declared.as_sync(), as_records(declared, wanted()), ledger, destination_of(declared, folder))


class DeadlyLedger:
    """Dies instead of noting the nth outcomes."""

    def __init__(self, nth: int) -> None:
        self.left, self.settle = nth, Ledger.settle

    def install(self) -> None:
        def settle(ledger: Ledger, sync: Sync, run_id: str, results: Sequence[tuple[str, RowResult]]) -> None:
            self.left -= bool(results)
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            self.settle(ledger, sync, run_id, results)

        Ledger.settle = settle  # type: ignore[method-assign]


def main(declaration: str, ledger_url: str, folder: str, nth: str = "0") -> None:
    DeadlyLedger(int(nth)).install()
    push_all(DeclaredSync.model_validate_json(Path(declaration).read_text()), ledger_url, Path(folder))


if __name__ == "__main__":
    main(*sys.argv[1:])
