"""A clean store keeps the contracts' formats, and parts of amounts lose nothing."""

import re
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from commerce_assets.contracts.countries import KNOWN_COUNTRIES
from commerce_assets.contracts.postal import POSTAL_FORMATS
from commerce_assets.contracts.rules import EMAIL, has_card_number
from commerce_assets.sandbox.fill import fill
from commerce_assets.sandbox.generate_orders import _Line, split, text
from commerce_assets.sandbox.generate_people import MARKETS
from commerce_assets.sandbox.store import Store

AS_OF = datetime(2026, 11, 20, 12, tzinfo=UTC)
pence = st.integers(0, 10_000_000)


def test_addresses_mails_and_texts_of_a_clean_store_break_no_rule(tmp_path: Path) -> None:
    fill(tmp_path, scale=0.3, seed=21, as_of=AS_OF)
    store = Store(tmp_path)
    customers = [doc for _, _, doc in store.iterate("Customer")]
    orders = [doc for _, _, doc in store.iterate("Order")]
    store.close()
    addresses = [a for c in customers for a in c["addressesV2"]] + [o["billingAddress"] for o in orders]
    assert {a["countryCodeV2"] for a in addresses} == {market.country for market in MARKETS} <= set(KNOWN_COUNTRIES)
    unfit = {(a["countryCodeV2"], a["zip"]) for a in addresses if not re.fullmatch(POSTAL_FORMATS[a["countryCodeV2"]], a["zip"])}
    assert not unfit
    mails = pl.Series([c["defaultEmailAddress"]["emailAddress"] for c in customers] + [o["email"] for o in orders if o["email"]])
    assert mails.filter(~mails.str.contains(EMAIL)).to_list() == []
    assert len({c["defaultEmailAddress"]["emailAddress"] for c in customers}) == len(customers)
    texts = [str(value) for a in addresses for value in a.values()] + [o.get("note", "") for o in orders]
    assert not [found for found in texts if has_card_number(found)]
    born = {c["id"]: c["createdAt"] for c in customers}
    assert all(born[o["customer"]["id"]] < o["processedAt"] for o in orders if "customer" in o)
    assert all(c["createdAt"] <= c["updatedAt"] <= "2026-11-20T12:00:00Z" for c in customers)


@given(pence, st.lists(pence, min_size=1, max_size=12))
def test_a_discount_is_split_over_lines_without_loss_and_never_beyond_a_line(off: int, worth: list[int]) -> None:
    off = min(off, sum(worth))
    parts = split(off, worth)
    assert sum(parts) == off
    assert all(0 <= part <= gross for part, gross in zip(parts, worth, strict=True))


@given(pence, pence, st.lists(st.integers(1, 9), min_size=1, max_size=6))
def test_a_line_given_back_in_parts_pays_back_exactly_what_it_was_worth(net: int, tax: int, parts: list[int]) -> None:
    line = _Line(1, sum(parts), 0, net, tax, 1, {})
    back = [line.give_back(part) for part in parts]
    assert (sum(worth for worth, _ in back), sum(paid for _, paid in back)) == (net, tax)
    assert line.doc["currentQuantity"] == 0


@given(pence)
def test_pence_are_printed_as_amounts_are(amount: int) -> None:
    assert re.fullmatch(r"\d+\.(\d|\d[1-9])", text(amount))
    assert round(float(text(amount)) * 100) == amount
