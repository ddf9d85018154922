"""Segments on a warehouse: sizes, shares and overlaps, and who came and went from one measurement to the next."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest
import sqlalchemy as sa
from segment_projects import build_model, project_with, warehouse_with

from commerce_assets.activation.errors import DeclarationError
from commerce_assets.activation.ledger import Ledger
from commerce_assets.activation.segments import UnknownSegmentError
from commerce_assets.activation.segments_models import write_models
from commerce_assets.activation.segments_syncs import SegmentOnTag
from commerce_assets.activation.tables import SEGMENTS
from commerce_assets.config import Settings
from commerce_assets.service import segments as service
from commerce_assets.service.segments import Measured, Overlap, SegmentsNotBuiltError, measure, preview
from commerce_assets.warehouse import WarehouseMissingError

TEXT = """\
segments:
  - name: loyal
    title: Loyal
    description: Comes back.
    where: c.order_count >= 5
    send_to: [shopify]
  - name: vip
    title: VIP
    description: Brings most.
    where: s.is_vip
    consent: sms
    send_to: [file: {folder: audiences}]
  - name: watched
    title: Watched
    description: Sent nowhere.
    where: c.country_code = 'BE'
"""
AS_OF = date(2026, 11, 28)
START = datetime(2026, 11, 28, 6, tzinfo=UTC)


def customer(
    number: int, orders: int, net: str, *, email: bool = False, sms: bool = False, currency: str = "EUR", country: str = "DE"
) -> dict:
    return {
        "customer_id": number,
        "order_count": orders,
        "net_amount": Decimal(net),
        "currency_code": currency,
        "country_code": country,
        "is_email_subscribed": email,
        "is_sms_subscribed": sms,
        "is_deleted": False,
    }


CUSTOMERS = [
    customer(1, 6, "60.00", email=True),
    customer(2, 5, "20.00", sms=True),
    customer(3, 1, "20.00", email=True, sms=True),
    customer(4, 0, "0.00"),
    # Another currency: counted, its amounts left out.
    customer(5, 9, "5000.00", currency="SEK", country="SE"),
]
SCORES = [
    {"customer_id": 1, "is_vip": True, "predicted_value_amount": Decimal("30"), "value_currency_code": "EUR"},
    {"customer_id": 2, "is_vip": False, "predicted_value_amount": Decimal("10"), "value_currency_code": "EUR"},
    {"customer_id": 3, "is_vip": True, "predicted_value_amount": Decimal("60"), "value_currency_code": "EUR"},
]


@dataclass(frozen=True)
class State:
    name: str
    gid: str | None
    member_count: int | None


class Shop:
    """A storefront that has the segments it is told of, and counts as it likes."""

    def __init__(self, counted: int = 7) -> None:
        self.counted, self.asked = counted, []

    def ensure(self, segments: Sequence[SegmentOnTag]) -> list[State]:
        self.asked = list(segments)
        return [State(one.name, f"gid://shopify/Segment/{place}", self.counted) for place, one in enumerate(segments, start=1)]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_root=tmp_path / "run", _env_file=None)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return project_with(tmp_path / "project", TEXT)


def build(settings: Settings, project: Path, customers: Sequence[dict] = CUSTOMERS, *, models: bool = True) -> None:
    scores = [{**row, "as_of_on": AS_OF, "is_deleted": False} for row in SCORES]
    people = [
        {"customer_id": row["customer_id"], "customer_gid": f"g{row['customer_id']}", "phone": "+32470000000", "is_deleted": False}
        | {name: row[name] for name in ("is_email_subscribed", "is_sms_subscribed")}
        for row in customers
    ]
    warehouse_with(settings.build_path, {"customer_360": customers, "customer_scores": scores, "dim_customer": people})
    if models:
        write_models(project)
        names = sorted(path.stem for path in (project / "models").rglob("*segment*.sql"))
        with duckdb.connect(str(settings.build_path)) as connection:
            for name in names:
                build_model(connection, project / "models", name)


def recorded(settings: Settings) -> list[tuple]:
    columns = ("destination", "segment", "desired_count", "member_count", "entered_count", "left_count", "segment_gid")
    with Ledger(settings.ops_url) as ledger, ledger.engine.connect() as connection:
        query = sa.select(*(SEGMENTS.c[name] for name in columns)).order_by(
            SEGMENTS.c.measured_at, SEGMENTS.c.destination, SEGMENTS.c.segment
        )
        return [tuple(row) for row in connection.execute(query)]


def measured(settings: Settings, project: Path, at: datetime, shop: Shop | None = None) -> list[Measured]:
    with Ledger(settings.ops_url) as ledger:
        return measure(settings, ledger, shop.ensure if shop else None, project_dir=project, now=at)


def test_a_preview_counts_customers_money_of_one_currency_and_consent(settings: Settings, project: Path) -> None:
    build(settings, project, models=False)
    found = preview(settings, project_dir=project)
    assert (found.as_of_on, found.customers, found.currency_code, found.other_currency_customers) == (AS_OF, 5, "EUR", 1)
    assert (found.net_amount, found.predicted_value_amount) == (Decimal("100.00"), Decimal("100.00"))
    loyal, vip, watched = found.segments
    assert (loyal.customers, loyal.share, loyal.net_amount, loyal.revenue_share) == (3, 0.6, Decimal("80.00"), 0.8)
    assert (loyal.predicted_value_amount, loyal.predicted_value_share) == (Decimal("40.00"), 0.4)
    assert (loyal.email_consent_share, loyal.sms_consent_share, loyal.consented_share) == (0.3333, 0.3333, 0.6667)
    assert vip.consented_share == vip.sms_consent_share == 0.5, "the channel that the segment declares"
    assert (watched.customers, watched.consented_share, watched.net_amount) == (0, 0.0, Decimal("0.00"))


def test_overlaps_are_customers_in_both_over_those_in_either(settings: Settings, project: Path) -> None:
    build(settings, project, models=False)
    loyal, vip, watched = preview(settings, project_dir=project).segments
    assert loyal.overlaps == {"vip": Overlap(1, 0.25), "watched": Overlap(0, 0.0)}
    assert vip.overlaps["loyal"] == loyal.overlaps["vip"]
    assert watched.overlaps["vip"] == Overlap(0, 0.0)


def test_one_segment_is_held_against_all_others(settings: Settings, project: Path) -> None:
    build(settings, project, models=False)
    (vip,) = preview(settings, "vip", project_dir=project).segments
    assert set(vip.overlaps) == {"loyal", "watched"}
    with pytest.raises(UnknownSegmentError):
        preview(settings, "nobody", project_dir=project)


def test_a_condition_to_be_tried_stands_beside_the_segments(settings: Settings, project: Path) -> None:
    build(settings, project, models=False)
    (tried,) = preview(settings, where="c.order_count between 1 and 5", project_dir=project).segments
    assert (tried.name, tried.customers, tried.overlaps["loyal"]) == ("where", 2, Overlap(1, 0.25))
    with pytest.raises(DeclarationError, match="a subquery is not allowed"):
        preview(settings, where="exists (select 1)", project_dir=project)


def test_a_preview_names_no_customer(settings: Settings, project: Path) -> None:
    build(settings, project, models=False)
    told = str(preview(settings, where="c.customer_id = 3", project_dir=project).as_dict())
    assert "+3247" not in told
    assert "g3" not in told


def test_a_preview_of_a_shop_without_customers_is_all_zeros(settings: Settings, project: Path) -> None:
    build(settings, project, [], models=False)
    found = preview(settings, project_dir=project)
    assert (found.customers, found.currency_code, [one.customers for one in found.segments]) == (0, None, [0, 0, 0])


def test_a_warehouse_that_is_not_there_or_too_old_says_what_to_do(settings: Settings, project: Path) -> None:
    with pytest.raises(WarehouseMissingError, match="build the warehouse first"):
        preview(settings, project_dir=project)
    build(settings, project, models=False)
    with duckdb.connect(str(settings.build_path)) as connection:
        connection.execute("alter table marts.customer_360 drop column order_count")
    with pytest.raises(SegmentsNotBuiltError, match="build it first"):
        preview(settings, project_dir=project)


def test_a_first_measurement_counts_everybody_as_come_in(settings: Settings, project: Path) -> None:
    build(settings, project)
    shop = Shop()
    measured(settings, project, START, shop)
    assert [one.query for one in shop.asked] == ["customer_tags CONTAINS 'segment:loyal'"]
    assert recorded(settings) == [
        ("file", "vip", 1, None, 1, 0, None),
        ("shopify", "loyal", 3, 7, 3, 0, "gid://shopify/Segment/1"),
        ("warehouse", "watched", 0, None, 0, 0, None),
    ]


def test_who_came_and_went_is_told_against_the_measurement_before(settings: Settings, project: Path) -> None:
    build(settings, project)
    measured(settings, project, START)
    build(settings, project, [customer(1, 6, "60.00", email=True), customer(2, 4, "20.00"), customer(6, 8, "9.00"), customer(7, 5, "9.00")])
    rows = measured(settings, project, START + timedelta(days=1))
    assert [(row.segment, row.desired, row.entered, row.left) for row in rows if row.segment == "loyal"] == [("loyal", 3, 2, 2)]
    rows = measured(settings, project, START + timedelta(days=2))
    assert [(row.desired, row.entered, row.left) for row in rows if row.segment == "loyal"] == [(3, 0, 0)]


def test_a_dropped_segment_gets_one_last_row_in_which_everybody_leaves(settings: Settings, project: Path) -> None:
    build(settings, project)
    measured(settings, project, START)
    project_with(project, TEXT[: TEXT.index("  - name: vip")])
    for day in (1, 2):
        measured(settings, project, START + timedelta(days=day))
    assert [row for row in recorded(settings) if row[1] == "vip"] == [
        ("file", "vip", 1, None, 1, 0, None),
        ("file", "vip", 0, None, 0, 1, None),
    ]


def test_a_kill_before_the_ledger_is_written_counts_nothing_twice(
    settings: Settings, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(settings, project)
    measured(settings, project, START)
    build(settings, project, [*CUSTOMERS, customer(6, 8, "9.00")])

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(service, "_as_row", killed)
        with pytest.raises(KeyboardInterrupt):
            measured(settings, project, START + timedelta(days=1))
    rows = measured(settings, project, START + timedelta(days=2))
    assert [(row.desired, row.entered, row.left) for row in rows if row.segment == "loyal"] == [(4, 1, 0)]
    assert len(list((settings.lake_root / service.MEMBERS_FOLDER).iterdir())) == 1, "only the members of the newest measurement are kept"


def test_a_segment_that_is_not_built_yet_is_named(settings: Settings, project: Path) -> None:
    build(settings, project, models=False)
    with pytest.raises(SegmentsNotBuiltError, match=r"the warehouse has no segments\.segment__loyal"):
        measured(settings, project, START)
    assert recorded(settings) == []


def test_without_any_segment_nothing_is_written(settings: Settings, project: Path) -> None:
    build(settings, project, models=False)
    project_with(project, "segments: []\n")
    assert measured(settings, project, START) == []
    assert recorded(settings) == []


def test_the_commands_list_check_and_preview(settings: Settings, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.testing import CliRunner

    from commerce_assets.cli import segment

    build(settings, project)
    monkeypatch.setattr(service, "PROJECT_DIR", project)
    monkeypatch.setattr(segment, "load_settings", lambda: settings)

    def said(*arguments: str, code: int = 0) -> str:
        done = CliRunner().invoke(segment.app, list(arguments))
        assert done.exit_code == code, done.output
        return done.output

    assert "where c.order_count >= 5\n    to shopify" in said("list")
    assert "3 segments, 1 of their own syncs" in said("check")
    assert "loyal            3" in said("preview")
    assert "vip" in said("preview", "loyal")
    assert '"customers": 2' in said("preview", "--where", "c.order_count between 1 and 5", "--json")
    assert "all models are as segments.yml has them" in said("build")
    project_with(project, TEXT.replace("c.order_count >= 5", "c.order_count >= 6"))
    assert "1 models are not as segments.yml has them (segment__loyal.sql)" in said("check", code=1)
    assert "models/segments/segment__loyal.sql" in said("build")
