"""Hashes against the vectors that Google and Meta publish, and what normalising must leave alone."""

import hashlib
import string

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commerce_assets.activation.audiences import (
    Rule,
    email_normal,
    email_sha256,
    is_sha256,
    name_sha256,
    phone_e164,
    phone_sha256,
    place_sha256,
    sha256_hex,
    zip_sha256,
)

LOCAL = string.ascii_letters + string.digits + "._%-+"
ADDRESSES = st.builds(
    "{}@{}".format,
    st.text(LOCAL, min_size=1, max_size=20),
    st.sampled_from(["gmail.com", "GoogleMail.com", "example.org", "shop.example.co.uk"]),
)


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def email(text: str | None, rule: Rule = "plain") -> str | None:
    return pl.select(email_normal(pl.lit(text, dtype=pl.String), rule)).item()


def e164(text: str | None) -> str | None:
    return pl.select(phone_e164(pl.lit(text, dtype=pl.String))).item()


def hashed(function, text: str | None, *arguments: str) -> str | None:
    return function(pl.Series("given", [text], dtype=pl.String), *arguments).item()


def test_metas_published_vectors_come_out() -> None:
    """Customer information parameters, Conversions API."""
    assert hashed(email_sha256, "  John_Smith@gmail.com ", "meta") == "62a14e44f765419d10fea99367361a727c12365e2520f32218d505ed9aa0f62f"
    assert hashed(phone_sha256, "+1 (650) 555-1212", "meta") == "e323ec626319ca94ee8bff2e4c87cf613be6ea19919ed1364124e16807ab3176"
    assert hashed(name_sha256, "Mary", "meta") == "6915771be1c5aa0c886870b6951b03d7eafc121fea0e80a5ea83beb7c449f4ec"
    assert hashed(name_sha256, "정", "meta") == "8fa8cd9c440be61d0151429310034083132b35975c4bea67fdd74158eb51db14"
    assert hashed(name_sha256, "Valéry", "meta") == "08e1996b5dd49e62a4b4c010d44e4345592a863bb9f8e3976219bac29417149c"
    assert hashed(place_sha256, "US") == "79adb2a2fce5c6ba215fe5f27f532d4e7edbac4b6a5e09e1ef3a08084a904621"


def test_googles_published_examples_come_out() -> None:
    """Format user data, Data Manager API."""
    assert email("cloudy.sanfrancisco+shopping@gmail.com", "google") == "cloudysanfrancisco@gmail.com"
    assert email("user.name+NYC@Example.com", "google") == "user.name+nyc@example.com"
    assert (
        hashed(email_sha256, "User.Name+Newsletter@Gmail.com", "google")
        == "f7976af5cad49504523379918222f1da1c1e231cd5d0770603c3e71e5e30e030"
    )
    assert e164("+1 (800) 555-0100") == "+18005550100"
    assert hashed(phone_sha256, "+49 176-54648789", "google") == "e45d8b1a608ae4a6ed5c805c2d3c03f0b1195ee333bb2dee4782bf38362e4218"


def test_google_and_meta_hash_the_same_person_differently() -> None:
    assert hashed(email_sha256, "a.b+c@googlemail.com", "google") == sha("ab@googlemail.com")
    assert (
        hashed(email_sha256, "a.b+c@googlemail.com", "meta") == hashed(email_sha256, "a.b+c@googlemail.com") == sha("a.b+c@googlemail.com")
    )
    assert hashed(phone_sha256, "0044 20 7031 3000", "google") == hashed(phone_sha256, "+442070313000") == sha("+442070313000")
    assert hashed(phone_sha256, "0044 20 7031 3000", "meta") == sha("442070313000")


@pytest.mark.parametrize("text", [None, "", "  ", "n/a", "nobody@", "@example.org", "two words@example.org", "a@b@c"])
def test_what_is_no_address_is_null(text: str | None) -> None:
    assert email(text) is None
    assert hashed(email_sha256, text, "meta") is None


def test_a_gmail_address_of_nothing_but_a_suffix_is_null_for_google() -> None:
    assert email("+shop@gmail.com", "google") is None


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("+44 (0)20 7031 3000", "+442070313000"),
        ("00 49.30/1234567", "+49301234567"),
        ("+1\u00a0650\u2011555\u20131212", "+16505551212"),
        ("020 7031 3000", None),
        ("1-650-555-1212", None),
        ("+0 650 555 1212", None),
        ("+1 650 555 1212 ext. 5", None),
        ("+49 12", None),
        ("+1234567890123456", None),
        ("+٤٩٣٠١٢٣٤٥٦٧", None),
        ("", None),
        (None, None),
    ],
)
def test_only_numbers_that_say_their_country_are_numbers(text: str | None, number: str | None) -> None:
    assert e164(text) == number


def test_what_is_hashed_already_passes_in_lower_case() -> None:
    ready = sha("somebody")
    for function in (email_sha256, phone_sha256, name_sha256, place_sha256, zip_sha256):
        assert hashed(function, f" {ready.upper()}\n") == ready


def test_a_column_is_hashed_in_its_order_with_its_nulls_and_name() -> None:
    emails = pl.Series("email", [f"p{number}@example.org" if number % 3 else None for number in range(5_000)], dtype=pl.String)
    expected = [None if one is None else sha(one) for one in emails]
    assert email_sha256(emails).to_list() == expected
    assert email_sha256(emails).name == "email"
    assert email_sha256(emails.head(0)).to_list() == []
    assert sha256_hex(pl.Series("x", ["é", None, ""])).to_list() == [sha("é"), None, sha("")]


def test_names_and_places_are_hashed_as_each_tool_asks() -> None:
    assert hashed(name_sha256, "  Anne-Marie  O'Neil ", "google") == sha("anne-marie o'neil")
    assert hashed(name_sha256, "  Anne-Marie O'Neil ", "meta") == sha("annemarie oneil")
    assert hashed(name_sha256, " . ", "meta") is None
    assert hashed(place_sha256, "Saint-Étienne (42)") == sha("saintétienne42")
    assert hashed(zip_sha256, "94303-5300 ") == sha("94303")
    assert hashed(zip_sha256, "WC2H 8LG") == sha("wc2h8lg")
    assert hashed(zip_sha256, "00-950") == sha("00950")


def test_a_hash_is_known_by_its_form() -> None:
    assert is_sha256(sha("x"))
    assert not is_sha256(sha("x").upper())
    assert not is_sha256("x" * 64)
    assert not is_sha256(sha("x")[:-1])


@given(ADDRESSES, st.sampled_from(["plain", "google", "meta"]))
def test_normalising_an_address_twice_changes_nothing_more(address: str, rule: Rule) -> None:
    once = email(address, rule)
    assert once is None or email(once, rule) == once


@given(ADDRESSES, st.sampled_from(["plain", "google", "meta"]), st.sampled_from(["", " ", "\t", "\n", "\u00a0"]))
def test_case_and_space_around_an_address_do_not_matter(address: str, rule: Rule, space: str) -> None:
    assert email(space + address.upper() + space, rule) == email(address.lower(), rule)


@given(st.from_regex(r"\A[1-9][0-9]{6,14}\Z"), st.sampled_from(["+", "00", "+ ", "00-"]), st.sampled_from(["", " ", "-", ".", "/"]))
def test_how_a_number_is_punctuated_does_not_matter(digits: str, prefix: str, separator: str) -> None:
    assert e164(prefix + separator.join(digits)) == f"+{digits}"
    assert e164(f"+{digits}") == f"+{digits}"


@settings(max_examples=25)
@given(st.text(max_size=40))
def test_any_text_is_hashed_or_null_but_never_kept(text: str) -> None:
    for function in (email_sha256, phone_sha256):
        result = hashed(function, text)
        assert result is None or is_sha256(result)
