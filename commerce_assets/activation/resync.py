"""Believing the destination instead of the ledger: what every record of a sync holds is read back, batch by batch.

A push after it sets right what others changed, and takes away what the model no longer wants, also where the ledger had been lost.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import polars as pl

from commerce_assets.activation.engine import Progress, Run
from commerce_assets.activation.fingerprint import GONE
from commerce_assets.activation.ledger import Ledger
from commerce_assets.activation.records import Destination, Fields, Sync

BATCH_ROWS = 500


@dataclass(frozen=True)
class ResyncReport:
    """What reading back found. Counts only."""

    run_id: str
    destination: str
    sync: str
    read: int
    differing: int
    """Held something else than the ledger believed."""
    gone: int
    requests: int


def resync(
    sync: Sync,
    ledger: Ledger,
    destination: Destination,
    *,
    also: Collection[str] = (),
    requested_by: str | None = None,
    progress: Progress | None = None,
) -> ResyncReport:
    """Read back every record that the ledger knows, and those of `also`; writes nothing outside.

    `also` is for syncs whose fields are theirs alone: what is found there is taken for written by the sync.
    """
    with ledger.exclusive(sync):
        run = Run(sync, ledger, destination, requested_by, progress)
        ledger.start_run(sync, run.run_id, requested_by, kind="resync")
        found = _Found()
        try:
            run.resolve(ledger.open_intents(sync))
            known = ledger.fingerprints(sync).filter(pl.col("fingerprint") != GONE)["record_key"]
            _read_all(run, sorted({*known, *also}), found)
        except BaseException as error:
            run.finish("interrupted", {"desired": found.read}, error)
            raise
        run.finish("succeeded", {"desired": found.read, "unchanged": found.read - found.differing - found.gone, "skipped": found.gone})
    return ResyncReport(run.run_id, sync.destination, sync.name, found.read, found.differing, found.gone, destination.meter.requests)


@dataclass
class _Found:
    read: int = 0
    differing: int = 0
    gone: int = 0


def _read_all(run: Run, keys: list[str], found: _Found) -> None:
    sync, ledger = run.sync, run.ledger
    for start in range(0, len(keys), BATCH_ROWS):
        some = keys[start : start + BATCH_ROWS]
        believed = ledger.fields(sync, some)
        held = list(run.destination.read(some))
        ledger.learn(sync, run.run_id, held)
        found.read += len(held)
        found.gone += sum(fields is None for _, fields in held)
        found.differing += sum(1 for key, fields in _present(held) if _differs(sync, believed.get(key, {}), fields))
        if run.progress:
            run.progress(found.read, len(keys))


def _present(held: list[tuple[str, Fields | None]]) -> Iterator[tuple[str, Fields]]:
    yield from ((key, fields) for key, fields in held if fields is not None)


def _differs(sync: Sync, believed: Fields, held: Fields) -> bool:
    return any(believed.get(name) != held.get(name) for name in sync.fields)
