"""How much of a shop's budget a direct push uses, and whether the cost model chooses the quicker of direct and bulk.

The sandbox keeps Shopify's bucket (Standard 100 points a second and 2,000 in the bucket, Plus 1,000 and 20,000) and answers 300 ms late. Bounds:
from an empty bucket on, a direct push spends at least 90 % of the points that are restored until it ends, and is never throttled; at each
size the path that the model chooses is the quicker one, or slower by less than a tenth and a second. How fast the sandbox's own bulk mutations are is
fitted from the smallest and the largest size, as the model's parameters (these two predictions say nothing, the others do); Shopify's are
another matter (`Pace`).
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from activation_push import client_of, fill_with_customers
from support import REPOSITORY, running_sandbox

from commerce_assets.activation.declarations import read_syncs
from commerce_assets.activation.destinations.shopify import ShopifyObjects
from commerce_assets.activation.destinations.shopify_budget import BUCKET_SECONDS, Budget, Pace, budget_of
from commerce_assets.activation.destinations.shopify_mapping import mapping_of
from commerce_assets.activation.engine import push
from commerce_assets.activation.ledger import Ledger
from commerce_assets.activation.records import Estimate
from commerce_assets.sandbox.documents import gid
from commerce_assets.sources.shopify.bulk import run_mutation
from commerce_assets.sources.shopify.client import ShopifyClient
from commerce_assets.sources.shopify.throttle import ThrottleStatus

DECLARATIONS = REPOSITORY / "commerce_assets" / "defs" / "activation"
LATENCY_SECONDS = 0.3
FIRST_CUSTOMER = 1000
"""Number of the first customer that `fill_with_customers` makes."""
LEAST_USED = 0.9
SLOWER_ALLOWED, SECONDS_ALLOWED = 0.1, 1.0
FROM_EMPTY = {"standard": 200, "plus": 1_500}
"""Customers pushed from an empty bucket on, by plan."""
SIZES = {"standard": (100, 250), "plus": (100, 250, 1_000, 5_000)}
"""Customers pushed both ways, by plan: 5,000 on Standard would take a quarter of an hour."""
POINTS_A_DRAIN = 900
VALUES = {
    "rfm_segment": "loyal",
    "lifecycle": "active",
    "monetary_value": "12.5",
    "is_vip": "true",
    "vip_tier": "gold",
    "churn_risk": "low",
    "predicted_value": "8.25",
    "next_order_on": "2026-12-04",
    "scored_as_of": "2026-11-21",
    "tags": "lifecycle:active",
}


@dataclass(frozen=True)
class Run:
    """One push, measured."""

    seconds: float
    predicted_seconds: float | None
    points: int
    throttled: int
    budget: Budget
    """As it was known when the push was planned."""

    @property
    def used(self) -> float:
        """Of the points that lay there and those restored meanwhile."""
        return self.points / (self.budget.available + self.budget.rate * self.seconds)


class Remembered:
    """A client that knows a budget and sends nothing: for asking the model again."""

    def __init__(self, budget: Budget) -> None:
        status = ThrottleStatus(budget.rate * BUCKET_SECONDS, budget.available, budget.rate)
        self.throttle = SimpleNamespace(status=status, available=budget.available, answer_seconds=budget.answer_seconds)

    def execute(self, text: str, variables: Any = None, *, idempotent: bool = False) -> dict[str, Any]:
        raise AssertionError(f"an estimate asks nothing that is known: {text} {variables} {idempotent}")


@contextmanager
def shop(plan: str, customers: int) -> Iterator[tuple[str, Path]]:
    """A sandbox with so many customers, which answers late."""
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root)
        fill_with_customers(folder / "store", customers)
        (folder / "faults.json").write_text(json.dumps({"faults": [{"kind": "slow", "rate": 1.0, "seconds": LATENCY_SECONDS}]}))
        with running_sandbox(folder / "store", "--plan", plan, "--faults", str(folder / "faults.json")) as sandbox:
            yield sandbox.url, folder


def drain(client: ShopifyClient) -> None:
    """Spend what lies in the bucket, on tags that are not there."""
    owner = gid("Customer", FIRST_CUSTOMER)
    fields = (f't{n}: tagsRemove(id: "{owner}", tags: ["x"]) {{ userErrors {{ message }} }}' for n in range(POINTS_A_DRAIN // 10))
    text = f"mutation Drain {{ {' '.join(fields)} }}"
    client.execute(text, idempotent=True)
    with ThreadPoolExecutor(8) as pool:
        while client.throttle.available >= POINTS_A_DRAIN:
            calls = int(client.throttle.available // POINTS_A_DRAIN)
            list(pool.map(lambda _: client.execute(text, idempotent=True), range(calls)))


def run(url: str, folder: Path, first: int, count: int, path: str) -> Run:
    """A push of `count` customers from the `first` on, by a path."""
    declared = read_syncs(DECLARATIONS)["customer_scores"].declared
    sync = replace(declared.as_sync(), canary=None, holdout=None, consent=None)
    keys = [gid("Customer", FIRST_CUSTOMER + first + number) for number in range(count)]
    desired = pl.DataFrame({"record_key": keys}).with_columns(pl.lit(VALUES[name]).alias(name) for name in sync.fields)
    with client_of(url) as client, Ledger(f"sqlite:///{folder / f'{path}.sqlite'}") as ledger:
        destination = ShopifyObjects(
            client, mapping_of(declared), bulk=_bulk(client, folder), bulk_threshold=0 if path == "bulk" else count
        )
        # Like a push's own plan: what the shop restores is known from then on.
        predicted = destination.estimate(count, 0, 0).seconds
        budget = budget_of(client)
        if budget is None:
            raise SystemExit("the sandbox did not tell its budget")
        started = time.monotonic()
        report = push(sync, desired, ledger, destination)
        seconds = time.monotonic() - started
        if report.succeeded != count:
            raise SystemExit(f"{count - report.succeeded} of {count} customers failed: {report.failure_reasons}")
        return Run(seconds, predicted, report.points, report.throttled, budget)


def estimated(count: int, budget: Budget, pace: Pace, threshold: int | None = None) -> Estimate:
    """What the destination would do, bulk mutations being as fast as `pace` says."""
    mapping = mapping_of(read_syncs(DECLARATIONS)["customer_scores"].declared)
    return ShopifyObjects(Remembered(budget), mapping, bulk=lambda _, __: (), bulk_threshold=threshold, pace=pace).estimate(count, 0, 0)


def _bulk(client: ShopifyClient, folder: Path) -> Callable[[str, Any], Any]:
    return lambda mutation, rows: run_mutation(client, mutation, rows, folder, label="benchmark", progress=lambda _: None)


def use_of_budget() -> bool:
    """Both plans from an empty bucket on."""
    print(f"{'plan':<9} {'customers':>9} {'seconds':>8} {'points':>7} {'used':>6} {'throttled':>9}")
    kept = True
    for plan, count in FROM_EMPTY.items():
        with shop(plan, count) as (url, folder):
            with client_of(url) as client:
                drain(client)
            done = run(url, folder, 0, count, "direct")
        is_kept = done.used >= LEAST_USED and done.throttled == 0
        kept = kept and is_kept
        print(
            f"{plan:<9} {count:>9,} {done.seconds:>8.1f} {done.points:>7,} {done.used:>6.1%} {done.throttled:>9} {'' if is_kept else 'MISSED'}"
        )
    return kept


def choices() -> bool:
    """Both paths at each size, measured and predicted."""
    measured: dict[tuple[str, int], dict[str, Run]] = {}
    for plan, sizes in SIZES.items():
        for count in sizes:
            with shop(plan, 2 * count) as (url, folder):
                # In bulk first: it leaves the bucket almost full.
                measured[plan, count] = {"bulk": run(url, folder, 0, count, "bulk"), "direct": run(url, folder, count, count, "direct")}
    pace = fitted([(count, runs["bulk"].seconds) for (plan, count), runs in measured.items() if plan == "plus"])
    print(f"\nthe sandbox's bulk mutations: {pace.fixed_seconds:.1f} s each and {pace.rows_a_second:,.0f} rows a second")
    print(f"{'plan':<9} {'customers':>9} {'direct s':>9} {'predicted':>9} {'bulk s':>9} {'predicted':>9} {'chosen':>7} {'throttled':>9}")
    kept = True
    for (plan, count), runs in measured.items():
        budget = runs["direct"].budget
        bulk_predicted, direct_predicted = estimated(count, budget, pace, 0).seconds or 0.0, runs["direct"].predicted_seconds or 0.0
        chosen = estimated(count, budget, pace).path
        other = "direct" if chosen == "bulk" else "bulk"
        is_quicker = runs[chosen].seconds <= runs[other].seconds * (1 + SLOWER_ALLOWED) + SECONDS_ALLOWED
        throttled = sum(one.throttled for one in runs.values())
        kept = kept and is_quicker and not throttled
        print(
            f"{plan:<9} {count:>9,} {runs['direct'].seconds:>9.1f} {direct_predicted:>9.1f} {runs['bulk'].seconds:>9.1f} {bulk_predicted:>9.1f} "
            f"{chosen:>7} {throttled:>9} {'' if is_quicker and not throttled else 'MISSED'}"
        )
    return kept


def fitted(points: Sequence[tuple[int, float]]) -> Pace:
    """The pace that explains the smallest and the largest push: two operations (metafields, tags to add), each of a row a customer."""
    (small, quick), (large, slow) = min(points), max(points)
    seconds_a_row = max(1e-6, (slow - quick) / (2 * (large - small)))
    return Pace(fixed_seconds=max(0.0, quick / 2 - small * seconds_a_row), rows_a_second=1 / seconds_a_row)


def main() -> int:
    started = time.monotonic()
    kept = [use_of_budget(), choices()]
    print(f"\n{'all bounds kept' if all(kept) else 'bounds MISSED'} ({time.monotonic() - started:.0f} s)")
    return 0 if all(kept) else 1


if __name__ == "__main__":
    raise SystemExit(main())
