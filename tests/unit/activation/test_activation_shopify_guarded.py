"""What somebody else writes between our look and our write is never overwritten: digests, at undo and where we yield to others."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from activation_fakes import FakeShop
from inprocess_shop import InProcessShop
from sandbox_shop import PRODUCT, Shop

from commerce_assets.activation.destinations.shopify import MetafieldTarget, ProductMapping, ShopifyObjects
from commerce_assets.activation.engine import push
from commerce_assets.activation.ledger import Ledger
from commerce_assets.activation.records import Change, Fields, Sync
from commerce_assets.activation.undo import undo

TEXT = "single_line_text_field"
TARGETS = (
    MetafieldTarget("segment", "commerce", "segment", TEXT, "Segment", ""),
    MetafieldTarget("tier", "commerce", "tier", TEXT, "Tier", ""),
)
MAPPING = ProductMapping(TARGETS, tags_field="tags", managed_prefixes=("vip:",))
SYNC = Sync("shopify", "guarded", mapped=("segment", "tier", "tags"), sets=("tags",))
KEYS = [f"gid://shopify/Product/{number}" for number in (1, 2, 3)]
WRITTEN: Fields = {"segment": "vip", "tier": "gold", "tags": "vip:yes"}
BEFORE: Fields = {"segment": "new", "tier": None, "tags": None}


def shop_that_holds(fields: Fields) -> FakeShop:
    shop = FakeShop(KEYS)
    for product in shop.customers.values():
        product.metafields = {f"commerce.{name}": (TEXT, value) for name in ("segment", "tier") if (value := fields[name]) is not None}
        product.tags = [tag for tag in (fields["tags"] or "").split(",") if tag]
    return shop


def restored(destination: ShopifyObjects, fields: Fields, path: str, **options: Any) -> dict[str, tuple[str, str | None]]:
    """What became of each change back to `fields`, after a look."""
    held = dict(destination.read(KEYS))
    options = {"is_whole": True, **options}
    changes = [Change(key, "update", fields, held[key], "w", "b", key, **options) for key in KEYS]
    return {result.record_key: (result.outcome, result.reason) for result in destination.load(changes, path)}


def theirs(shop: FakeShop, operation: str, key: str = KEYS[1], path: str = "commerce.tier") -> None:
    """Somebody else writes right before our first call of that operation takes effect."""
    waiting = [True]

    def write(called: str) -> None:
        if called == operation and waiting:
            waiting.clear()
            shop.customers[key].metafields[path] = (TEXT, "theirs")

    shop.before_writing = write


@pytest.mark.parametrize("path", ["direct", "bulk"])
def test_what_changed_between_look_and_restoration_is_left_alone_and_the_others_are_restored(path: str) -> None:
    shop = shop_that_holds(WRITTEN)
    destination = ShopifyObjects(shop, MAPPING, bulk=shop.run_bulk)
    if path == "direct":
        theirs(shop, "metafieldsSet")
    else:
        run = shop.run_bulk

        def bulk(mutation: str, rows: Any) -> Any:
            rows = list(rows)
            shop.customers[KEYS[1]].metafields["commerce.tier"] = (TEXT, "theirs")
            return run(mutation, rows)

        destination.bulk = bulk
    found = restored(destination, {"segment": "new", "tier": "silver", "tags": None}, path)
    assert found == {
        KEYS[0]: ("succeeded", None),
        KEYS[1]: ("skipped", "changed since by somebody else"),
        KEYS[2]: ("succeeded", None),
    }
    left = shop.customers[KEYS[1]]
    assert {name: value for name, (_, value) in left.metafields.items()} == {"commerce.segment": "vip", "commerce.tier": "theirs"}
    assert left.tags == ["vip:yes"], "nothing of an object that changed is restored"
    assert shop.customers[KEYS[0]].tags == []


def test_a_metafield_that_vanished_since_counts_as_changed() -> None:
    shop = shop_that_holds(WRITTEN)
    shop.before_writing = lambda called: shop.customers[KEYS[1]].metafields.pop("commerce.tier", None) and None
    found = restored(ShopifyObjects(shop, MAPPING), {"segment": "new", "tier": "silver", "tags": None}, "direct")
    assert found[KEYS[1]] == ("skipped", "changed since by somebody else")


def test_one_that_appeared_since_counts_as_changed() -> None:
    shop = shop_that_holds({"segment": "vip", "tier": None, "tags": None})
    theirs(shop, "metafieldsSet")
    found = restored(ShopifyObjects(shop, MAPPING), {"segment": "new", "tier": "silver", "tags": None}, "direct")
    assert found[KEYS[1]] == ("skipped", "changed since by somebody else")
    assert shop.customers[KEYS[1]].metafields["commerce.tier"] == (TEXT, "theirs")


def test_our_own_write_whose_answer_was_lost_is_not_taken_for_somebody_elses() -> None:
    shop = shop_that_holds({"segment": "vip", "tier": None, "tags": None})
    sent: list[Any] = []
    execute = shop.execute

    def twice(text: str, variables: Any = None, *, idempotent: bool = False) -> dict[str, Any]:
        """A client that repeats a call of which it got no answer."""
        if "metafieldsSet" in text and not sent:
            sent.append(execute(text, variables, idempotent=idempotent))
        return execute(text, variables, idempotent=idempotent)

    shop.execute = twice  # type: ignore[method-assign]
    found = restored(ShopifyObjects(shop, MAPPING), {"segment": "new", "tier": "silver", "tags": "vip:no"}, "direct")
    assert found == dict.fromkeys(KEYS, ("succeeded", None))
    assert all(product.tags == ["vip:no"] for product in shop.customers.values())


def test_a_push_takes_its_field_back_whatever_was_written_there() -> None:
    shop = shop_that_holds(WRITTEN)
    theirs(shop, "metafieldsSet")
    found = restored(ShopifyObjects(shop, MAPPING), {"segment": "new", "tier": "silver", "tags": None}, "direct", is_whole=False)
    assert found[KEYS[1]] == ("succeeded", None)
    assert shop.customers[KEYS[1]].metafields["commerce.tier"] == (TEXT, "silver")


def test_a_change_that_does_not_stem_from_the_look_carries_no_digest() -> None:
    shop = shop_that_holds(WRITTEN)
    destination = ShopifyObjects(shop, MAPPING)
    dict(destination.read(KEYS))
    theirs(shop, "metafieldsSet", KEYS[0])
    change = Change(KEYS[0], "update", {**WRITTEN, "tier": "silver"}, {**WRITTEN, "segment": "older"}, "w", "b", "k", is_whole=True)
    (result,) = destination.load([change], "direct")
    assert result.outcome == "succeeded"


@pytest.mark.parametrize("was_read_before", [True, False])
def test_who_yields_to_others_does_so_also_in_the_last_moment(was_read_before: bool) -> None:
    shop = FakeShop(KEYS)
    destination = ShopifyObjects(shop, ProductMapping(TARGETS, yields_to_others=True))
    held = dict(destination.read(KEYS)) if was_read_before else {}
    theirs(shop, "metafieldsSet")
    fields = {"segment": "vip", "tier": "gold"}
    changes = [Change(key, "create", fields, held.get(key), None, "f", key) for key in KEYS]
    found = {result.record_key: (result.outcome, result.reason) for result in destination.load(changes, "direct")}
    assert found == {KEYS[0]: ("succeeded", None), KEYS[1]: ("skipped", "held by somebody else"), KEYS[2]: ("succeeded", None)}
    assert shop.customers[KEYS[1]].metafields == {"commerce.tier": (TEXT, "theirs")}


def test_looks_are_forgotten_once_they_are_used() -> None:
    shop = shop_that_holds(WRITTEN)
    destination = ShopifyObjects(shop, MAPPING)
    restored(destination, BEFORE, "direct")
    assert destination._looks == {}


def test_the_sandbox_refuses_what_changed_since_at_an_undo(tmp_path: Path) -> None:
    shop = Shop(tmp_path / "store")
    sandbox = InProcessShop(shop.store)
    metafield = {"ownerId": PRODUCT, "namespace": "commerce", "key": "tier", "type": TEXT}
    shop.done("metafieldsSet", metafields=[{**metafield, "value": "silver"}])
    desired = pl.DataFrame({"record_key": [PRODUCT], "segment": ["vip"], "tier": ["gold"], "tags": ["vip:yes"]})
    with Ledger(f"sqlite:///{tmp_path / 'ops.sqlite'}") as ledger:
        report = push(SYNC, desired, ledger, ShopifyObjects(sandbox.client(), MAPPING))
        assert (report.succeeded, report.run_id is not None) == (1, True)
        destination = ShopifyObjects(sandbox.client(), MAPPING)
        look = destination._remember

        def then_they_write(key: str, node: Any) -> Any:
            seen = look(key, node)
            if node["metafields"]["nodes"] and shop.store.metafield(PRODUCT, "commerce", "tier")["value"] == "gold":  # type: ignore[index]
                shop.done("metafieldsSet", metafields=[{**metafield, "value": "platinum"}])
            return seen

        destination._remember = then_they_write  # type: ignore[method-assign]
        undone = undo(SYNC, str(report.run_id), ledger, destination)
    assert (undone.succeeded, undone.failed) == (0, 0)
    held = shop.store.metafield(PRODUCT, "commerce", "tier")
    assert held is not None
    assert held["value"] == "platinum"
    assert shop.doc(PRODUCT)["tags"] == ["vip:yes"]
