"""metafieldsSet, metafieldsDelete and definitions: limits, atomicity, digests, types."""

from pathlib import Path
from typing import Any

import pytest
from sandbox_shop import CUSTOMER, PRODUCT, Shop, errors


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def entry(value: str = "gold", **more: Any) -> dict[str, Any]:
    return {"ownerId": CUSTOMER, "namespace": "scores", "key": "tier", "type": "single_line_text_field", "value": value, **more}


def definition(kind: str, **more: Any) -> dict[str, Any]:
    return {"name": "Tier", "namespace": "scores", "key": "tier", "ownerType": "CUSTOMER", "type": kind, **more}


def test_setting_a_metafield_counts_as_a_change_of_its_customer(shop: Shop) -> None:
    before = shop.doc(CUSTOMER)["updatedAt"]

    payload = shop.done("metafieldsSet", metafields=[entry()])

    assert payload["metafields"][0]["value"] == "gold"
    assert shop.doc(CUSTOMER)["updatedAt"] > before


def test_writing_the_same_value_again_changes_nothing(shop: Shop) -> None:
    shop.done("metafieldsSet", metafields=[entry()])
    before = shop.doc(CUSTOMER)["updatedAt"]

    shop.done("metafieldsSet", metafields=[entry()])

    assert shop.doc(CUSTOMER)["updatedAt"] == before


def test_one_bad_row_of_a_call_undoes_all_of_it(shop: Shop) -> None:
    payload = shop.run("metafieldsSet", metafields=[entry(), entry(key="visits", type="number_integer", value="many")])

    assert errors(payload) == [(["metafields", "1", "value"], "INVALID_VALUE")]
    assert payload["metafields"] == []
    assert shop.store.metafields(CUSTOMER) == []


def test_more_than_25_metafields_are_refused(shop: Shop) -> None:
    payload = shop.run("metafieldsSet", metafields=[entry(key=f"key_{number}") for number in range(26)])

    assert errors(payload) == [(["metafields"], "LESS_THAN_OR_EQUAL_TO")]
    assert payload["metafields"] is None


def test_a_digest_protects_from_overwriting_what_others_wrote(shop: Shop) -> None:
    seen = shop.done("metafieldsSet", metafields=[entry()])["metafields"][0]["compareDigest"]
    shop.done("metafieldsSet", metafields=[entry("silver")])

    stale = shop.run("metafieldsSet", metafields=[entry("bronze", compareDigest=seen)])
    must_not_exist = shop.run("metafieldsSet", metafields=[entry("bronze", compareDigest=None)])
    not_there = shop.run("metafieldsSet", metafields=[entry(key="other", compareDigest=seen)])

    assert errors(stale) == [(["metafields", "0"], "STALE_OBJECT")]
    assert errors(must_not_exist) == [(["metafields", "0"], "STALE_OBJECT")]
    assert errors(not_there) == [(["metafields", "0"], "INVALID_COMPARE_DIGEST")]
    assert [found["value"] for found in shop.store.metafields(CUSTOMER)] == ["silver"]


def test_a_null_digest_creates_what_is_not_there(shop: Shop) -> None:
    shop.done("metafieldsSet", metafields=[entry(compareDigest=None)])

    assert [found["value"] for found in shop.store.metafields(CUSTOMER)] == ["gold"]


def test_an_unknown_owner_is_a_user_error(shop: Shop) -> None:
    payload = shop.run("metafieldsSet", metafields=[entry(ownerId="gid://shopify/Customer/99")])

    assert errors(payload) == [(["metafields", "0", "ownerId"], "INVALID_VALUE")]


@pytest.mark.parametrize(
    ("namespace", "key", "code", "field"),
    [
        ("ab", "tier", "TOO_SHORT", "namespace"),
        ("n" * 256, "tier", "TOO_LONG", "namespace"),
        ("scores", "t", "TOO_SHORT", "key"),
        ("scores", "k" * 65, "TOO_LONG", "key"),
        ("protected", "tier", None, "namespace"),
    ],
)
def test_names_have_bounds(shop: Shop, namespace: str, key: str, code: str | None, field: str) -> None:
    payload = shop.run("metafieldsSet", metafields=[entry(namespace=namespace, key=key)])

    assert errors(payload) == [(["metafields", "0", field], code)]


@pytest.mark.parametrize(
    ("kind", "given", "kept"),
    [
        ("boolean", " TRUE ", "true"),
        ("number_integer", "5.000", "5"),
        ("number_decimal", "1.1234567891", "1.123456789"),
        ("date", "2026-11-21", "2026-11-21"),
        ("date_time", "2026-11-21T10:00:00", "2026-11-21T10:00:00+00:00"),
        ("list.number_integer", "[1, 2]", "[1,2]"),
        ("money", '{"amount":"12","currency_code":"GBP"}', '{"amount":"12.00","currency_code":"GBP"}'),
        ("product_reference", PRODUCT, PRODUCT),
        ("list.product_reference", f'["{PRODUCT}"]', f'["{PRODUCT}"]'),
    ],
)
def test_values_are_kept_in_one_form(shop: Shop, kind: str, given: str, kept: str) -> None:
    payload = shop.done("metafieldsSet", metafields=[entry(given, type=kind)])

    assert payload["metafields"][0]["value"] == kept


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("number_integer", "+5"),
        ("number_decimal", "NaN"),
        ("boolean", "yes"),
        ("color", "blue"),
        ("date", "2026-02-30"),
        ("json", "{nope}"),
        ("url", "ftp://example.com"),
        ("money", '{"amount":"1"}'),
        ("single_line_text_field", "two\nlines"),
        ("product_reference", "gid://shopify/Product/99"),
        ("list.single_line_text_field", "not a list"),
        ("weight", '{"value":-1,"unit":"kg"}'),
    ],
)
def test_values_that_do_not_fit_their_type_are_refused(shop: Shop, kind: str, value: str) -> None:
    assert errors(shop.run("metafieldsSet", metafields=[entry(value, type=kind)])) == [(["metafields", "0", "value"], "INVALID_VALUE")]


def test_a_type_is_taken_from_the_definition_or_must_be_given(shop: Shop) -> None:
    without = {name: value for name, value in entry("7").items() if name != "type"}
    refused = shop.run("metafieldsSet", metafields=[without])
    shop.done("metafieldDefinitionCreate", definition=definition("number_integer", validations=[{"name": "max", "value": "9"}]))

    written = shop.done("metafieldsSet", metafields=[without])
    too_much = shop.run("metafieldsSet", metafields=[{**without, "value": "10"}])
    other_type = shop.run("metafieldsSet", metafields=[entry("text")])

    assert errors(refused) == [(["metafields", "0", "type"], "BLANK")]
    assert written["metafields"][0]["type"] == "number_integer"
    assert errors(too_much) == [(["metafields", "0", "value"], "INVALID_VALUE")]
    assert errors(other_type) == [(["metafields", "0", "type"], "INVALID_TYPE")]


def test_a_namespace_left_out_is_the_apps_own(shop: Shop) -> None:
    payload = shop.done("metafieldsSet", metafields=[{name: value for name, value in entry().items() if name != "namespace"}])

    assert payload["metafields"][0]["namespace"] == "app--180000000001"


def test_deleting_says_null_for_what_was_not_there(shop: Shop) -> None:
    shop.done("metafieldsSet", metafields=[entry()])
    before = shop.doc(CUSTOMER)["updatedAt"]
    wanted = {"ownerId": CUSTOMER, "namespace": "scores", "key": "tier"}

    payload = shop.done("metafieldsDelete", metafields=[wanted, {**wanted, "key": "other"}])

    assert payload["deletedMetafields"] == [wanted, None]
    assert shop.store.metafields(CUSTOMER) == []
    assert shop.doc(CUSTOMER)["updatedAt"] > before


def test_a_definition_is_one_per_owner_type_namespace_and_key(shop: Shop) -> None:
    created = shop.done("metafieldDefinitionCreate", definition=definition("single_line_text_field"))["createdDefinition"]

    again = shop.run("metafieldDefinitionCreate", definition=definition("single_line_text_field"))
    for_orders = shop.run("metafieldDefinitionCreate", definition=definition("single_line_text_field", ownerType="ORDER"))

    assert created["access"]["admin"] == "PUBLIC_READ_WRITE"
    assert errors(again) == [(["definition", "key"], "TAKEN")]
    assert errors(for_orders) == []


def test_only_app_owned_definitions_may_restrict_the_admin(shop: Shop) -> None:
    access = {"admin": "MERCHANT_READ"}

    merchant = shop.run("metafieldDefinitionCreate", definition=definition("boolean", access=access))
    own = shop.run("metafieldDefinitionCreate", definition=definition("boolean", namespace="$app:scores", access=access))

    assert errors(merchant) == [(["definition"], "INVALID")]
    assert own["createdDefinition"]["namespace"] == "app--180000000001--scores"
    assert own["createdDefinition"]["access"]["admin"] == "MERCHANT_READ"
