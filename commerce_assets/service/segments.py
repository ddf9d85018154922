"""Segments on the built warehouse: how large they are, whom they share, and how they change from one measurement to the next.

What they are is in activation/segments.py; here they meet the warehouse, the storefront and the ledger. Nothing returned here names a
customer.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from importlib.resources import files
from pathlib import Path
from typing import Any, Protocol

import duckdb
import polars as pl
import sqlalchemy as sa

from commerce_assets.activation.errors import ActivationError
from commerce_assets.activation.ledger import Ledger
from commerce_assets.activation.segments import Segment, read_condition, read_segments, segment_named
from commerce_assets.activation.segments_models import SEGMENTS as SEGMENTS_SCHEMA
from commerce_assets.activation.segments_models import SYNC as SYNC_SCHEMA
from commerce_assets.activation.segments_models import rows_query, write_models
from commerce_assets.activation.segments_syncs import SegmentOnTag, audience_models, storefront_segments
from commerce_assets.activation.tables import SEGMENTS
from commerce_assets.config import PROJECT_ROOT, Settings
from commerce_assets.warehouse import reading

PROJECT_DIR = PROJECT_ROOT / "dbt_project"
TRIED = "where"
"""What a condition is called that stands in no file."""
UNSENT = "warehouse"
"""Destination of a segment that is sent nowhere: it is measured all the same."""
MEMBERS_FOLDER = "segments"
MEMBERS_SCHEMA = {"destination": pl.String, "segment": pl.String, "customer_id": pl.Int64}
_COLUMNS = {
    "currency_code": "c.currency_code",
    "as_of_on": "as_of.as_of_on",
    "net_amount": "c.net_amount",
    "predicted_value_amount": "s.predicted_value_amount",
    "value_currency_code": "s.value_currency_code",
    "is_email_subscribed": "c.is_email_subscribed",
    "is_sms_subscribed": "c.is_sms_subscribed",
}


class SegmentsNotBuiltError(ActivationError):
    """The warehouse does not hold what the segments are about."""


class SegmentState(Protocol):
    """A segment as the storefront has it after it was looked after."""

    @property
    def name(self) -> str: ...

    @property
    def gid(self) -> str | None: ...

    @property
    def member_count(self) -> int | None: ...


TOLERATED_RATE = 0.02
"""Of a segment's size, by which the destination's count may differ: customers come and go while it is counted."""
Ensure = Callable[[Sequence[SegmentOnTag]], Iterable[SegmentState]]
"""Makes the storefront's segments what they should be, and counts them there."""


@dataclass(frozen=True)
class Overlap:
    """How much a segment shares with another."""

    customers: int
    jaccard: float
    """Shared customers over those in either; 1 where both are the same."""


@dataclass(frozen=True)
class SegmentSize:
    """A segment in numbers. Shares are of all customers that the storefront holds; amounts are of one currency only."""

    name: str
    title: str
    customers: int
    share: float
    net_amount: Decimal
    revenue_share: float
    predicted_value_amount: Decimal
    predicted_value_share: float
    email_consent_share: float
    sms_consent_share: float
    consented_share: float
    """Of its customers, those who may be written to: by the channel that it declares, or else by any."""
    overlaps: Mapping[str, Overlap]


@dataclass(frozen=True)
class Preview:
    """Segments against all customers."""

    as_of_on: date | None
    customers: int
    currency_code: str | None
    """That of most customers: amounts are in it, and customers of other currencies add nothing to them."""
    other_currency_customers: int
    net_amount: Decimal
    predicted_value_amount: Decimal
    segments: tuple[SegmentSize, ...]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Measured:
    """A segment's size as it was just written down."""

    destination: str
    segment: str
    desired: int
    members: int | None
    entered: int
    left: int
    gid: str | None = None
    """The destination's own id of it."""


@dataclass(frozen=True)
class _Asked:
    name: str
    title: str
    sql: str
    consent: str | None = None


def preview(settings: Settings, name: str | None = None, where: str | None = None, project_dir: Path = PROJECT_DIR) -> Preview:
    """Size, worth and overlaps of every segment, of one, or of a condition to be tried; overlaps are with all of them.

    One pass over the warehouse, whatever their number. Raises `DeclarationError` for a condition that is none, `SegmentsNotBuiltError`
    before the marts are built.
    """
    segments = read_segments(project_dir)
    asked = [_Asked(one.name, one.declared.title, one.condition.sql, one.declared.consent) for one in segments]
    shown = {segment_named(segments, name).name} if name else {one.name for one in asked}
    if where is not None:
        asked.append(_Asked(TRIED, "The condition to be tried", read_condition(where, project_dir).sql))
        shown = {TRIED} if name is None else {TRIED, *shown}
    patterns = _patterns(settings, [one.sql for one in asked])
    return _sized(asked, shown, patterns)


def build_models(project_dir: Path = PROJECT_DIR) -> list[Path]:
    """Make the dbt models of the segments; returns the files that changed."""
    return write_models(project_dir)


def measure(
    settings: Settings, ledger: Ledger, ensure: Ensure | None = None, *, project_dir: Path = PROJECT_DIR, now: datetime | None = None
) -> list[Measured]:
    """Write down how many each segment should hold, how many the storefront counts, and who came and went since the measurement before.

    `ensure` looks after the storefront's segments first. Members are compared with those of the measurement before, which lie in the lake
    under its moment: they are written first, and count only once the ledger has rows of that moment, so that a kill in between loses nothing
    and counts nothing twice. A segment that is no longer declared gets a last row, in which everybody leaves.
    """
    now = now or datetime.now(UTC)
    segments = read_segments(project_dir)
    members = _members(settings, segments)
    states = {state.name: state for state in ensure(storefront_segments(segments))} if ensure else {}
    folder = settings.lake_root / MEMBERS_FOLDER
    before_at = _measured_before(ledger)
    before = _read_members(folder, before_at)
    counts = _counts(members, before)
    rows = []
    for destination, name in dict.fromkeys([*_tables(segments), *counts]):
        state = states.get(name) if destination == "shopify" else None
        desired, entered, left = counts.get((destination, name), (0, 0, 0))
        rows.append(
            Measured(destination, name, desired, state.member_count if state else None, entered, left, state.gid if state else None)
        )
    if not rows:
        return []
    _write_members(folder, now, members)
    with ledger.engine.begin() as connection:
        connection.execute(SEGMENTS.insert(), [_as_row(row, now) for row in rows])
    for path in folder.glob("members-*.parquet"):
        if path != _place(folder, now):
            path.unlink(missing_ok=True)
    return rows


def disagreeing(measured: Sequence[Measured]) -> list[str]:
    """Segments of which the destination counts a number of members that is further from ours than `TOLERATED_RATE`."""
    return [
        one.segment for one in measured if one.members is not None and abs(one.members - one.desired) > TOLERATED_RATE * max(one.desired, 1)
    ]


def _patterns(settings: Settings, conditions: Sequence[str]) -> pl.DataFrame:
    memberships = ", ".join(f"coalesce({condition}, false)" for condition in conditions)
    query = rows_query({"members": f"[{memberships}]::boolean[]", **_COLUMNS}, schema="marts")
    counted = (files("commerce_assets.service") / "sql" / "segment_patterns.sql").read_text(encoding="utf-8")
    with reading(settings.build_path) as connection:
        try:
            connection.execute(f"create temporary view previewed as {query}")
            return connection.sql(counted).pl()
        except (duckdb.CatalogException, duckdb.BinderException) as error:
            raise SegmentsNotBuiltError(
                f"the warehouse does not hold the marts as the project has them ({str(error).splitlines()[0]}): build it first (commerce demo)"
            ) from None


def _sized(asked: Sequence[_Asked], shown: set[str], patterns: pl.DataFrame) -> Preview:
    by_currency = (
        patterns.group_by("currency_code").agg(pl.col("customers").sum()).sort("customers", "currency_code", descending=[True, False])
    )
    currency = by_currency["currency_code"][0] if by_currency.height else None
    in_currency = patterns.filter(pl.col("currency_code").eq_missing(currency))
    whole = Preview(
        as_of_on=patterns["as_of_on"].max(),  # type: ignore[arg-type]
        customers=_count(patterns, "customers"),
        currency_code=currency,
        other_currency_customers=_count(patterns, "customers") - _count(in_currency, "customers"),
        net_amount=_money(in_currency, "net_amount"),
        predicted_value_amount=_money(in_currency, "predicted_value_amount"),
        segments=(),
    )
    sizes = tuple(_size(place, asked, patterns, whole) for place, one in enumerate(asked) if one.name in shown)
    return replace(whole, segments=sizes)


def _size(place: int, asked: Sequence[_Asked], patterns: pl.DataFrame, whole: Preview) -> SegmentSize:
    one, rows = asked[place], _of(patterns, place)
    customers = _count(rows, "customers")
    in_currency = rows.filter(pl.col("currency_code").eq_missing(whole.currency_code))
    net, predicted = _money(in_currency, "net_amount"), _money(in_currency, "predicted_value_amount")
    return SegmentSize(
        name=one.name,
        title=one.title,
        customers=customers,
        share=_share(customers, whole.customers),
        net_amount=net,
        revenue_share=_share(net, whole.net_amount),
        predicted_value_amount=predicted,
        predicted_value_share=_share(predicted, whole.predicted_value_amount),
        email_consent_share=_share(_count(rows, "email_customers"), customers),
        sms_consent_share=_share(_count(rows, "sms_customers"), customers),
        consented_share=_share(_count(rows, f"{one.consent or 'reachable'}_customers"), customers),
        overlaps={
            other.name: _overlap(_count(_of(rows, other_place), "customers"), customers, _count(_of(patterns, other_place), "customers"))
            for other_place, other in enumerate(asked)
            if other_place != place
        },
    )


def _of(patterns: pl.DataFrame, place: int) -> pl.DataFrame:
    """The patterns of customers in the segment at that place."""
    return patterns.filter(pl.col("members").list.get(place, null_on_oob=True))


def _overlap(both: int, one: int, other: int) -> Overlap:
    return Overlap(both, _share(both, one + other - both))


def _count(rows: pl.DataFrame, name: str) -> int:
    return int(rows[name].sum() or 0)


def _money(rows: pl.DataFrame, name: str) -> Decimal:
    return Decimal(str(rows.select(pl.col(name).cast(pl.Decimal(38, 4)).sum()).item() or 0)).quantize(Decimal("0.01"))


def _share(part: int | Decimal, whole: int | Decimal) -> float:
    return round(float(part) / float(whole), 4) if whole else 0.0


def _tables(segments: Sequence[Segment]) -> dict[tuple[str, str], str]:
    """(destination, segment) -> the table of those who should be in it there."""
    tables = {
        ("shopify" if one.declared.is_sent_to_shopify else UNSENT, one.name): f"{SEGMENTS_SCHEMA}.{one.declared.model}"
        for one in segments
        if one.declared.is_sent_to_shopify or not one.declared.send_to
    }
    tables |= {(audience.kind, audience.segment.name): f"{SYNC_SCHEMA}.{audience.name}" for audience in audience_models(segments)}
    return tables


def _members(settings: Settings, segments: Sequence[Segment]) -> pl.DataFrame:
    frames = [pl.DataFrame(schema=MEMBERS_SCHEMA)]
    with reading(settings.build_path) as connection:
        for (destination, name), table in _tables(segments).items():
            try:
                ids = connection.table(table).select("customer_id").pl()
            except duckdb.CatalogException:
                raise SegmentsNotBuiltError(
                    f"the warehouse has no {table}: it was built before segment {name} was added; materialise warehouse/{table.replace('.', '/')}"
                ) from None
            frames.append(ids.select(destination=pl.lit(destination), segment=pl.lit(name), customer_id=pl.col("customer_id")))
    return pl.concat(frames)


def _counts(members: pl.DataFrame, before: pl.DataFrame) -> dict[tuple[str, str], tuple[int, int, int]]:
    """(destination, segment) -> how many are in it, came in, and went out."""
    keys = list(MEMBERS_SCHEMA)
    came, went = members.join(before, on=keys, how="anti"), before.join(members, on=keys, how="anti")
    counted = (
        pl.concat([some.with_columns(of=pl.lit(what)) for what, some in (("in", members), ("came", came), ("went", went))])
        .group_by("destination", "segment")
        .agg(*((pl.col("of") == what).sum().alias(what) for what in ("in", "came", "went")))
    )
    return {(row[0], row[1]): (row[2], row[3], row[4]) for row in counted.sort("destination", "segment").iter_rows()}


def known_gids(ledger: Ledger, destination: str = "shopify") -> dict[str, str]:
    """Segment -> the destination's own id of it, as it was last measured: by it one is found again after it was renamed."""
    query = (
        sa.select(SEGMENTS.c.segment, SEGMENTS.c.segment_gid)
        .where(SEGMENTS.c.destination == destination, SEGMENTS.c.segment_gid.is_not(None))
        .order_by(SEGMENTS.c.measured_at)
    )
    with ledger.engine.connect() as connection:
        return {row.segment: row.segment_gid for row in connection.execute(query)}


def _measured_before(ledger: Ledger) -> datetime | None:
    with ledger.engine.connect() as connection:
        found = connection.execute(sa.select(sa.func.max(SEGMENTS.c.measured_at))).scalar()
    if found is None or found.tzinfo is not None:
        return found
    return found.replace(tzinfo=UTC)  # SQLite keeps no zone


def _read_members(folder: Path, at: datetime | None) -> pl.DataFrame:
    """Members of the measurement at that moment; nobody where it never was, or its file is lost."""
    if at is None or not _place(folder, at).exists():
        return pl.DataFrame(schema=MEMBERS_SCHEMA)
    return pl.read_parquet(_place(folder, at))


def _write_members(folder: Path, at: datetime, members: pl.DataFrame) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    beside = folder / f".{_place(folder, at).name}.tmp"
    members.sort(list(MEMBERS_SCHEMA)).write_parquet(beside)
    beside.replace(_place(folder, at))


def _place(folder: Path, at: datetime) -> Path:
    return folder / f"members-{at.astimezone(UTC):%Y%m%dT%H%M%S%fZ}.parquet"


def _as_row(row: Measured, now: datetime) -> dict[str, Any]:
    return {
        "destination": row.destination,
        "segment": row.segment,
        "measured_at": now,
        "desired_count": row.desired,
        "member_count": row.members,
        "entered_count": row.entered,
        "left_count": row.left,
        "segment_gid": row.gid,
    }
