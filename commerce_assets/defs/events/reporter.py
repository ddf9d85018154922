"""What the worker did, told to Dagster without a run: materialisations and check evaluations of `storefront/<family>`.

One materialisation a family and call, whatever number of micro-batches it covers: each is a row in Dagster's storage for ever, and a
shop with ten batches a second would fill it. The metadata name the first and the last batch.

Families that are partitioned by day are reported without a partition: a micro-batch holds documents of any day, and it does not
make a day complete. Declarative automation does not see such a materialisation; `sensor.py` asks for what is behind it.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg

from commerce_assets.defs.dagster_home import open_instance
from commerce_assets.defs.events.checks import LandedEvents, check_result, family_key
from commerce_assets.events.ports import Report

SHOWN_PARTITIONS = 20


class DagsterReporter:
    """`events.ports.Reporter` on one Dagster instance; thread-safe as far as Dagster's storage is.

    Give it the instance, or the folder of one (`settings.dagster_home_path`), which is opened at the first report: a worker starts
    without waiting for Dagster. A storage that cannot be written raises what Dagster raises; the worker keeps its reports and tries again.
    """

    def __init__(self, instance: dg.DagsterInstance | None = None, home: Path | None = None) -> None:
        if (instance is None) == (home is None):
            raise ValueError("DagsterReporter takes an instance or the folder of one")
        self._instance = instance
        self._home = home

    def report(self, reports: Sequence[Report]) -> None:
        """One materialisation and one check evaluation a family. The same report may come twice; its second row changes nothing."""
        instance = self._opened()
        for family, of_family in _by_family(reports):
            landed = _landed(of_family)
            instance.report_runless_asset_event(_materialization(family, of_family, landed))
            result = check_result(family, landed)
            instance.report_runless_asset_event(
                dg.AssetCheckEvaluation(
                    asset_key=family_key(family),
                    check_name=str(result.check_name),
                    passed=result.passed,
                    metadata=result.metadata,
                    severity=result.severity,
                    description=result.description,
                )
            )

    def close(self) -> None:
        """Let go of an instance that was opened here."""
        if self._home is not None and self._instance is not None:
            self._instance.dispose()
            self._instance = None

    def _opened(self) -> dg.DagsterInstance:
        if self._instance is None:
            assert self._home is not None
            self._instance = open_instance(self._home)
        return self._instance


def _by_family(reports: Iterable[Report]) -> Iterator[tuple[str, list[Report]]]:
    """Families in the order of their first report, each with its reports oldest first."""
    found: dict[str, list[Report]] = {}
    for report in reports:
        found.setdefault(report.family, []).append(report)
    for family, of_family in found.items():
        yield family, sorted(of_family, key=lambda report: (report.finished_at, report.batch_id))


def _landed(reports: Sequence[Report]) -> LandedEvents:
    events: Counter[str] = Counter()
    for report in reports:
        events.update(report.events)
    return LandedEvents(
        sum(report.rows for report in reports),
        sum(report.quarantined for report in reports),
        dict(events),
        len({r.batch_id for r in reports}),
    )


def _materialization(family: str, reports: Sequence[Report], landed: LandedEvents) -> dg.AssetMaterialization:
    partitions = sorted({name for report in reports for name in report.partitions})
    metadata: Mapping[str, Any] = {
        "way": "events",
        "rows": landed.rows,
        "quarantined": landed.quarantined,
        "events": dg.MetadataValue.json(dict(sorted(landed.events.items()))),
        "batches": landed.batches,
        "first_batch": reports[0].batch_id,
        "last_batch": reports[-1].batch_id,
        "lake_partitions": dg.MetadataValue.json(partitions[:SHOWN_PARTITIONS]),
        "finished_at": dg.MetadataValue.timestamp(reports[-1].finished_at),
    }
    return dg.AssetMaterialization(asset_key=family_key(family), metadata=metadata)
