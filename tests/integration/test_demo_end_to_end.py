"""The main job on a dirty store over HTTP: exactly the known bad rows are quarantined, all others reach the marts, scores arrive once."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from pipeline_runs import Shop, shop
from support import commerce

from commerce_assets.sandbox.fill import dirt_list
from commerce_assets.sandbox.store import Store

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("demo")]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Shop, dict[str, Any]]]:
    """One run of the demo; tests only read what it left."""
    with shop(tmp_path_factory.mktemp("demo"), scale=0.1, seed=11, dirt=0.01) as opened:
        yield opened, opened.summary()


def test_the_demo_ends_well(run: tuple[Shop, dict[str, Any]]) -> None:
    _, summary = run
    assert summary["exit_code"] == 0, summary["progress"][-4000:]
    assert summary["is_ok"]
    assert summary["customers_scored"] > 0
    assert set(summary["syncs"]) == {
        f"shopify/{name}" for name in ("customer_scores", "customer_segments", "order_risk", "product_recommendations")
    }
    assert all(counts["written"] > 0 and counts["failed"] == 0 for counts in summary["syncs"].values()), summary["syncs"]
    assert summary["tables_built"] > 30


def test_exactly_the_known_bad_rows_are_quarantined(run: tuple[Shop, dict[str, Any]]) -> None:
    opened, _ = run
    known = {(defect["table"], str(defect["id"]), defect["rule"]) for defect in dirt_list(opened.sandbox.store)}
    found = {(table, key, rule) for table, key, rules in opened.quarantined() for rule in rules if rule != "parent_rejected"}
    assert len(known) > 10
    assert found == known


def test_the_command_line_counts_and_shows_the_quarantine_and_replay_changes_nothing(run: tuple[Shop, dict[str, Any]]) -> None:
    opened, _ = run
    counted = json.loads(commerce("quarantine", "list", "--json", env=opened.environment).stdout)
    broken = [rule for _, _, rules in opened.quarantined() for rule in rules]
    assert sum(row["rows"] for row in counted) == len(broken)

    shown = json.loads(commerce("quarantine", "show", "--limit", "1000", "--json", env=opened.environment).stdout)
    assert len(shown) == len(opened.quarantined())
    assert all("@" not in row["row"] for row in shown), "an e-mail address was shown"

    commerce("quarantine", "replay", "--family", "customers", env=opened.environment)
    assert json.loads(commerce("quarantine", "list", "--json", env=opened.environment).stdout) == counted


def test_all_other_orders_reach_the_marts(run: tuple[Shop, dict[str, Any]]) -> None:
    opened, _ = run
    bad = {str(defect["id"]) for defect in dirt_list(opened.sandbox.store) if defect["table"] == "orders"}
    held = Store(opened.sandbox.store)
    orders = {order["id"].rsplit("/", 1)[1] for _, _, order in held.iterate("Order")}
    held.close()
    published = {str(order_id) for (order_id,) in opened.query("select order_id from marts.fct_order")}
    assert published == orders - bad


def test_control_totals_close(run: tuple[Shop, dict[str, Any]]) -> None:
    _, summary = run
    assert set(summary["streams"]) == {"orders", "products", "customers", "inventory", "locations", "ids"}
    for name, stream in summary["streams"].items():
        assert stream["read"] == stream["accepted"] + stream["quarantined"] + stream["duplicates"], (name, stream)


def test_scores_are_on_the_storefronts_customers(run: tuple[Shop, dict[str, Any]]) -> None:
    opened, summary = run
    written = opened.storefront_scores()
    assert len(written) == summary["syncs"]["shopify/customer_scores"]["written"]
    lifecycles = {dict(metafields)["lifecycle"] for metafields, _ in written.values()}
    assert lifecycles <= {"new", "active", "at_risk", "lapsed"}
    winback = [tags for _, tags in written.values() if any("lapsed" in tag and "value" in tag for tag in tags)]
    assert winback, "no high-value customer who lapsed was tagged"
    assert all(len(tags) == len(set(tags)) for _, tags in written.values())


def test_a_second_run_writes_nothing(run: tuple[Shop, dict[str, Any]]) -> None:
    opened, _ = run
    before, marts = opened.customers_updated_at(), opened.marts()
    summary = opened.summary()
    assert summary["exit_code"] == 0, summary["progress"][-4000:]
    assert {name: counts["written"] for name, counts in summary["syncs"].items()} == dict.fromkeys(summary["syncs"], 0)
    assert opened.customers_updated_at() == before
    assert {name: rows for name, (rows, _) in opened.marts().items()} == {name: rows for name, (rows, _) in marts.items()}


def test_no_personal_data_in_the_published_file(run: tuple[Shop, dict[str, Any]]) -> None:
    opened, _ = run
    held = Store(opened.sandbox.store)
    emails = {email["emailAddress"] for _, _, customer in held.iterate("Customer") if (email := customer.get("defaultEmailAddress"))}
    held.close()
    texts = opened.query(
        "select table_schema, table_name, column_name from information_schema.columns where data_type = 'VARCHAR' and table_schema not like 'pg_%'"
    )
    for schema, table, column in texts:
        values = {value for (value,) in opened.query(f'select distinct "{column}" from "{schema}"."{table}"')}
        assert not values & emails, f"{schema}.{table}.{column} holds e-mail addresses"
