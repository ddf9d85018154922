"""A push of scores to the sandbox, through the real client: values arrive, nothing is written twice, others' things stay."""

from pathlib import Path

import polars as pl
import pytest
from activation_push import client_of, customers_of, fill_with_customers, metafields_of, push_scores, wanted_scores
from shipped_syncs import MAPPING
from support import running_sandbox

from commerce_assets.activation.ledger import ledger_frames
from commerce_assets.sandbox.documents import gid

pytestmark = pytest.mark.slow
CUSTOMERS = 120
DELETE = "mutation Delete($input: CustomerDeleteInput!) { customerDelete(input: $input) { deletedCustomerId userErrors { message } } }"
DEFINITIONS = "query { metafieldDefinitions(first: 20, ownerType: CUSTOMER) { nodes { namespace key type { name } } } }"


@pytest.mark.parametrize("path", ["direct", "bulk"])
def test_scores_arrive_once_and_changes_only_where_they_are(tmp_path: Path, path: str) -> None:
    ledger_url = f"sqlite:///{tmp_path / 'ops.sqlite'}"
    fill_with_customers(tmp_path / "store", CUSTOMERS)
    with running_sandbox(tmp_path / "store", "--plan", "plus") as sandbox, client_of(sandbox.url) as client:
        before = customers_of(client)
        scores = wanted_scores(before)
        report = push_scores(client, scores, ledger_url, path, tmp_path / "bulk")
        assert (report.status, report.creates, report.succeeded, report.failed) == ("succeeded", CUSTOMERS, CUSTOMERS, 0)

        after = customers_of(client)
        for row in scores.iter_rows(named=True):
            customer = after[row["customer_gid"]]
            held = metafields_of(customer)
            assert held["commerce.rfm_segment"] == row["rfm_segment"]
            assert held["commerce.is_vip"] == str(row["is_vip"]).lower()
            assert float(held["commerce.monetary_value"]) == float(row["monetary_value_amount"])
            assert held["commerce.scored_as_of"] == "2026-11-21"
            assert set(customer["tags"]) == set(before[row["customer_gid"]]["tags"]) | set(row["lifecycle_tags"])
        defined = client.execute(DEFINITIONS)["metafieldDefinitions"]["nodes"]
        assert {(node["namespace"], node["key"], node["type"]["name"]) for node in defined} == {
            (target.namespace, target.key, target.type) for target in MAPPING.metafields
        }

        again = push_scores(client, scores.with_columns(as_of_on=pl.date(2026, 11, 22)), ledger_url, path, tmp_path / "bulk")
        assert (again.planned, again.requests, again.unchanged) == (0, 0, CUSTOMERS)
        assert customers_of(client) == after

        lapses = scores["customer_gid"][1]
        is_it = pl.col("customer_gid") == lapses
        changed = scores.with_columns(
            lifecycle=pl.when(is_it).then(pl.lit("lapsed")).otherwise("lifecycle"),
            lifecycle_tags=pl.when(is_it).then(pl.lit(["lifecycle:lapsed"])).otherwise("lifecycle_tags"),
        )
        report = push_scores(client, changed, ledger_url, path, tmp_path / "bulk")
        assert (report.updates, report.succeeded) == (1, 1)
        final = customers_of(client)
        assert [key for key in final if final[key] != after[key]] == [lapses]
        assert "lifecycle:active" not in final[lapses]["tags"]

        kept = changed.filter(pl.col("customer_gid") != lapses)
        report = push_scores(client, kept, ledger_url, path, tmp_path / "bulk")
        assert (report.removals, report.succeeded) == (1, 1)
        assert metafields_of(customers_of(client)[lapses]) == {}
        assert push_scores(client, kept, ledger_url, path, tmp_path / "bulk").planned == 0


@pytest.mark.parametrize("path", ["direct", "bulk"])
def test_deleted_and_refused_customers_never_stop_the_others(tmp_path: Path, path: str) -> None:
    ledger_url = f"sqlite:///{tmp_path / 'ops.sqlite'}"
    fill_with_customers(tmp_path / "store", 30)
    with running_sandbox(tmp_path / "store", "--plan", "plus") as sandbox, client_of(sandbox.url) as client:
        scores = wanted_scores(customers_of(client))
        push_scores(client, scores, ledger_url, path, tmp_path / "bulk")
        deleted, refused = scores["customer_gid"][3], scores["customer_gid"][4]
        answer = client.execute(DELETE, {"input": {"id": deleted}})["customerDelete"]
        assert answer["userErrors"] == []
        too_long = "x" * 70_000
        everyone_differs = scores.with_columns(
            rfm_segment=pl.when(pl.col("customer_gid") == refused).then(pl.lit(too_long)).otherwise(pl.lit("champions"))
        )
        report = push_scores(client, everyone_differs, ledger_url, path, tmp_path / "bulk")
        assert (report.updates, report.succeeded, report.gone, report.failed) == (30, 28, 1, 1)
        again = push_scores(client, everyone_differs, ledger_url, path, tmp_path / "bulk")
        assert (again.planned, again.failed, again.skipped) == (1, 1, {"gone_at_destination": 1})
        failed = ledger_frames(ledger_url)["activation_changes"].filter(pl.col("outcome") == "failed")
        assert failed["record_key"].unique().to_list() == [refused]
        assert failed["attempt"].sort().to_list() == [1, 2]
        assert gid("Customer", 0) not in customers_of(client)
