"""Recommendations on products: only what changed is written, removals take our lists away, answers that were lost are read back."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from activation_fakes import FakeShop
from shipped_syncs import LISTS as SYNC
from shipped_syncs import LISTS_MAPPING as MAPPING
from shipped_syncs import LISTS_NAMESPACE as NAMESPACE
from shipped_syncs import lists_as_records as as_records
from shipped_syncs import push_product_recommendations

from commerce_assets.activation.destinations.shopify import ShopifyProducts
from commerce_assets.activation.destinations.shopify_mapping import canonical
from commerce_assets.activation.engine import PushInterruptedError, PushReport
from commerce_assets.activation.errors import DesiredStateError, DestinationError, GuardTrippedError
from commerce_assets.activation.ledger import Ledger, ledger_frames

RELATED, COMPLEMENTARY = f"{NAMESPACE}.related_products", f"{NAMESPACE}.complementary_products"
Row = tuple[int, list[int] | None, list[int] | None]


def gid(number: int) -> str:
    return f"gid://shopify/Product/{number}"


class ProductShop(FakeShop):
    """The shop in memory, with products where its customers are, and Shopify's standard definitions."""

    def __init__(self, count: int) -> None:
        super().__init__(gid(number) for number in range(1, count + 1))
        self.enable_error: dict[str, Any] | None = None

    def _productsById(self, ids: list[str], first: int, keys: list[str]) -> dict[str, Any]:
        nodes = self._customersById(ids, first, keys)["nodes"]
        for node in nodes:
            for metafield in (node or {"metafields": {"nodes": []}})["metafields"]["nodes"]:
                # The real shop may put spaces where it likes.
                metafield["value"] = json.dumps(json.loads(metafield["value"]))
            if node:
                del node["tags"]
        return {"nodes": nodes}

    def _standardMetafieldDefinitionEnable(self, ownerType: str, namespace: str, key: str) -> dict[str, Any]:
        assert (ownerType, namespace) == ("PRODUCT", NAMESPACE)
        errors = [self.enable_error] if self.enable_error else []
        if not errors:
            self.definitions[key] = "list.product_reference"
        return {"standardMetafieldDefinitionEnable": {"createdDefinition": None, "userErrors": errors}}

    def held(self, number: int) -> dict[str, list[int]]:
        """Key -> numbers of the products that a product's lists refer to."""
        metafields = self.customers[gid(number)].metafields
        return {
            path.removeprefix(f"{NAMESPACE}."): [int(one.rsplit("/", 1)[1]) for one in json.loads(value)]
            for path, (_, value) in metafields.items()
        }


def desired(*rows: Row) -> pl.DataFrame:
    """(product, related, complementary) as rows of the sync's model."""
    schema = {"product_gid": pl.String, "related_product_gids": pl.List(pl.String), "complementary_product_gids": pl.List(pl.String)}
    gids = [(gid(number), *([gid(one) for one in given] if given is not None else None for given in lists)) for number, *lists in rows]
    return pl.DataFrame(gids, schema=schema, orient="row").with_columns(as_of_on=pl.date(2026, 11, 21))


@pytest.fixture
def ledger_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'ops.sqlite'}"


def push_to(shop: ProductShop, rows: pl.DataFrame, ledger_url: str, **options: Any) -> PushReport:
    return push_product_recommendations(rows, shop, ledger_url, **options)


def test_lists_arrive_in_their_order_on_standard_metafields(ledger_url: str) -> None:
    shop = ProductShop(5)
    report = push_to(shop, desired((1, [3, 2], [5]), (2, [1], None)), ledger_url)
    assert (report.status, report.creates, report.succeeded) == ("succeeded", 2, 2)
    assert shop.held(1) == {"related_products": [3, 2], "complementary_products": [5]}
    assert shop.held(2) == {"related_products": [1]}
    assert shop.customers[gid(1)].metafields[RELATED] == ("list.product_reference", f'["{gid(3)}","{gid(2)}"]')
    assert shop.calls["standardMetafieldDefinitionEnable"] == 2
    assert shop.calls["metafieldDefinitionCreate"] == shop.calls["tagsAdd"] == shop.calls["bulk tagsAdd"] == 0


def test_only_changed_products_are_written_and_order_is_a_change(ledger_url: str) -> None:
    shop = ProductShop(6)
    before = desired((1, [2, 3], [4]), (2, [1], [3]), (3, [1], None))
    push_to(shop, before, ledger_url)
    shop.writes.clear()
    assert push_to(shop, before.with_columns(as_of_on=pl.date(2026, 11, 22)), ledger_url).planned == 0
    report = push_to(shop, desired((1, [3, 2], [4]), (2, [1], [3]), (3, [1], None)), ledger_url)
    assert (report.updates, report.unchanged) == (1, 2)
    assert shop.writes == {(gid(1), RELATED): 1}


def test_a_product_that_leaves_the_set_or_loses_a_list_loses_our_value_only(ledger_url: str) -> None:
    shop = ProductShop(4)
    push_to(shop, desired((1, [2], [3]), (2, [3], [4]), (3, [1], [2])), ledger_url)
    shop.customers[gid(1)].metafields["custom.note"] = ("single_line_text_field", "not ours")
    report = push_to(shop, desired((1, None, []), (2, [3], []), (3, [1], [2])), ledger_url)
    assert (report.removals, report.updates, report.succeeded) == (1, 1, 2)
    assert list(shop.customers[gid(1)].metafields) == ["custom.note"]
    assert shop.held(2) == {"related_products": [3]}


def test_no_lists_at_all_by_mistake_do_not_wipe_the_shop(ledger_url: str) -> None:
    shop = ProductShop(40)
    push_to(shop, desired(*[(number, [number % 40 + 1], None) for number in range(1, 41)]), ledger_url)
    with pytest.raises(GuardTrippedError, match="removes 40 of 40"):
        push_to(shop, desired(*[(number, [], []) for number in range(1, 41)]), ledger_url)
    assert all(shop.held(number) for number in range(1, 41))


def test_an_open_intent_is_read_back_and_resolved(ledger_url: str) -> None:
    """A push that died: of the chunk it had intended some products were written, some were not."""
    shop = ProductShop(100)
    rows = desired(*[(number, [number % 100 + 1], [(number + 1) % 100 + 1]) for number in range(1, 101)])
    shop.fault = lambda called, variables: "before" if called == "metafieldsSet" and shop.calls["metafieldsSet"] > 1 else None
    with pytest.raises(PushInterruptedError):
        push_to(shop, rows, ledger_url)
    with Ledger(ledger_url) as ledger:
        unanswered = len(ledger.open_intents(SYNC))
    assert unanswered > 0
    shop.fault = lambda called, variables: None
    report = push_to(shop, rows, ledger_url)
    assert report.open_before == report.resolved == unanswered
    assert shop.calls["productsById"] > 0
    assert set(shop.writes.values()) == {1}, "each value was written once"
    assert all(len(shop.held(number)) == 2 for number in range(1, 101))
    with Ledger(ledger_url) as ledger:
        assert ledger.open_intents(SYNC) == []


def test_a_lost_answer_after_the_write_is_taken_as_written(ledger_url: str) -> None:
    shop = ProductShop(3)
    lost: list[int] = []

    def fault(called: str, variables: Mapping[str, Any]) -> str | None:
        if called == "metafieldsSet" and not lost:
            lost.append(1)
            return "after"
        return None

    shop.fault = fault
    report = push_to(shop, desired((1, [2], [3]), (2, [1], None)), ledger_url)
    assert (report.succeeded, report.resolved, report.unknown) == (2, 2, 0)
    assert push_to(shop, desired((1, [2], [3]), (2, [1], None)), ledger_url).planned == 0


def test_an_error_inside_a_list_is_laid_on_the_product_whose_list_it_is(ledger_url: str) -> None:
    """`elementIndex` is the place in the list value; which row it is stands in the path."""
    shop = ProductShop(5)
    plain = shop._metafieldsSet

    def refusing(metafields: list[dict[str, str]]) -> dict[str, Any]:
        for index, one in enumerate(metafields):
            if gid(99) in one["value"]:
                at = {"field": ["metafields", str(index), "value"], "elementIndex": 0}
                error = {**at, "message": "Value references non-existent resource.", "code": "INVALID_VALUE"}
                return {"metafieldsSet": {"metafields": [], "userErrors": [error]}}
        return plain(metafields)

    shop._metafieldsSet = refusing  # type: ignore[method-assign]
    report = push_to(shop, desired((1, [2], None), (2, [1], None), (3, [99], None), (4, [1], None)), ledger_url)
    assert (report.succeeded, report.failed) == (3, 1)
    assert [bool(shop.held(number)) for number in (1, 2, 3, 4)] == [True, True, False, True]


def test_a_list_that_a_merchant_made_by_hand_is_left_alone(ledger_url: str) -> None:
    shop = ProductShop(5)
    theirs = json.dumps([gid(4)])
    shop.customers[gid(1)].metafields[RELATED] = ("list.product_reference", theirs)
    rows = desired((1, [2], [3]), (2, [1], None))
    report = push_to(shop, rows, ledger_url)
    assert (report.status, report.succeeded, report.skipped) == ("succeeded", 1, {"held by somebody else": 1})
    assert shop.held(1) == {"related_products": [4]}
    assert push_to(shop, rows, ledger_url).skipped == {"held by somebody else": 1}, "it is looked at again, and still left alone"
    del shop.customers[gid(1)].metafields[RELATED]
    assert push_to(shop, rows, ledger_url).succeeded == 1, "given up by the merchant, it is ours to fill"
    assert shop.held(1) == {"related_products": [2], "complementary_products": [3]}


def test_deleted_products_are_skipped(ledger_url: str) -> None:
    shop = ProductShop(2)
    report = push_to(shop, desired((1, [2], None), (7, [1], None)), ledger_url)
    assert (report.succeeded, report.gone, report.failed) == (1, 1, 0)


def test_a_lost_ledger_is_rebuilt_by_reading_whatever_the_spaces(tmp_path: Path) -> None:
    shop = ProductShop(3)
    rows = desired((1, [2, 3], [3]), (2, [1], None))
    push_to(shop, rows, f"sqlite:///{tmp_path / 'first.sqlite'}")
    writes = shop.writes.copy()
    report = push_to(shop, rows, f"sqlite:///{tmp_path / 'second.sqlite'}")
    assert (report.creates, report.succeeded) == (2, 2)
    assert shop.writes == writes


def test_a_key_in_use_for_something_else_is_refused_before_any_write(ledger_url: str) -> None:
    shop = ProductShop(2)
    shop.enable_error = {"field": None, "message": "The namespace and key is already in use", "code": "UNSTRUCTURED_ALREADY_EXISTS"}
    with pytest.raises(DestinationError, match=r"related_products cannot be made: UNSTRUCTURED_ALREADY_EXISTS"):
        push_to(shop, desired((1, [2], None)), ledger_url)
    assert not shop.writes


def test_a_dry_run_counts_no_tags_and_writes_nothing(ledger_url: str) -> None:
    shop = ProductShop(30)
    report = push_to(shop, desired(*[(number, [number % 30 + 1], None) for number in range(1, 31)]), ledger_url, dry_run=True)
    assert report.estimate is not None
    assert (report.creates, report.estimate.requests) == (30, 3 + 1), "calls of twelve whole products, one read"
    assert shop.calls.total() == 0
    assert ledger_frames(ledger_url)["activation_runs"].height == 0


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ((1, [1], None), "the product itself"),
        ((1, [2, 2], None), "a product twice"),
        ((1, None, list(range(2, 200))), "more than 128"),
    ],
)
def test_lists_that_make_no_sense_are_refused(row: Row, what: str) -> None:
    with pytest.raises(DesiredStateError, match=what):
        as_records(desired(row))


def test_foreign_gids_and_text_instead_of_lists_are_refused() -> None:
    foreign = desired((1, [2], None)).with_columns(related_product_gids=pl.lit(["gid://shopify/ProductVariant/2"]))
    with pytest.raises(DesiredStateError, match="no product's gid"):
        as_records(foreign)
    with pytest.raises(DesiredStateError, match="not a list"):
        as_records(desired((1, [2], None)).with_columns(related_product_gids=pl.lit("gid://shopify/Product/2")))
    with pytest.raises(DesiredStateError, match="lacks complementary_product_gids"):
        as_records(desired((1, [2], None)).drop("complementary_product_gids"))


def test_products_without_lists_are_not_in_the_sync_and_odd_keys_are_skipped() -> None:
    rows = desired((1, [2], None), (2, None, []), (3, None, None), (4, [1], None)).with_columns(
        product_gid=pl.when(pl.col("product_gid") == gid(4)).then(pl.lit("4")).otherwise("product_gid")
    )
    records = as_records(rows)
    assert records.rows() == [(gid(1), f'["{gid(2)}"]', None), (None, f'["{gid(1)}"]', None)]


def test_lists_are_compared_without_regard_to_spaces() -> None:
    assert canonical("list.product_reference", '[ "a",  "b" ]') == '["a","b"]'
    assert canonical("list.product_reference", "not json") == "not json"
    assert canonical("number_decimal", "12.50") == "12.5"
    assert canonical("single_line_text_field", None) is None


def test_bulk_mutations_of_a_killed_push_are_waited_for() -> None:
    shop = ProductShop(0)
    shop.running_bulk = 2
    pauses: list[float] = []
    ShopifyProducts(shop, MAPPING, pause=pauses.append).settle()
    assert len(pauses) == 2
