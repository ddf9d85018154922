"""standardMetafieldDefinitionEnable: what real stores were recorded to answer, and lists of product references under it."""

from pathlib import Path
from typing import Any

import pytest
from sandbox_shop import PRODUCT, Shop, errors

from commerce_assets.sandbox.context import RequestError
from commerce_assets.sandbox.mutations import MUTATIONS

ENABLE = "standardMetafieldDefinitionEnable"
RECOMMENDATION = "shopify--discovery--product_recommendation"
RELATED = {"ownerType": "PRODUCT", "namespace": RECOMMENDATION, "key": "related_products"}


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def template(number: int, **more: Any) -> dict[str, Any]:
    return {"ownerType": "PRODUCT", "id": f"gid://shopify/StandardMetafieldDefinitionTemplate/{number}", **more}


def enable(shop: Shop, **arguments: Any) -> dict[str, Any]:
    """Not through `Shop.run`, whose own `key` is another thing."""
    return MUTATIONS[ENABLE](shop.context(), arguments)


def test_a_reserved_definition_is_enabled_where_none_can_be_created(shop: Shop) -> None:
    wanted = {
        "name": "Mine",
        "namespace": RECOMMENDATION,
        "key": "related_products",
        "ownerType": "PRODUCT",
        "type": "list.product_reference",
    }
    with pytest.raises(RequestError, match="Access denied"):
        shop.run("metafieldDefinitionCreate", definition=wanted)

    created = enable(shop, **RELATED)["createdDefinition"]

    assert (created["namespace"], created["key"], created["type"]["name"]) == (RECOMMENDATION, "related_products", "list.product_reference")
    assert created["access"] == {"admin": "PUBLIC_READ_WRITE", "storefront": "PUBLIC_READ", "customerAccount": "NONE"}


def test_enabling_again_answers_the_same_definition_and_may_pin_it(shop: Shop) -> None:
    first, again = (shop.done(ENABLE, **template(1))["createdDefinition"] for _ in range(2))
    pinned = shop.done(ENABLE, **template(1, pin=True))["createdDefinition"]

    assert again == first
    assert pinned == {**first, "pinnedPosition": 1}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (template(1, access={"admin": "MERCHANT_READ"}), (["access"], "INVALID")),
        ({**RELATED, "access": {"storefront": "PUBLIC_READ"}}, (["access"], "INVALID")),
        (template(2, capabilities={"uniqueValues": {"enabled": True}}), (None, "INVALID_CAPABILITY")),
        (template(2, useAsCollectionCondition=True), (None, "INVALID_CAPABILITY")),
        (template(999), (None, "TEMPLATE_NOT_FOUND")),
        ({**RELATED, "ownerType": "CUSTOMER"}, (None, "TEMPLATE_NOT_FOUND")),
    ],
)
def test_what_cannot_be_enabled_is_refused(shop: Shop, arguments: dict[str, Any], expected: tuple[list[str] | None, str]) -> None:
    payload = enable(shop, **arguments)

    assert errors(payload) == [expected]
    assert payload["createdDefinition"] is None


def test_visibility_is_off_only_where_asked(shop: Shop) -> None:
    created = shop.done(ENABLE, **template(3, visibleToStorefrontApi=False))["createdDefinition"]

    assert (created["namespace"], created["key"], created["access"]["storefront"]) == ("facts", "isbn", "NONE")


def test_lists_of_products_take_only_products_that_exist(shop: Shop) -> None:
    assert enable(shop, **RELATED)["userErrors"] == []
    entry = {"ownerId": PRODUCT, "namespace": RECOMMENDATION, "key": "related_products", "type": "list.product_reference"}

    held = shop.done("metafieldsSet", metafields=[{**entry, "value": '["gid://shopify/Product/3", "gid://shopify/Product/2"]'}])
    foreign = shop.run("metafieldsSet", metafields=[{**entry, "value": '["gid://shopify/Product/77"]'}])

    assert held["metafields"][0]["value"] == '["gid://shopify/Product/3","gid://shopify/Product/2"]'
    assert errors(foreign) == [(["metafields", "0", "value"], "INVALID_VALUE")]
