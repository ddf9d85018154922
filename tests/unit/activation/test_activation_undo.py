"""The life of a sync beside its pushes: undo, pause, plans that are kept, resync. Against a shop in memory."""

import random
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from activation_fakes import FakeShop
from activation_push import wanted_scores
from shipped_syncs import MAPPING, SYNC, as_records, push_customer_scores

from commerce_assets.activation.destinations.shopify import ShopifyCustomers
from commerce_assets.activation.engine import PushReport, new_id, plan_push
from commerce_assets.activation.errors import DestinationUnavailableError, PlanDiffersError, SyncPausedError, UndoError
from commerce_assets.activation.ledger import Ledger, ledger_frames
from commerce_assets.activation.pauses import pause, pause_of, resume
from commerce_assets.activation.plans import keep_plan
from commerce_assets.activation.resync import resync
from commerce_assets.activation.undo import UndoReport, Written, decide, undo

SEGMENT, LIFECYCLE, NEXT_ORDER = "commerce.rfm_segment", "commerce.lifecycle", "commerce.next_order_on"
MERCHANTS_TAG = "VIP of the shop"


def gid(number: int) -> str:
    return f"gid://shopify/Customer/{number}"


def scores(*numbers: int) -> pl.DataFrame:
    return wanted_scores(gid(number) for number in numbers)


def with_segment(rows: pl.DataFrame, *numbers: int, segment: str = "champions") -> pl.DataFrame:
    is_one = pl.col("customer_gid").is_in([gid(number) for number in numbers])
    return rows.with_columns(
        rfm_segment=pl.when(is_one).then(pl.lit(segment)).otherwise("rfm_segment"),
        lifecycle_tags=pl.when(is_one).then(pl.lit(["lifecycle:new"])).otherwise("lifecycle_tags"),
        next_order_expected_on=pl.when(~is_one).then("next_order_expected_on"),
    )


@pytest.fixture
def shop() -> FakeShop:
    made = FakeShop(gid(number) for number in range(1, 9))
    for customer in made.customers.values():
        customer.tags.append(MERCHANTS_TAG)
    return made


@pytest.fixture
def ledger_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'ops.sqlite'}"


def push(shop: FakeShop, rows: pl.DataFrame, ledger_url: str, path: str = "direct", **options: Any) -> PushReport:
    bulk = {"bulk": shop.run_bulk, "bulk_threshold": 0} if path == "bulk" else {}
    return push_customer_scores(rows, shop, ledger_url, **bulk, **options)


def lift(ledger_url: str) -> bool:
    with Ledger(ledger_url) as ledger:
        return resume(ledger, SYNC)


def take_back(shop: FakeShop, run_id: str | None, ledger_url: str, path: str = "direct") -> UndoReport:
    assert run_id
    destination = ShopifyCustomers(shop, MAPPING, bulk=shop.run_bulk if path == "bulk" else None, bulk_threshold=0)
    with Ledger(ledger_url) as ledger:
        return undo(SYNC, run_id, ledger, destination, requested_by="test")


def state_of(ledger_url: str) -> dict[str, str]:
    with Ledger(ledger_url) as ledger:
        return dict(ledger.fingerprints(SYNC).iter_rows())


@pytest.mark.parametrize("path", ["direct", "bulk"])
def test_an_undo_gives_back_exactly_what_was_held_before(shop: FakeShop, ledger_url: str, path: str) -> None:
    push(shop, scores(1, 2, 3), ledger_url, path)
    before, believed = shop.state(), state_of(ledger_url)
    second = push(shop, with_segment(scores(1, 2, 3, 4), 2).filter(pl.col("customer_gid") != gid(3)), ledger_url, path)
    assert (second.creates, second.updates, second.removals) == (1, 1, 1)
    report = take_back(shop, second.run_id, ledger_url, path)
    assert (report.status, report.changed, report.succeeded, report.changed_since, report.failed) == ("succeeded", 3, 3, 0, 0)
    assert shop.state() == before
    assert state_of(ledger_url) == believed
    runs = ledger_frames(ledger_url)["activation_runs"]
    assert runs.select("kind", "of_run", "update_count", "remove_count").rows()[-1] == ("undo", second.run_id, 2, 1)


@pytest.mark.parametrize("path", ["direct", "bulk"])
def test_an_undo_of_the_first_push_leaves_nothing_of_ours(shop: FakeShop, ledger_url: str, path: str) -> None:
    before = shop.state()
    first = push(shop, scores(1, 2, 3), ledger_url, path)
    assert take_back(shop, first.run_id, ledger_url, path).succeeded == 3
    assert shop.state() == before
    assert state_of(ledger_url) == {}


def test_what_was_found_on_a_customer_new_to_the_ledger_comes_back(shop: FakeShop, ledger_url: str) -> None:
    shop.customers[gid(1)].metafields[SEGMENT] = ("single_line_text_field", "from another time")
    shop.customers[gid(1)].tags.append("lifecycle:lapsed")
    before = shop.state()
    first = push(shop, scores(1, 2), ledger_url)
    take_back(shop, first.run_id, ledger_url)
    assert shop.state() == before


@pytest.mark.parametrize("changed", [SEGMENT, NEXT_ORDER, "tags"])
def test_a_record_that_changed_since_is_left_alone_and_told(shop: FakeShop, ledger_url: str, changed: str) -> None:
    first = push(shop, scores(1, 2, 3), ledger_url)
    if changed == "tags":
        shop.customers[gid(2)].tags.append("winback:by-hand")
    else:
        shop.customers[gid(2)].metafields[changed] = ("date", "2031-01-01")
    theirs = shop.state()[gid(2)]
    report = take_back(shop, first.run_id, ledger_url)
    assert (report.succeeded, report.changed_since, report.changed_since_sample) == (2, 1, (gid(2),))
    assert shop.state()[gid(2)] == theirs
    assert shop.state()[gid(1)] == ((MERCHANTS_TAG,), ())


def test_an_undo_of_an_older_run_leaves_what_a_newer_one_wrote(shop: FakeShop, ledger_url: str) -> None:
    first = push(shop, scores(1, 2, 3), ledger_url)
    push(shop, with_segment(scores(1, 2, 3), 2), ledger_url)
    report = take_back(shop, first.run_id, ledger_url)
    assert (report.succeeded, report.changed_since) == (2, 1)


def test_an_undo_repeated_does_nothing_more_and_may_itself_be_undone(shop: FakeShop, ledger_url: str) -> None:
    first = push(shop, scores(1, 2), ledger_url)
    pushed = shop.state()
    undone = take_back(shop, first.run_id, ledger_url)
    after, mutations = shop.state(), shop.mutations
    again = take_back(shop, first.run_id, ledger_url)
    assert (again.succeeded, again.already, shop.state(), shop.mutations) == (0, 2, after, mutations)
    assert take_back(shop, undone.run_id, ledger_url).succeeded == 2
    assert shop.state() == pushed


def test_deleted_customers_are_gone_and_stop_nobody(shop: FakeShop, ledger_url: str) -> None:
    first = push(shop, scores(1, 2, 3), ledger_url)
    del shop.customers[gid(2)]
    report = take_back(shop, first.run_id, ledger_url)
    assert (report.succeeded, report.gone, report.failed) == (2, 1, 0)


@pytest.mark.parametrize("seed", range(12))
def test_undos_that_were_cut_off_anywhere_end_where_a_whole_one_does(shop: FakeShop, ledger_url: str, seed: int) -> None:
    push(shop, scores(1, 2, 3, 4, 5), ledger_url)
    before = shop.state()
    second = push(shop, with_segment(scores(1, 2, 3, 4, 5, 6), 2, 3, 4, 5), ledger_url)
    dice = random.Random(seed)

    def cut(operation: str, _: Mapping[str, Any]) -> str | None:
        is_write = operation in {"metafieldsSet", "metafieldsDelete", "tagsAdd", "tagsRemove"}
        return dice.choice(["before", "after"]) if is_write and dice.random() < 0.5 else None

    shop.fault = cut
    for _ in range(3):
        try:
            take_back(shop, second.run_id, ledger_url)
        except DestinationUnavailableError:
            continue
    shop.fault = lambda operation, variables: None
    report = take_back(shop, second.run_id, ledger_url)
    assert (report.failed, report.changed_since) == (0, 0)
    assert shop.state() == before
    with Ledger(ledger_url) as ledger:
        assert ledger.open_intents(SYNC) == []


def test_what_others_wrote_while_a_push_was_cut_off_is_not_taken_for_ours(shop: FakeShop, ledger_url: str) -> None:
    push(shop, scores(1, 2), ledger_url)

    def another_is_quicker(operation: str, _: Mapping[str, Any]) -> str | None:
        if operation != "metafieldsSet":
            return None
        shop.customers[gid(1)].metafields[SEGMENT] = ("single_line_text_field", "by hand")
        return "before"

    shop.fault = another_is_quicker
    cut = push(shop, with_segment(scores(1, 2), 1), ledger_url)
    assert cut.failed == 1
    shop.fault = lambda operation, variables: None
    theirs = shop.state()
    take_back(shop, cut.run_id, ledger_url)
    assert shop.state() == theirs


def test_half_undone_is_not_changed_since() -> None:
    prior = dict.fromkeys(SYNC.fields) | {"lifecycle": "new", "tags": "lifecycle:new"}
    written = dict.fromkeys(SYNC.fields) | {"lifecycle": "lapsed", "tags": "lifecycle:lapsed,winback:x"}
    half = {**prior, "tags": "lifecycle:lapsed,lifecycle:new"}
    assert decide(SYNC, Written("k", prior, written, was_tried=True), half) == "restore"
    assert decide(SYNC, Written("k", prior, written), half) == "changed_since"
    assert decide(SYNC, Written("k", prior, written, was_tried=True), {**half, "lifecycle": "active"}) == "changed_since"
    assert decide(SYNC, Written("k", prior, written), None) == "gone"


def test_an_undo_pauses_the_sync_until_it_is_resumed(shop: FakeShop, ledger_url: str) -> None:
    first = push(shop, scores(1, 2), ledger_url)
    take_back(shop, first.run_id, ledger_url)
    runs = ledger_frames(ledger_url)["activation_runs"].height
    with pytest.raises(SyncPausedError, match=rf"paused since .* by test \(run {first.run_id} was undone\).*sync resume customer_scores"):
        push(shop, scores(1, 2), ledger_url)
    assert ledger_frames(ledger_url)["activation_runs"].height == runs
    assert push(shop, scores(1, 2), ledger_url, dry_run=True).creates == 2, "a plan is made all the same"
    assert lift(ledger_url)
    assert push(shop, scores(1, 2), ledger_url).succeeded == 2


def test_a_pause_holds_its_sync_only_and_may_be_repeated(ledger_url: str) -> None:
    with Ledger(ledger_url) as ledger:
        pause(ledger, SYNC, "a", "one")
        pause(ledger, SYNC, "b", "two")
        found = pause_of(ledger, SYNC)
        assert found is not None
        assert (found.paused_by, found.reason) == ("b", "two")
        assert resume(ledger, SYNC)
        assert not resume(ledger, SYNC)


def test_values_older_than_the_setting_are_cleared_and_the_undo_says_so(shop: FakeShop, ledger_url: str) -> None:
    first = push(shop, scores(1, 2), ledger_url)
    assert push(shop, scores(1, 2), ledger_url, undo_days=0).planned == 0
    path = ledger_url.removeprefix("sqlite:///")
    with closing(sqlite3.connect(path)) as reader:
        kept = reader.execute("select count(prior_fields), count(written_fields) from activation_changes").fetchone()
    assert kept == (0, 0)
    before = shop.state()
    with pytest.raises(UndoError, match="COMMERCE_UNDO_DAYS"):
        take_back(shop, first.run_id, ledger_url)
    assert shop.state() == before
    with Ledger(ledger_url) as ledger:
        assert pause_of(ledger, SYNC) is None


def test_a_run_that_is_not_there_cannot_be_undone(shop: FakeShop, ledger_url: str) -> None:
    with pytest.raises(UndoError, match="commerce sync history"):
        take_back(shop, "20260101-none", ledger_url)


def test_values_kept_for_an_undo_are_not_published(shop: FakeShop, ledger_url: str) -> None:
    push(shop, scores(1), ledger_url)
    for frame in ledger_frames(ledger_url).values():
        assert not {"prior_fields", "written_fields", "fields"} & set(frame.columns)
        assert "cant_lose" not in frame.write_csv()


def test_a_ledger_of_the_old_schema_gets_its_columns_and_goes_on(shop: FakeShop, ledger_url: str) -> None:
    first = push(shop, scores(1, 2), ledger_url)
    with closing(sqlite3.connect(ledger_url.removeprefix("sqlite:///"))) as old:
        old.execute("drop index activation_changes_kept")
        for table, column in (
            ("activation_changes", "prior_fields"),
            ("activation_changes", "written_fields"),
            ("activation_runs", "kind"),
            ("activation_runs", "of_run"),
        ):
            old.execute(f"alter table {table} drop column {column}")
        old.execute("drop table activation_plans")
        old.execute("drop table activation_pauses")
        old.commit()
    assert push(shop, scores(1, 2), ledger_url).planned == 0
    assert ledger_frames(ledger_url)["activation_runs"]["kind"].to_list() == ["push", "push"]
    with pytest.raises(UndoError, match="than undo itself"):
        take_back(shop, first.run_id, ledger_url)
    second = push(shop, with_segment(scores(1, 2), 1), ledger_url)
    assert take_back(shop, second.run_id, ledger_url).succeeded == 1


def kept_plan(shop: FakeShop, rows: pl.DataFrame, ledger_url: str) -> str:
    with Ledger(ledger_url) as ledger:
        plan = plan_push(SYNC, as_records(rows), ledger, ShopifyCustomers(shop, MAPPING))
        return keep_plan(ledger, SYNC, plan, new_id()).plan_id


def test_what_was_planned_is_what_is_applied(shop: FakeShop, ledger_url: str) -> None:
    push(shop, scores(1, 2), ledger_url)
    wanted = with_segment(scores(1, 2, 3), 1)
    plan_id = kept_plan(shop, wanted, ledger_url)
    before = shop.state()
    with pytest.raises(PlanDiffersError, match=r"create 1 then, 0 now; .*nothing was written"):
        push(shop, scores(1, 2), ledger_url, plan_id=plan_id)
    with pytest.raises(PlanDiffersError, match="the same counts, other records or values"):
        push(shop, with_segment(scores(1, 2, 3), 1, segment="loyal"), ledger_url, plan_id=plan_id)
    with pytest.raises(PlanDiffersError, match="plan never is not known"):
        push(shop, wanted, ledger_url, plan_id="never")
    assert shop.state() == before
    report = push(shop, wanted, ledger_url, plan_id=plan_id)
    assert (report.status, report.failed, report.planned) == ("succeeded", 0, report.succeeded)
    with pytest.raises(PlanDiffersError):
        push(shop, wanted, ledger_url, plan_id=plan_id)


def test_a_resync_sets_right_what_others_changed_and_still_removes(shop: FakeShop, ledger_url: str) -> None:
    rows = scores(1, 2, 3, 4)
    push(shop, rows, ledger_url)
    right = shop.state()
    shop.customers[gid(1)].metafields[SEGMENT] = ("single_line_text_field", "by hand")
    shop.customers[gid(2)].metafields.clear()
    assert push(shop, rows, ledger_url).planned == 0, "the ledger does not know of it"
    with Ledger(ledger_url) as ledger:
        report = resync(SYNC, ledger, ShopifyCustomers(shop, MAPPING))
    assert (report.read, report.differing, report.gone) == (4, 2, 0)
    kept = rows.filter(pl.col("customer_gid") != gid(4))
    assert push(shop, kept, ledger_url).removals == 1
    assert {key: state for key, state in shop.state().items() if key != gid(4)} == {
        key: state for key, state in right.items() if key != gid(4)
    }
    assert shop.state()[gid(4)] == ((MERCHANTS_TAG,), ())


def test_a_resync_finds_what_a_lost_ledger_had_written(shop: FakeShop, ledger_url: str, tmp_path: Path) -> None:
    rows = scores(1, 2, 3)
    push(shop, rows, ledger_url)
    shop.customers[gid(3)].tags.append("winback:stale")
    fresh = f"sqlite:///{tmp_path / 'fresh.sqlite'}"
    with Ledger(fresh) as ledger:
        report = resync(SYNC, ledger, ShopifyCustomers(shop, MAPPING), also=rows["customer_gid"].to_list())
    assert (report.read, report.gone) == (3, 0)
    assert push(shop, rows, fresh, "bulk").updates == 1
    assert "winback:stale" not in shop.customers[gid(3)].tags
