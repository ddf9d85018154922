"""A push undone on the sandbox over HTTP, and the life of a sync on the command line."""

import json
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
from activation_push import client_of, customers_of, fill_with_customers, metafields_of, push_scores, wanted_scores
from activation_undo import undo_scores
from support import commerce, free_port, running_sandbox

pytestmark = pytest.mark.slow
CUSTOMERS = 40
SET = "mutation Set($metafields: [MetafieldsSetInput!]!) { metafieldsSet(metafields: $metafields) { userErrors { message } } }"


def seen(customers: dict[str, dict[str, Any]]) -> dict[str, tuple[list[str], dict[str, str]]]:
    return {key: (sorted(customer["tags"]), metafields_of(customer)) for key, customer in customers.items()}


@pytest.mark.parametrize("path", ["direct", "bulk"])
def test_an_undo_is_seen_on_the_store_and_leaves_alone_what_changed_since(tmp_path: Path, path: str) -> None:
    ledger_url = f"sqlite:///{tmp_path / 'ops.sqlite'}"
    fill_with_customers(tmp_path / "store", CUSTOMERS)
    with running_sandbox(tmp_path / "store", "--plan", "plus") as sandbox, client_of(sandbox.url) as client:
        before = seen(customers_of(client))
        scores = wanted_scores(before)
        report = push_scores(client, scores, ledger_url, path, tmp_path / "bulk")
        assert report.succeeded == CUSTOMERS
        theirs = scores["customer_gid"][7]
        by_hand = {"ownerId": theirs, "namespace": "commerce", "key": "vip_tier", "type": "single_line_text_field", "value": "by hand"}
        assert client.execute(SET, {"metafields": [by_hand]})["metafieldsSet"]["userErrors"] == []
        changed_since = seen(customers_of(client))[theirs]

        undone = undo_scores(client, ledger_url, report.run_id)
        assert (undone.succeeded, undone.changed_since, undone.changed_since_sample) == (CUSTOMERS - 1, 1, (theirs,))
        assert seen(customers_of(client)) == {**before, theirs: changed_since}
        again = undo_scores(client, ledger_url, report.run_id)
        assert (again.succeeded, again.already, again.changed_since) == (0, CUSTOMERS - 1, 1)


def built_warehouse(root: Path, scores: pl.DataFrame) -> None:
    """A build file with nothing but the sync's model."""
    (root / "warehouse").mkdir(parents=True)
    with duckdb.connect(root / "warehouse" / "build.duckdb") as connection:
        connection.register("scores", scores)
        connection.execute("create schema sync")
        connection.execute("create table sync.sync_shopify__customer_scores as from scores")


def test_the_life_of_a_sync_on_the_command_line(tmp_path: Path) -> None:
    root = tmp_path / "data"
    ledger_url = f"sqlite:///{root / 'ops.sqlite'}"
    fill_with_customers(tmp_path / "store", CUSTOMERS)
    with running_sandbox(tmp_path / "store", "--plan", "plus") as sandbox, client_of(sandbox.url) as client:
        environment = {"COMMERCE_DATA_ROOT": str(root), "SHOPIFY_URL": sandbox.url, "COMMERCE_PORT": str(free_port())}

        def sync(*arguments: str) -> Any:
            return json.loads(commerce("sync", *arguments, "--json", env=environment).stdout)

        before = seen(customers_of(client))
        scores = wanted_scores(before)
        built_warehouse(root, scores)
        planned = sync("plan", "customer_scores")
        assert planned["counts"]["create"] == CUSTOMERS
        assert planned["points_a_second"] > 0
        assert planned["seconds"] >= 0
        assert "cant_lose" not in json.dumps(planned), "a plan shows names of fields, never values"
        assert seen(customers_of(client)) == before

        run_id = push_scores(client, scores, ledger_url, "direct", tmp_path / "bulk", plan_id=planned["plan_id"]).run_id
        assert run_id
        undone = sync("undo", run_id)
        assert (undone["status"], undone["succeeded"]) == ("succeeded", CUSTOMERS)
        assert seen(customers_of(client)) == before

        rows = {row["sync"]: row for row in sync("status")}
        assert rows["customer_scores"]["paused_because"] == f"run {run_id} was undone"
        assert (rows["customer_scores"]["last_kind"], rows["customer_scores"]["open_intents"]) == ("undo", 0)
        assert rows["product_recommendations"]["paused_because"] is None
        assert rows["customer_scores"]["not_to_be_pushed_because"]
        assert [(run["kind"], run["of_run"]) for run in sync("history", "customer_scores")] == [("undo", run_id), ("push", None)]

        refused = commerce("sync", "resync", "customer_scores", env=environment, check=False)
        assert refused.returncode == 1
        assert "is paused since" in refused.stderr
        assert sync("resume", "customer_scores")["was_paused"]
        assert sync("--dry-run")["counts"]["creates"] == CUSTOMERS, "`commerce sync` alone is the push of customer scores"
    unknown = commerce("sync", "plan", "custmer_scores", env=environment, check=False)
    assert (unknown.returncode, unknown.stderr.count("\n")) == (1, 1)
    assert "there are customer_scores, customer_segments, order_risk, product_recommendations; `commerce sync new" in unknown.stderr
