"""The whole demo against a store on which things go wrong: it ends right, or fails cleanly with what was there kept.

Two stories: what lasts (streams fail and a line is broken while the store moves on; the next run is good again), and what passes (every
passing fault at once, on a store as it was at first). Both go on from one undisturbed run. The tests only read what the runs left.
"""

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import httpx
import pytest
from pipeline_runs import LAST_MONTHS, Calm, Shop
from support import running_sandbox

from commerce_assets.contracts import family

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("runs"), pytest.mark.timeout(900)]

Faults = list[dict[str, Any]]
STREAMS = ("products", "customers", "locations", "orders", "inventory", "ids")
CREDENTIALS = {"SHOPIFY_CLIENT_ID": "sandbox-client", "SHOPIFY_CLIENT_SECRET": "sandbox-secret"}
CHANGED = "changed-in-between"

LASTING: Faults = [
    {"kind": "bulk_failed_partial", "rate": 1, "match": "for the order family", "after_objects": 2},
    # The products' pull is the first to download: its address and three fresh ones, and all of them again in its second attempt.
    {"kind": "url_expired", "nth": list(range(1, 9))},
    {"kind": "wrong_version", "rate": 1, "match": "query Locations", "version": "2025-07"},
    {"kind": "jsonl_corrupted", "nth": [1], "match": "for the customer family", "line": 100},
]
FAILING = {"orders", "products", "locations"}
BROKEN_LINE = ("customers", 100)
"""After the pull's 25 customers: a metafield, in which nothing hangs."""
EXPIRED_TOKENS = [4, 19]
PASSING: Faults = [
    {"kind": "http_500", "rate": 0.04, "times": 6},
    {"kind": "http_503", "rate": 0.04, "times": 6},
    {"kind": "http_503", "nth": [2], "on": "download"},
    {"kind": "http_500", "nth": [1], "on": "token"},
    {"kind": "http_429", "nth": [7, 23], "seconds": 0.2},
    {"kind": "throttled", "nth": [9, 21]},
    {"kind": "slow", "rate": 0.1, "seconds": 0.2, "times": 10},
    {"kind": "timeout", "nth": [13, 27], "seconds": 0.5},
    {"kind": "cut_connection", "nth": [11, 25]},
    {"kind": "cut_connection", "nth": [3, 5], "on": "download"},
    {"kind": "cut_connection", "nth": [1], "match": "metafieldsSet"},
    {"kind": "http_503", "nth": [1], "match": "tagsAdd"},
    {"kind": "url_expired", "nth": [4]},
    {"kind": "bulk_slow", "nth": [2], "seconds": 0.5},
    {"kind": "bulk_failed_partial", "nth": [1], "match": "for the order family", "after_objects": 5},
    {"kind": "jsonl_truncated", "nth": [1], "match": "for the product family"},
    {"kind": "token_expired", "nth": EXPIRED_TOKENS},
    {"kind": "wrong_version", "nth": [15], "version": "2027-01"},
]


@dataclass(frozen=True)
class Seen:
    """What one run left."""

    summary: dict[str, Any]
    marts: dict[str, tuple[int, str | None]]
    scores: dict[str, Any]
    quarantined: list[dict[str, Any]]
    files: dict[str, dict[str, int]]
    changed: dict[str, int]
    loads: int
    tokens: int

    @property
    def exit_code(self) -> int:
        return int(self.summary["exit_code"])

    @property
    def problems(self) -> dict[str, list[str]]:
        return {stage["name"]: stage["problems"] for stage in self.summary["stages"] if stage["problems"]}

    @property
    def progress(self) -> str:
        return str(self.summary["progress"])


def seen(shop: Shop, summary: dict[str, Any]) -> Seen:
    """What a run with this summary left."""
    return Seen(
        summary=summary,
        marts=shop.marts(),
        scores=shop.storefront_scores(),
        quarantined=_quarantined(shop.root),
        files={stream: _accepted_files(shop.root, stream) for stream in STREAMS},
        changed={
            mart: int(shop.query(f"select count(*) from marts.{mart} where contains(tags::varchar, '{CHANGED}')")[0][0])
            for mart in ("fct_order", "dim_product")
        },
        loads=sum(1 for _ in (shop.root / "lake" / "files" / "storefront").glob("*/*/")),
        tokens=_tokens(shop.sandbox.store),
    )


def _quarantined(root: Path) -> list[dict[str, Any]]:
    pattern = root / "lake" / "quarantine" / "**" / "*.parquet"
    columns = '"table", failed_rules, _source_file, _line'
    query = f"select {columns} from read_parquet('{pattern}', union_by_name = true, hive_partitioning = false)"
    return duckdb.sql(query).pl().to_dicts()


def _accepted_files(root: Path, stream: str) -> dict[str, int]:
    """The Parquet files of a family's tables, with their sizes: names are never used again for other content."""
    raw = root / "lake" / "raw" / "storefront"
    tables = [raw / contract.name for contract in family(stream)]
    return {str(path.relative_to(raw)): path.stat().st_size for table in tables for path in table.rglob("*.parquet")}


def _tokens(store: Path) -> int:
    """How many tokens the store has given for client credentials."""
    with sqlite3.connect(store / "store.sqlite") as connection:
        return int(connection.execute("select count(*) from tokens where kind = 'client'").fetchone()[0])


@contextmanager
def served(calm: Calm, faults: Faults, settings: Mapping[str, str] | None = None) -> Iterator[Shop]:
    """A process that serves the store with faults, for a data root that may hold earlier runs."""
    file = calm.folder / "faults.json"
    file.write_text(json.dumps({"seed": 3, "faults": faults}))
    with running_sandbox(calm.store, "--plan", "plus", "--faults", str(file)) as sandbox:
        yield Shop(sandbox, calm.root, {**LAST_MONTHS, **(settings or {})})


def _tag(shop: Shop, gid: str) -> None:
    """Somebody changes an object of the store."""
    text = "mutation($id: ID!, $tags: [String!]!) { tagsAdd(id: $id, tags: $tags) { userErrors { message } } }"
    answer = httpx.post(
        f"{shop.sandbox.url}/admin/api/2026-10/graphql.json",
        json={"query": text, "variables": {"id": gid, "tags": [CHANGED]}},
        headers={"X-Shopify-Access-Token": shop.sandbox.token},
    ).json()
    assert answer["data"]["tagsAdd"]["userErrors"] == []


@pytest.fixture(scope="module")
def lasting(calm: Calm) -> dict[str, Seen]:
    """After the undisturbed run streams fail while the store moves on; then all is well again."""
    calm.from_its_end()
    with served(calm, []) as shop:
        undisturbed = seen(shop, calm.summary)
        for column, mart in (("order_gid", "fct_order"), ("product_gid", "dim_product")):
            _tag(shop, shop.query(f"select max({column}) from marts.{mart}")[0][0])
    with served(calm, LASTING) as shop:
        failed = seen(shop, shop.summary())
    with served(calm, []) as shop:
        again = seen(shop, shop.summary())
    return {"calm": undisturbed, "failed": failed, "again": again}


@pytest.fixture(scope="module")
def passing(lasting: dict[str, Seen], calm: Calm) -> dict[str, Seen]:
    """From nothing: every fault that passes, and credentials that have to be renewed. After the other story: both need the same place."""
    calm.from_nothing()
    with served(calm, PASSING, CREDENTIALS) as shop:
        return {"disturbed": seen(shop, shop.summary())}


def test_the_undisturbed_run_is_worth_comparing_with(lasting: dict[str, Seen]) -> None:
    calm = lasting["calm"]
    assert calm.exit_code == 0, calm.progress[-4000:]
    assert calm.quarantined == []
    for mart in ("fct_order", "fct_order_line", "fct_refund", "fct_inventory_snapshot", "dim_customer", "dim_product"):
        assert calm.marts[mart][0] > 0, mart
    assert calm.scores


def test_passing_faults_leave_no_trace(lasting: dict[str, Seen], passing: dict[str, Seen]) -> None:
    calm, disturbed = lasting["calm"], passing["disturbed"]
    assert disturbed.exit_code == 0, disturbed.progress[-4000:]
    assert disturbed.problems == {}
    assert disturbed.marts == calm.marts
    assert disturbed.scores == calm.scores
    assert disturbed.quarantined == []


def test_a_truncated_result_was_fetched_anew(passing: dict[str, Seen]) -> None:
    # One folder a pull: six, and the second attempt of the products.
    assert passing["disturbed"].loads == len(STREAMS) + 1


def test_refused_tokens_were_renewed(passing: dict[str, Seen]) -> None:
    disturbed = passing["disturbed"]
    clients = disturbed.loads + 4  # beside the pulls: the question for the first order, two syncs, the segments
    assert disturbed.tokens == clients + len(EXPIRED_TOKENS)


def test_a_newer_version_is_a_loud_warning(passing: dict[str, Seen]) -> None:
    said = [line for line in passing["disturbed"].progress.splitlines() if "2027-01 answered (newer)" in line]
    assert said
    assert all("SHOPIFY_API_VERSION" in line for line in said)


def test_each_stream_fails_with_a_line_that_names_it(lasting: dict[str, Seen]) -> None:
    failed = lasting["failed"]
    assert failed.exit_code == 1
    assert not failed.summary["is_ok"]
    assert set(failed.problems) == FAILING, failed.progress[-4000:]
    told = {"orders": "ended FAILED (INTERNAL_SERVER_ERROR)", "products": "the address of the result was refused", "locations": "(older)"}
    for stream, words in told.items():
        (problem,) = failed.problems[stream]
        assert words in problem
        assert stream in problem
        assert "\n" not in problem
        assert "Traceback" not in problem
        assert f"{stream}: FAILED: " in failed.progress


def test_an_older_version_is_not_asked_twice(lasting: dict[str, Seen]) -> None:
    failed = lasting["failed"]
    (problem,) = failed.problems["locations"]
    assert "2025-07 answered (older)" in problem
    assert "SHOPIFY_API_VERSION" in problem
    (seconds,) = (stage["seconds"] for stage in failed.summary["stages"] if stage["name"] == "locations")
    pulls = failed.loads - lasting["calm"].loads
    assert pulls == len(STREAMS) + 2, f"products and orders are tried twice, locations once ({seconds:.1f} s)"


def test_other_streams_succeed(lasting: dict[str, Seen]) -> None:
    failed = lasting["failed"]
    assert set(failed.summary["streams"]) == {"customers", "inventory", "ids"}
    assert failed.summary["streams"]["customers"]["accepted"] > 0
    assert failed.summary["published_version"]


def test_what_the_failed_streams_had_is_kept(lasting: dict[str, Seen]) -> None:
    calm, failed = lasting["calm"], lasting["failed"]
    for stream in FAILING:
        assert failed.files[stream] == calm.files[stream], stream
    for mart in ("fct_order", "fct_order_line", "fct_refund", "fct_transaction", "dim_product", "dim_variant", "dim_location"):
        assert failed.marts[mart] == calm.marts[mart], mart
    assert failed.changed == {"fct_order": 0, "dim_product": 0}


def test_the_next_good_run_makes_up_for_it(lasting: dict[str, Seen]) -> None:
    calm, again = lasting["calm"], lasting["again"]
    assert again.exit_code == 0, again.progress[-4000:]
    assert again.changed == {"fct_order": 1, "dim_product": 1}
    assert {mart: rows for mart, (rows, _) in again.marts.items()} == {mart: rows for mart, (rows, _) in calm.marts.items()}
    assert {name: counts["written"] for name, counts in again.summary["syncs"].items()} == dict.fromkeys(again.summary["syncs"], 0)


def test_only_the_broken_line_is_quarantined(lasting: dict[str, Seen]) -> None:
    (row,) = lasting["failed"].quarantined
    assert row["failed_rules"] == ["broken_json"]
    assert (row["_source_file"].split("/")[1], row["_line"]) == BROKEN_LINE


def test_everything_but_the_broken_line_lands(lasting: dict[str, Seen]) -> None:
    calm, failed = lasting["calm"], lasting["failed"]
    customers = failed.summary["streams"]["customers"]
    assert customers["quarantined"] == 1
    assert customers["accepted"] == customers["read"] - customers["duplicates"] - 1
    assert customers["accepted"] > calm.summary["customers_scored"], "the pull holds every customer that scores were pushed to"
    assert failed.marts["dim_customer"][0] == calm.marts["dim_customer"][0]
