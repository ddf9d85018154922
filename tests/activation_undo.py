"""An undo of a run of customer scores against a sandbox, in a process of its own that can be killed: `python activation_undo.py URL LEDGER_URL RUN`."""

import sys

from activation_push import client_of
from shipped_syncs import MAPPING, SYNC

from commerce_assets.activation.destinations.shopify import ShopifyAdmin, ShopifyCustomers
from commerce_assets.activation.ledger import Ledger
from commerce_assets.activation.undo import UndoReport, undo


def undo_scores(client: ShopifyAdmin, ledger_url: str, run_id: str | None) -> UndoReport:
    """Undo directly, without bulk mutations."""
    assert run_id
    with Ledger(ledger_url) as ledger:
        return undo(SYNC, run_id, ledger, ShopifyCustomers(client, MAPPING), requested_by="test")


def main(url: str, ledger_url: str, run_id: str) -> None:
    with client_of(url) as client:
        undo_scores(client, ledger_url, run_id)


if __name__ == "__main__":
    main(*sys.argv[1:])
