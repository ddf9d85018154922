"""Who is treated and who is held out, key by key, for syncs that measure their effect.

A key is assigned when the sync first wants to write it, and never again: a hash of salt and key decides, so that the arms are alike in
everything but the treatment. Keys that the sync had written before it had a holdout are `before`: they go on being written, and are in
neither arm, since leaving only the treated ones of them in would make the arms unlike.
"""

from datetime import UTC, datetime

import polars as pl
import sqlalchemy as sa

from commerce_assets.activation.ledger import Ledger
from commerce_assets.activation.records import Holdout, Sync
from commerce_assets.activation.sampling import positions
from commerce_assets.activation.tables import ARMS

TREATED, HELD_OUT, BEFORE = "treated", "holdout", "before"
ROWS_A_STEP = 20_000


def arms_of(
    ledger: Ledger, sync: Sync, holdout: Holdout, keys: pl.Series, known: pl.Series, assigned: pl.DataFrame | None = None
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """`record_key`, `arm` of every key assigned before or now; and those assigned now alone, which `assign` writes down.

    `known`: keys that the ledger holds already. `assigned`: what an earlier call of the same plan answered.
    """
    earlier = _earlier(ledger, sync) if assigned is None else assigned
    new_keys = pl.DataFrame({"record_key": keys.drop_nulls().unique()}).join(earlier, on="record_key", how="anti").sort("record_key")
    arm = pl.when(pl.lit(positions(new_keys["record_key"], f"holdout:{holdout.salt}")) < holdout.share).then(pl.lit(HELD_OUT))
    written = pl.col("record_key").is_in(known.implode())
    new = new_keys.with_columns(arm=pl.when(written).then(pl.lit(BEFORE)).otherwise(arm.otherwise(pl.lit(TREATED))))
    return pl.concat([earlier, new]), new


def _earlier(ledger: Ledger, sync: Sync) -> pl.DataFrame:
    query = sa.select(ARMS.c.record_key, ARMS.c.arm).where(ARMS.c.destination == sync.destination, ARMS.c.sync == sync.name)
    with ledger.engine.connect() as connection:
        rows = connection.execute(query).all()
    return pl.DataFrame([tuple(row) for row in rows], schema={"record_key": pl.String, "arm": pl.String}, orient="row")


def assign(ledger: Ledger, sync: Sync, new: pl.DataFrame) -> None:
    """Write new assignments down; durable when this returns."""
    now = datetime.now(UTC)
    constant = {"destination": sync.destination, "sync": sync.name, "assigned_at": now}
    constant |= {"holdout_share": sync.holdout.share if sync.holdout else None}
    with ledger.engine.begin() as connection:
        for some in new.iter_slices(ROWS_A_STEP):
            connection.execute(ARMS.insert(), [{**constant, "record_key": key, "arm": arm} for key, arm in some.iter_rows()])
