"""Each rule of the contracts, hit and not hit, through pandera; and the parsers behind them."""

import random
import string
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from commerce_assets.contracts import TABLES, rules, table
from commerce_assets.contracts.base import INSTANT, MONEY
from commerce_assets.contracts.context import CONTEXT_MODELS
from commerce_assets.contracts.countries import COUNTRIES, KNOWN_COUNTRIES, country_code
from commerce_assets.contracts.currencies import CURRENCIES
from commerce_assets.contracts.postal import POSTAL_FORMATS
from commerce_assets.lake.validate import broken_rules

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
CARDS = [
    "4111111111111111",
    "4111 1111 1111 1111",
    "4111-1111-1111-1111",
    "5555555555554444",
    "2223003122003222",
    "378282246310005",
    "3782 822463 10005",
    "6011111111111117",
    "30569309025904",
    "3530111333300000",
    "4012888888881881",
]
NO_CARDS = [
    "#1001",
    "order 4111111111111112",
    "EAN 4006381333931",
    "+44 20 7946 0958 4111",
    "gid://shopify/Product/4111111111111111",
    "1763700000000",
    "5000159461122",
    "9781861972712",
    "invoice 1234567812345670",
    "41111111111111111111",
    "A4111111111111111",
    "0.4111111111111111",
    "",
]


def valid(name: str) -> dict[str, Any]:
    """A row that keeps every rule of its contract."""
    samples: dict[Any, Any] = {pl.Int64: 1, pl.String: "text", pl.Boolean: True, pl.Float64: 0.2, MONEY: Decimal("1.00"), INSTANT: NOON}
    row = {column: samples.get(dtype, samples.get(type(dtype), ["text"])) for column, dtype in table(name).schema.items()}
    for column in row:
        if column.endswith("currency_code"):
            row[column] = "GBP"
        elif column.endswith("country_code"):
            row[column] = "GB"
        elif column.endswith("postal_code"):
            row[column] = "SW1A 1AA"
    fixed = {
        "email": "ann@example.com",
        "customer_gid": "gid://shopify/Customer/1",
        "owner_type": "order_line",
        "channel": "email",
        "object_type": "order",
    }
    return row | {column: value for column, value in fixed.items() if column in row}


def broken(name: str, **changes: Any) -> set[str]:
    contract = table(name)
    frame = pl.DataFrame([valid(name) | changes], schema=contract.schema, orient="row")
    return set(broken_rules(contract.model, frame)["rule"])


@pytest.mark.parametrize("name", [contract.name for contract in TABLES])
def test_a_sound_row_breaks_no_rule(name: str) -> None:
    assert broken(name) == set()


@pytest.mark.parametrize(
    ("name", "changes", "rule"),
    [
        ("orders", {"total_amount": Decimal("-0.01")}, "amount_not_negative"),
        ("orders", {"refunded_amount": Decimal("-1")}, "amount_not_negative"),
        ("orders", {"currency_code": "XXX"}, "currency_known"),
        ("orders", {"currency_code": "XTS"}, "currency_known"),
        ("orders", {"presentment_currency_code": "ZZZ"}, "presentment_currency_known"),
        ("orders", {"email": "ann.example.com"}, "email_format"),
        ("orders", {"shipping_country_code": "ATLANTIS"}, "country_known"),
        ("orders", {"billing_country_code": "ZZ"}, "country_known"),
        ("orders", {"shipping_postal_code": "12345"}, "postal_code_fits_country"),
        ("orders", {"billing_postal_code": "12345"}, "postal_code_fits_country"),
        ("orders", {"note": "pay with 4111 1111 1111 1111"}, "no_card_number"),
        ("orders", {"tags": ["vip", "4111111111111111"]}, "no_card_number"),
        ("orders", {"order_id": 0}, "greater_than:order_id"),
        ("order_lines", {"unit_price_amount": Decimal("-1")}, "price_not_negative"),
        ("order_lines", {"quantity": -1}, "quantity_not_negative"),
        ("order_lines", {"currency_code": "gbp"}, "currency_known"),
        ("order_lines", {"title": "4111111111111111"}, "no_card_number"),
        ("shipping_lines", {"net_amount": Decimal("-1")}, "price_not_negative"),
        ("transactions", {"amount": Decimal("-1")}, "amount_not_negative"),
        ("transactions", {"currency_code": ""}, "currency_known"),
        ("refunds", {"refunded_amount": Decimal("-1")}, "amount_not_negative"),
        ("refunds", {"note": "to 5555555555554444"}, "no_card_number"),
        ("refunds", {"currency_code": "XAU"}, "currency_known"),
        ("refund_lines", {"quantity": -1}, "quantity_not_negative"),
        ("refund_lines", {"tax_amount": Decimal("-1")}, "amount_not_negative"),
        ("customers", {"email": "ann@"}, "email_format"),
        ("customers", {"customer_gid": "Customer-1"}, "customer_id_format"),
        ("customers", {"customer_gid": "gid://shopify/Order/1"}, "customer_id_format"),
        ("customers", {"currency_code": "BTC"}, "currency_known"),
        ("customers", {"note": "378282246310005"}, "no_card_number"),
        ("customer_addresses", {"postal_code": "SW1A"}, "postal_code_fits_country"),
        ("customer_addresses", {"country_code": "UK"}, "country_known"),
        ("customer_addresses", {"address1": "4111-1111-1111-1111"}, "no_card_number"),
        ("customer_metafields", {"value": '{"card": "4111111111111111"}'}, "no_card_number"),
        ("customer_consents", {"channel": "post"}, "isin:channel"),
        ("variants", {"price_amount": Decimal("-1")}, "price_not_negative"),
        ("variants", {"compare_at_amount": Decimal("-1")}, "price_not_negative"),
        ("orders", {"created_at": None}, "not_null:created_at"),
    ],
)
def test_a_rule_is_broken_by_what_it_forbids_and_named(name: str, changes: dict[str, Any], rule: str) -> None:
    assert broken(name, **changes) == {rule}


def test_every_rule_has_a_description_that_people_can_read() -> None:
    models = [contract.model for contract in TABLES] + list(CONTEXT_MODELS.values())
    named = [check for model in models for column in model.to_schema().columns.values() for check in column.checks if check.title]
    assert {check.name for check in named} >= {
        "order_total_matches_lines",
        "refund_within_paid",
        "refund_not_before_order",
        "fulfillment_not_before_order",
        "no_card_number",
    }
    assert all(check.description and check.description.endswith(".") for check in named)


def test_values_are_checked_not_names_only() -> None:
    schema = table("order_lines").schema
    frame = pl.DataFrame([valid("order_lines"), valid("order_lines") | {"quantity": -1}], schema=schema, orient="row")
    assert broken_rules(table("order_lines").model, frame).rows() == [(1, "quantity_not_negative")]


@pytest.mark.parametrize("text", CARDS)
def test_card_numbers_are_found_and_masked(text: str) -> None:
    assert rules.has_card_number(f"my card is {text}, thanks")
    masked = rules.mask_card_numbers(f"my card is {text}, thanks")
    assert text not in masked
    assert not rules.has_card_number(masked)
    assert masked.endswith(f"{text[-4:]}, thanks")


@pytest.mark.parametrize("text", NO_CARDS)
def test_other_numbers_are_left_alone(text: str) -> None:
    assert not rules.has_card_number(text)
    assert rules.mask_card_numbers(text) == text


@given(st.text(alphabet=string.digits, min_size=2, max_size=30))
def test_luhn_accepts_exactly_one_last_digit(digits: str) -> None:
    assert sum(rules.is_luhn(digits + last) for last in string.digits) == 1


@given(st.text(alphabet=string.digits, min_size=4, max_size=24), st.integers(0, 22))
def test_luhn_finds_every_changed_digit(digits: str, at: int) -> None:
    number = next(digits + last for last in string.digits if rules.is_luhn(digits + last))
    place = at % len(number)
    changed = number[:place] + str((int(number[place]) + 1) % 10) + number[place + 1 :]
    assert not rules.is_luhn(changed)


@given(st.text(max_size=60))
def test_masking_any_text_is_stable(text: str) -> None:
    masked = rules.mask_card_numbers(text)
    assert rules.mask_card_numbers(masked) == masked
    assert not rules.has_card_number(masked)


def test_article_numbers_and_references_rarely_look_like_cards() -> None:
    dice = random.Random(4)
    eans = []
    for _ in range(3_000):
        body = "".join(dice.choices(string.digits, k=12))
        eans.append(next(body + last for last in string.digits if rules.is_article_number(body + last)))
    assert not any(rules.has_card_number(ean) for ean in eans)
    references = ["".join(dice.choices(string.digits, k=16)) for _ in range(3_000)]
    hits = sum(rules.has_card_number(reference) for reference in references)
    assert hits < 90, f"{hits} of 3,000 random 16-digit references look like cards"


@given(st.sampled_from(sorted(COUNTRIES)), st.sampled_from([str.upper, str.lower, str.title, str.strip]))
def test_every_name_of_a_country_becomes_its_code(code: str, spelled: Any) -> None:
    for name in (code, *COUNTRIES[code]):
        if spelled(name).upper() == name.upper():
            assert country_code(f" {spelled(name)} ") == code


@pytest.mark.parametrize("text", ["United Kingdom", "UK", "GB", "GBR", "great  britain", "England"])
def test_the_united_kingdom_has_one_code(text: str) -> None:
    assert country_code(text) == "GB"


@given(st.text(max_size=30))
def test_text_that_is_no_country_is_kept_to_be_seen(text: str) -> None:
    code = country_code(text)
    assert code is None or code in KNOWN_COUNTRIES or code == " ".join(text.upper().split())


def test_currencies_are_paid_in_and_postal_formats_belong_to_countries() -> None:
    assert len(CURRENCIES) == 155
    assert not {"XXX", "XTS", "XAU", "XDR", "CLF"} & CURRENCIES
    assert set(POSTAL_FORMATS) <= set(COUNTRIES)


@pytest.mark.parametrize(
    ("country", "good", "bad"),
    [
        ("GB", ["SW1A 1AA", "m1 1ae", "EC1A1BB", "GIR 0AA", " B33 8TH "], ["12345", "SW1A", "SW1A 1A"]),
        ("US", ["10001", "10001-1234"], ["1001", "SW1A 1AA", "10001-12"]),
        ("CA", ["K1A 0B1", "k1a0b1"], ["12345", "Z1A 0B1"]),
        ("DE", ["10115"], ["1011", "101155"]),
        ("NL", ["1012 AB", "1012ab"], ["1012", "0123 AB"]),
        ("IE", ["D02 X285", "A65F4E2"], ["D02"]),
        ("FR", ["75001"], ["7500"]),
        ("JP", ["100-0001", "1000001"], ["100-001"]),
        ("HK", ["anything", "999077"], []),
    ],
)
def test_postal_codes_fit_their_country(country: str, good: list[str], bad: list[str]) -> None:
    for code in [*good, "", None]:
        assert broken("customer_addresses", postal_code=code, country_code=country) == set(), code
    for code in bad:
        assert broken("customer_addresses", postal_code=code, country_code=country) == {"postal_code_fits_country"}, code


@pytest.mark.parametrize("email", ["ann@example.com", "a.b+c@sub.example.co.uk", "josé@exämple.de", "x@y.zz", "o'neil@example.com"])
def test_sound_addresses_pass(email: str) -> None:
    assert broken("customers", email=email) == set()


@pytest.mark.parametrize(
    "email", ["", "ann", "ann@", "@example.com", "ann@example", "a b@example.com", "a@b@c.com", "ann@.com", "ann@-x-.com,"]
)
def test_odd_addresses_do_not(email: str) -> None:
    assert broken("customers", email=email) == {"email_format"}
