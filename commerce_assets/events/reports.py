"""The outbox of reports: what micro-batches did, shown to whoever shows it, once at least.

Belongs here: sending what `event_reports` holds. Does not belong here: who shows it (behind `ports.Reporter`).
"""

import logging
from datetime import datetime, timedelta

import sqlalchemy as sa

from commerce_assets.events.books import REPORTS, as_utc, now
from commerce_assets.events.database import reading
from commerce_assets.events.desk import Desk
from commerce_assets.events.ports import Report, Reporter

_LOG = logging.getLogger(__name__)
REPORTS_AT_ONCE = 200
_FIRST_REST, _LONGEST_REST = timedelta(seconds=1), timedelta(minutes=1)


class Courier:
    """Sends open reports, oldest first; after a failure it rests, longer each time."""

    def __init__(self, desk: Desk, reporter: Reporter) -> None:
        self._desk, self._reporter = desk, reporter
        self._failures = 0
        self.rests_until: datetime | None = None

    def step(self) -> bool:
        """Send what is there, up to `REPORTS_AT_ONCE`; whether something was sent."""
        if self.rests_until is not None and now() < self.rests_until:
            return False
        open_reports = sa.select(REPORTS).where(REPORTS.c.reported_at.is_(None)).order_by(REPORTS.c.batch_id).limit(REPORTS_AT_ONCE)
        with reading(self._desk.engine) as connection:
            reports = [_report(row) for row in connection.execute(open_reports)]
        if not reports:
            return False
        ids = [report.batch_id for report in reports]
        try:
            self._reporter.report(reports)
        except Exception as error:
            # Whoever shows reports is no part of the flow of events: they stay in the outbox.
            self._failures += 1
            self.rests_until = now() + min(_LONGEST_REST, _FIRST_REST * 2 ** min(self._failures - 1, 10))
            _LOG.warning("%d reports wait: %s", len(reports), type(error).__name__)
            self._write(ids, {"attempts": REPORTS.c.attempts + 1})
            return False
        self._failures, self.rests_until = 0, None
        self._write(ids, {"reported_at": now()})
        return True

    def _write(self, ids: list[str], values: dict[str, object]) -> None:
        with self._desk.writing() as connection:
            connection.execute(REPORTS.update().where(REPORTS.c.batch_id.in_(ids)).values(**values))


def _report(row: sa.Row[tuple[object, ...]]) -> Report:
    return Report(
        batch_id=row.batch_id,
        family=row.family,
        partitions=tuple(row.partitions),
        rows=row.rows,
        quarantined=row.quarantined,
        events=row.events,
        finished_at=as_utc(row.finished_at) or row.finished_at,
    )
