"""Setting and adjusting stock, idempotency keys, and productSet."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sandbox_shop import HERE, ITEM, OTHER_ITEM, PRODUCT, THERE, VARIANT, Shop, errors

from commerce_assets.sandbox.context import RequestError
from commerce_assets.sandbox.mutations.inventory import ADJUSTABLE


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def set_input(quantity: int, *, name: str = "available", seen: int | None = None, item: str = ITEM, **more: Any) -> dict[str, Any]:
    row = {"inventoryItemId": item, "locationId": HERE, "quantity": quantity, "changeFromQuantity": seen}
    return {"name": name, "reason": "correction", "quantities": [row], **more}


def adjust_input(delta: int, *, name: str = "available", seen: int | None = None, document: str | None = None) -> dict[str, Any]:
    row = {"inventoryItemId": ITEM, "locationId": HERE, "delta": delta, "changeFromQuantity": seen}
    if document:
        row["ledgerDocumentUri"] = document
    return {"name": name, "reason": "correction", "changes": [row]}


def test_setting_available_moves_on_hand_along(shop: Shop) -> None:
    group = shop.done("inventorySetQuantities", input=set_input(25, seen=20), key="k")["inventoryAdjustmentGroup"]

    assert [(change["name"], change["delta"]) for change in group["changes"]] == [("available", 5), ("on_hand", 5)]
    assert shop.stock() == (25, 0, 25)


def test_setting_what_is_so_already_makes_no_group(shop: Shop) -> None:
    assert shop.done("inventorySetQuantities", input=set_input(20), key="k")["inventoryAdjustmentGroup"] is None


def test_a_stale_quantity_is_refused(shop: Shop) -> None:
    payload = shop.run("inventorySetQuantities", input=set_input(25, seen=19), key="k")

    assert errors(payload) == [(["input", "quantities", "0", "changeFromQuantity"], "CHANGE_FROM_QUANTITY_STALE")]
    assert shop.stock() == (20, 0, 20)


def test_from_2026_04_a_key_and_change_from_quantity_are_required(shop: Shop, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="@idempotent directive is required") as refused:
        shop.run("inventorySetQuantities", input=set_input(25))
    assert refused.value.extensions == {"code": "BAD_REQUEST"}
    without = set_input(25)
    del without["quantities"][0]["changeFromQuantity"]
    with pytest.raises(RequestError, match="changeFromQuantity"):
        shop.run("inventorySetQuantities", input=without, key="k")

    older = Shop(tmp_path / "older", version="2026-01")
    assert errors(older.run("inventorySetQuantities", input=without)) == [(["input", "ignoreCompareQuantity"], "COMPARE_QUANTITY_REQUIRED")]
    older.done("inventorySetQuantities", input={**without, "ignoreCompareQuantity": True})
    assert older.stock() == (25, 0, 25)


@pytest.mark.parametrize(
    ("wanted", "field", "code"),
    [
        (set_input(5, name="damaged"), ["input", "name"], "INVALID_NAME"),
        (set_input(5, reason="whim"), ["input", "reason"], "INVALID_REASON"),
        (set_input(-5, name="on_hand"), ["input", "quantities", "0", "quantity"], "INVALID_QUANTITY_NEGATIVE"),
        (set_input(10**9 + 1), ["input", "quantities", "0", "quantity"], "INVALID_QUANTITY_TOO_HIGH"),
        (set_input(-(10**9) - 1), ["input", "quantities", "0", "quantity"], "INVALID_QUANTITY_TOO_LOW"),
        (set_input(5, item="gid://shopify/InventoryItem/99"), ["input", "quantities", "0", "inventoryItemId"], "INVALID_INVENTORY_ITEM"),
    ],
)
def test_what_cannot_be_set(shop: Shop, wanted: dict[str, Any], field: list[str], code: str) -> None:
    assert errors(shop.run("inventorySetQuantities", input=wanted, key="k")) == [(field, code)]


def test_a_pair_of_item_and_location_stands_once(shop: Shop) -> None:
    wanted = set_input(5)
    wanted["quantities"] *= 2

    assert {code for _, code in errors(shop.run("inventorySetQuantities", input=wanted, key="k"))} == {
        "NO_DUPLICATE_INVENTORY_ITEM_ID_GROUP_ID_PAIR"
    }


def test_all_rows_are_set_or_none(shop: Shop) -> None:
    wanted = set_input(5)
    wanted["quantities"].append({"inventoryItemId": OTHER_ITEM, "locationId": HERE, "quantity": 7, "changeFromQuantity": 1})

    shop.run("inventorySetQuantities", input=wanted, key="k")

    assert (shop.stock(1), shop.stock(2)) == ((20, 0, 20), (20, 0, 20))


def test_parts_need_one_outside_ledger_document_and_available_none(shop: Shop) -> None:
    def codes(wanted: dict[str, Any]) -> list[str | None]:
        return [code for _, code in errors(shop.run("inventoryAdjustQuantities", input=wanted, key=str(wanted)))]

    assert codes(adjust_input(1, name="damaged")) == ["INVALID_QUANTITY_DOCUMENT"]
    assert codes(adjust_input(1, document="https://example.com/1")) == ["INVALID_AVAILABLE_DOCUMENT"]
    assert codes(adjust_input(1, name="damaged", document="gid://shopify/Order/1")) == ["INTERNAL_LEDGER_DOCUMENT"]
    assert codes(adjust_input(1, name="on_hand", document="https://example.com/1")) == ["INVALID_QUANTITY_NAME"]
    assert shop.stock() == (20, 0, 20)


def test_an_item_is_stocked_where_its_quantity_is_set(shop: Shop) -> None:
    wanted = set_input(3)
    wanted["quantities"][0]["locationId"] = THERE

    shop.done("inventorySetQuantities", input=wanted, key="k")

    assert shop.stock(1, 2) == (3, 0, 3)


@given(changes=st.lists(st.tuples(st.sampled_from(ADJUSTABLE), st.integers(-50, 50)), max_size=8))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_on_hand_is_the_sum_of_its_parts(tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[str, int]]) -> None:
    shop = Shop(tmp_path_factory.mktemp("shop"))
    for number, (name, delta) in enumerate(changes):
        document = None if name == "available" else "https://example.com/ledger"
        shop.done("inventoryAdjustQuantities", input=adjust_input(delta, name=name, document=document), key=f"k{number}")

    level = shop.store.level(1, 1)
    assert level is not None
    parts = {name: units for name, units in level["quantities"].items() if name not in ("on_hand", "incoming")}
    assert level["quantities"]["on_hand"] == sum(parts.values())


# -- idempotency


def test_the_same_key_and_input_do_it_once_and_answer_alike(shop: Shop) -> None:
    first = shop.done("inventoryAdjustQuantities", input=adjust_input(5), key="k")
    second = shop.done("inventoryAdjustQuantities", input=adjust_input(5), key="k")

    assert first == second
    assert shop.stock() == (25, 0, 25)


def test_a_key_with_other_input_is_refused(shop: Shop) -> None:
    shop.done("inventoryAdjustQuantities", input=adjust_input(5), key="k")

    payload = shop.run("inventoryAdjustQuantities", input=adjust_input(6), key="k")

    assert errors(payload) == [(None, "IDEMPOTENCY_KEY_PARAMETER_MISMATCH")]
    assert shop.stock() == (25, 0, 25)


def test_a_key_whose_attempt_failed_is_used_up(shop: Shop) -> None:
    shop.run("inventoryAdjustQuantities", input=adjust_input(5, seen=1), key="k")

    payload = shop.run("inventoryAdjustQuantities", input=adjust_input(5, seen=1), key="k")

    assert errors(payload) == [(None, "IDEMPOTENCY_PREVIOUS_ATTEMPT_FAILED")]


def test_keys_are_forgotten_after_24_hours(shop: Shop) -> None:
    shop.done("inventoryAdjustQuantities", input=adjust_input(5), key="k")
    shop.moment += timedelta(hours=23)
    shop.done("inventoryAdjustQuantities", input=adjust_input(5), key="k")
    assert shop.stock() == (25, 0, 25)

    shop.moment += timedelta(hours=2)
    shop.done("inventoryAdjustQuantities", input=adjust_input(5), key="k")
    assert shop.stock() == (30, 0, 30)


def test_a_key_in_use_by_a_running_request_is_refused(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    inner: list[dict[str, Any]] = []
    adjust = shop.store.adjust_inventory

    def meanwhile(*arguments: Any) -> Any:
        inner.append(shop.run("inventoryAdjustQuantities", input=adjust_input(5), key="k"))
        return adjust(*arguments)

    monkeypatch.setattr(shop.store, "adjust_inventory", meanwhile)
    shop.done("inventoryAdjustQuantities", input=adjust_input(5), key="k")

    assert [errors(payload) for payload in inner] == [[(None, "IDEMPOTENCY_CONCURRENT_REQUEST")]]


# -- products


def product_input(**more: Any) -> dict[str, Any]:
    options = [{"name": "Size", "values": [{"name": "S"}, {"name": "M"}]}]
    variants = [
        {
            "optionValues": [{"optionName": "Size", "name": size}],
            "sku": f"HAT-{size}",
            "price": "12.5",
            "inventoryItem": {"tracked": True, "cost": "5"},
            "inventoryQuantities": [{"locationId": HERE, "name": "available", "quantity": 4}],
        }
        for size in ("S", "M")
    ]
    return {"title": "Café Hat", "productOptions": options, "variants": variants, "tags": ["b,a"], **more}


def test_product_set_makes_a_product_with_stock(shop: Shop) -> None:
    product = shop.doc(shop.done("productSet", input=product_input())["product"])

    assert (product["handle"], product["tags"], product["options"][0]["values"]) == ("cafe-hat", ["a", "b"], ["S", "M"])
    assert [variant["price"] for variant in product["variants"]] == ["12.50", "12.50"]
    items = [int(variant["inventoryItem"]["id"].rpartition("/")[2]) for variant in product["variants"]]
    assert shop.store.available(items) == 8


def test_product_set_replaces_the_variants_it_is_given(shop: Shop) -> None:
    product = shop.doc(shop.done("productSet", input=product_input())["product"])
    small, medium = product["variants"]
    wanted = product_input()
    wanted["variants"] = [{**wanted["variants"][1], "price": "15", "inventoryQuantities": []}]

    shop.done("productSet", input=wanted, identifier={"id": product["id"]})

    (left,) = shop.doc(product)["variants"]
    assert (left["id"], left["price"]) == (medium["id"], "15.00")
    assert shop.store.get_by_gid(small["id"]) is None
    assert shop.store.levels(int(small["inventoryItem"]["id"].rpartition("/")[2])) == []


def test_product_set_refuses_what_makes_no_sense(shop: Shop) -> None:
    assert errors(shop.run("productSet", input={"title": " "})) == [(["input", "title"], "INVALID_INPUT")]
    assert errors(shop.run("productSet", input=product_input(handle="product-1"))) == [(["input", "handle"], "HANDLE_NOT_UNIQUE")]
    assert errors(shop.run("productSet", input={"title": "X", "productOptions": []})) == [(["input", "variants"], "VARIANTS_INPUT_MISSING")]
    missing = shop.run("productSet", input={"title": "X"}, identifier={"id": "gid://shopify/Product/99"})
    assert errors(missing) == [(["input", "id"], "PRODUCT_DOES_NOT_EXIST")]


def test_a_deleted_product_is_logged_with_nothing_left(shop: Shop) -> None:
    shop.done("productDelete", input={"id": PRODUCT})

    assert list(shop.store.deletions("Product")) == [1]
    assert shop.store.get_by_gid(VARIANT) is None
    assert shop.store.levels(1) == []
