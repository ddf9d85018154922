"""The dbt models of segments: checked in as segments.yml has them, formatted, and right about who is in."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import duckdb
import pytest
import yaml
from segment_projects import PROJECT, REF, build_model, columns_of, project_with, warehouse_with

from commerce_assets.activation.errors import DeclarationError
from commerce_assets.activation.segments import read_segments
from commerce_assets.activation.segments_models import stale_models, write_models

TEXT = """\
segments:
  - name: loyal
    title: Loyal
    description: Comes back.
    where: c.order_count >= 5
    send_to: [shopify]
  - name: quiet
    title: Quiet
    description: "No order for long: since 100 days."
    where: current_date - c.last_ordered_on >= 100 or s.churn_risk = 'high'
    consent: email
    send_to: [shopify, {file: {folder: audiences}}]
"""
AS_OF = date(2026, 11, 28)
MARTS = {
    "customer_360": [
        {"customer_id": 1, "order_count": 9, "last_ordered_on": date(2026, 8, 20), "is_deleted": False},
        {"customer_id": 2, "order_count": 9, "last_ordered_on": date(2026, 11, 20), "is_deleted": False},
        {"customer_id": 3, "order_count": 1, "last_ordered_on": date(2026, 11, 20), "is_deleted": False},
        # Deleted at the storefront; never ordered.
        {"customer_id": 4, "order_count": 9, "last_ordered_on": date(2026, 1, 1), "is_deleted": True},
        {"customer_id": 5, "order_count": 0, "is_deleted": False},
    ],
    "customer_scores": [
        {"customer_id": 1, "churn_risk": "low", "as_of_on": AS_OF, "is_deleted": False},
        {"customer_id": 3, "churn_risk": "high", "as_of_on": AS_OF, "is_deleted": False},
    ],
    "dim_customer": [
        {
            "customer_id": customer,
            "customer_gid": f"gid://shopify/Customer/{customer}",
            "email": f"{customer}@example.com" if customer != 3 else None,
            "phone": None,
            "is_email_subscribed": True,
            "is_deleted": customer == 4,
        }
        for customer in (1, 2, 3, 4, 5)
    ],
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return project_with(tmp_path / "project", TEXT)


@pytest.fixture
def warehouse(project: Path, tmp_path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """The marts above, with every model of the project built over them."""
    write_models(project)
    with duckdb.connect(str(warehouse_with(tmp_path / "build.duckdb", MARTS))) as connection:
        for name in ("segment__loyal", "segment__quiet", "sync_shopify__customer_segments", "sync_file__segment_quiet"):
            build_model(connection, project / "models", name)
        yield connection


def test_the_checked_in_models_are_as_the_file_has_them() -> None:
    assert [path.name for path in stale_models(PROJECT)] == [], "run `commerce segment build`"


def test_every_model_is_formatted() -> None:
    sqlfmt = Path(sys.executable).parent / "sqlfmt"
    paths = [str(path) for folder in ("segments", "sync") for path in (PROJECT / "models" / folder).glob("*segment*.sql")]
    done = subprocess.run([sqlfmt, "--check", "--quiet", "--no-progressbar", *paths], cwd=PROJECT.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_making_models_again_changes_nothing(project: Path) -> None:
    made = write_models(project)
    assert len(made) == 8
    assert write_models(project) == []


def test_the_models_of_a_dropped_segment_go(project: Path) -> None:
    write_models(project)
    mine = project / "models" / "sync" / "sync_file__segment_of_somebody.sql"
    mine.write_text("select 1\n")
    (project / "segments.yml").write_text(TEXT[: TEXT.index("  - name: quiet")])
    changed = {path.name: path.exists() for path in write_models(project)}
    assert changed == {
        "segment__quiet.sql": False,
        "segment__quiet.yml": False,
        "sync_file__segment_quiet.sql": False,
        "sync_file__segment_quiet.yml": False,
        "sync_shopify__customer_segments.sql": True,
    }
    assert mine.exists(), "what was not made from segments.yml is somebody's own"
    assert write_models(project) == []


def test_a_model_of_somebodys_own_is_not_written_over(project: Path) -> None:
    mine = project / "models" / "segments" / "segment__loyal.sql"
    mine.parent.mkdir(parents=True)
    mine.write_text("select 1\n")
    with pytest.raises(DeclarationError, match=r"segment__loyal\.sql in segments was not made from segments\.yml"):
        write_models(project)
    assert mine.read_text() == "select 1\n"
    assert list(mine.parent.iterdir()) == [mine]


def test_a_wrong_file_leaves_the_models_alone(project: Path) -> None:
    made = {path: path.read_bytes() for path in write_models(project)}
    (project / "segments.yml").write_text(TEXT.replace("c.order_count >= 5", "c.order_count >= 6").replace("churn_risk", "churn_rsk"))
    with pytest.raises(DeclarationError):
        write_models(project)
    assert {path: path.read_bytes() for path in made} == made


def test_members_are_customers_that_are_there_whom_the_condition_holds_for(warehouse: duckdb.DuckDBPyConnection) -> None:
    rows = "select customer_id, customer_gid, segment_name, as_of_on from segments.{} order by 1"
    gid = "gid://shopify/Customer/{}".format
    assert warehouse.execute(rows.format("segment__loyal")).fetchall() == [
        (1, gid(1), "loyal", AS_OF),
        (2, gid(2), "loyal", AS_OF),
    ]
    assert warehouse.execute(rows.format("segment__quiet")).fetchall() == [(1, gid(1), "quiet", AS_OF), (3, gid(3), "quiet", AS_OF)]


def test_a_customer_has_one_row_with_the_tags_of_all_segments_in_order(warehouse: duckdb.DuckDBPyConnection) -> None:
    rows = warehouse.execute("select customer_id, segment_tags from sync.sync_shopify__customer_segments order by 1").fetchall()
    assert rows == [(1, ["segment:loyal", "segment:quiet"]), (2, ["segment:loyal"]), (3, ["segment:quiet"])]


def test_only_who_agreed_and_can_be_reached_is_in_an_audience(warehouse: duckdb.DuckDBPyConnection) -> None:
    audience = "select customer_id, email from sync.sync_file__segment_quiet order by 1"
    assert warehouse.execute(audience).fetchall() == [(1, "1@example.com")]


def test_nobody_who_took_consent_back_is_in_an_audience(project: Path, tmp_path: Path) -> None:
    write_models(project)
    people = [{**row, "is_email_subscribed": False} for row in MARTS["dim_customer"]]
    with duckdb.connect(str(warehouse_with(tmp_path / "other.duckdb", {**MARTS, "dim_customer": people}))) as connection:
        for name in ("segment__quiet", "sync_file__segment_quiet"):
            build_model(connection, project / "models", name)
        assert connection.execute("select count(*) from sync.sync_file__segment_quiet").fetchone() == (0,)
        assert connection.execute("select count(*) from segments.segment__quiet").fetchone() == (2,)


def test_with_no_segment_for_the_shop_nobody_has_tags(project: Path, tmp_path: Path) -> None:
    (project / "segments.yml").write_text("segments: []\n")
    write_models(project)
    with duckdb.connect(str(warehouse_with(tmp_path / "build.duckdb", MARTS))) as connection:
        build_model(connection, project / "models", "sync_shopify__customer_segments")
        assert connection.execute("select * from sync.sync_shopify__customer_segments").fetchall() == []


def test_without_any_score_the_latest_order_gives_the_day(project: Path, tmp_path: Path) -> None:
    write_models(project)
    with duckdb.connect(str(warehouse_with(tmp_path / "build.duckdb", {**MARTS, "customer_scores": []}))) as connection:
        build_model(connection, project / "models", "segment__loyal")
        assert connection.execute("select distinct as_of_on from segments.segment__loyal").fetchall() == [(date(2026, 11, 20),)]


def test_models_have_the_columns_and_types_that_their_yml_says(project: Path, warehouse: duckdb.DuckDBPyConnection) -> None:
    for path in sorted((project / "models").rglob("*segment*.yml")):
        (model,) = yaml.safe_load(path.read_text())["models"]
        table = f"{path.parent.name}.{path.stem}"
        there = {name: dtype.lower() for name, dtype, *_ in warehouse.execute(f"describe {table}").fetchall()}
        assert there == {column["name"]: column["data_type"] for column in model["columns"]}, table


def test_what_reaches_people_is_marked_as_personal(project: Path) -> None:
    write_models(project)
    (model,) = yaml.safe_load((project / "models" / "sync" / "sync_file__segment_quiet.yml").read_text())["models"]
    personal = {column["name"] for column in model["columns"] if column.get("config", {}).get("meta", {}).get("pii")}
    assert personal == {"email", "phone", "first_name", "last_name", "postal_code"}


def test_shipped_models_refer_to_models_that_there_are() -> None:
    models = {path.stem for path in (PROJECT / "models").rglob("*.sql")}
    for segment in read_segments(PROJECT):
        text = (PROJECT / "models" / "segments" / f"{segment.declared.model}.sql").read_text()
        assert set(REF.findall(text)) == {"customer_360", "customer_scores", "dim_customer"} <= models


def test_shipped_conditions_tell_customers_apart(tmp_path: Path) -> None:
    """Each shipped segment takes the customer that it is for, and not the one beside it."""
    loyal = {
        "order_count": 6,
        "refunded_order_count": 0,
        "refunded_order_rate": 0.0,
        "returned_amount_rate": 0.0,
        "discounted_order_rate": 0.0,
        "is_repeat_customer": True,
        "is_email_subscribed": True,
        "is_sms_subscribed": False,
        "first_ordered_on": date(2025, 1, 1),
        "last_ordered_on": date(2026, 11, 1),
        "is_deleted": False,
    }
    scored = {
        "is_vip": False,
        "vip_tier": "none",
        "lifecycle": "active",
        "churn_risk": "low",
        "recency_days": 27,
        "monetary_score": 3,
        "average_gap_days": 60.0,
        "next_order_expected_on": date(2027, 1, 10),
        "as_of_on": AS_OF,
        "is_deleted": False,
    }
    people = {
        "nobody special": ({}, {}, set()),
        "vip": ({}, {"is_vip": True}, {"vip"}),
        "vip who slows down": ({}, {"is_vip": True, "lifecycle": "at_risk"}, {"vip", "at_risk_vip"}),
        "vip who left": ({}, {"is_vip": True, "lifecycle": "lapsed", "recency_days": 120, "monetary_score": 5}, {"lapsed_90_days_high_value", "win_back_eligible"}),
        "gone for two years": ({}, {"lifecycle": "lapsed", "recency_days": 700}, set()),
        "lapsed without consent": ({"is_email_subscribed": False}, {"lifecycle": "lapsed", "recency_days": 120}, set()),
        "one order, a month ago": ({"order_count": 1, "last_ordered_on": date(2026, 10, 29), "is_repeat_customer": False}, {}, {"second_order_nudge"}),
        "one order, given back": ({"order_count": 1, "last_ordered_on": date(2026, 10, 29), "refunded_order_count": 1}, {}, set()),
        "one order, last week": ({"order_count": 1, "last_ordered_on": date(2026, 11, 21), "first_ordered_on": date(2026, 11, 21)}, {}, {"new_this_month"}),
        "due by the model": ({}, {"next_order_expected_on": date(2026, 12, 4)}, {"next_order_within_7_days"}),
        "due by own rhythm": ({}, {"average_gap_days": 30.0}, {"next_order_within_7_days"}),
        "due, but gone": ({}, {"average_gap_days": 30.0, "churn_risk": "high"}, set()),
        "gives much back": ({"returned_amount_rate": 0.3}, {}, {"high_return_rate"}),
        "gives often back": ({"refunded_order_rate": 0.5, "refunded_order_count": 3}, {}, {"high_return_rate"}),
        "buys on discount": ({"discounted_order_rate": 0.5}, {}, {"bargain_hunters"}),
    }  # fmt: skip
    marts = {
        "customer_360": [{"customer_id": place, **loyal, **facts} for place, (facts, _, _) in enumerate(people.values())],
        "customer_scores": [{"customer_id": place, **scored, **scores} for place, (_, scores, _) in enumerate(people.values())],
        "dim_customer": [{"customer_id": place, "customer_gid": f"g{place}", "is_deleted": False} for place in range(len(people))],
    }
    found: dict[str, set[str]] = {name: set() for name in people}
    with duckdb.connect(str(warehouse_with(tmp_path / "build.duckdb", marts))) as connection:
        for segment in read_segments(PROJECT):
            build_model(connection, PROJECT / "models", segment.declared.model)
            for (place,) in connection.execute(f"select customer_id from segments.{segment.declared.model}").fetchall():
                found[list(people)[place]].add(segment.name)
    assert found == {name: segments for name, (_, _, segments) in people.items()}


def test_the_marts_behind_segments_have_the_columns_that_conditions_name() -> None:
    there = {f"c.{name}" for name in columns_of("customer_360")} | {f"s.{name}" for name in columns_of("customer_scores")}
    assert {column for segment in read_segments(PROJECT) for column in segment.condition.columns} <= there


def test_models_are_put_in_place_whole(project: Path) -> None:
    shutil.rmtree(project / "models" / "segments", ignore_errors=True)
    write_models(project)
    assert [path.name for path in (project / "models").rglob(".*")] == []
