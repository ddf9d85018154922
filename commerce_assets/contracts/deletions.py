"""What events told of deletions. Belongs here: that. Does not belong here: what a sweep still found (inventory.py, `SweptIds`)."""

import polars as pl

from commerce_assets.contracts.base import INSTANT, Contract, field


class DeletedIds(Contract):
    """One row an order, customer or product that the storefront said was deleted, the moment it happened."""

    object_type: pl.String = field("order, customer or product.", isin=["order", "customer", "product"])
    object_id: pl.Int64 = field("Numeric id.", gt=0)
    deleted_at: INSTANT = field("When it was deleted, as the event has it.")
